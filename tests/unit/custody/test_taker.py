"""Evidence of a series of snapshots, taken of a directory that changes between them."""

import os
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.custody.entry import parse_line
from dsgmigd.custody.statement import Statement
from dsgmigd.custody.store import Store
from dsgmigd.custody.taker import Look, Subject, Taker
from dsgmigd.errors import DsgmigdError

PLAIN: dict[bytes, str] = {}


class Series:
    """A tree that changes, its store, and a taker as each run makes one."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "tree"
        (self.root / ".dsg/archive").mkdir(parents=True)
        self.store = Store(str(directory / "evidence"))
        self.warnings: list[str] = []
        self.number = 0

    def taker(self) -> Taker:
        warn = self.warnings.append
        return Taker(self.store, repo="SV", dataset="zsd/SV", request_id="r", warn=warn)

    def take(self, taker: Taker, **look: Any) -> Statement:
        self.number += 1
        (self.root / ".dsg/last-sync.json").write_text(str(self.number))
        (self.root / f".dsg/archive/s{self.number - 1}").touch()
        moment = (self.root).stat().st_ctime + 10**6  # all is old
        taker.take(str(self.root), Look(moment, look.pop("known", PLAIN), **look))
        subject = Subject(f"s{self.number}", str(self.number), "h", "complete", "at")
        return taker.state(subject)

    def told(self, statement: Statement) -> dict[str, str | None]:
        entries = (parse_line(row.line) for row in self.store.load(statement).rows())
        return {os.fsdecode(entry.path): entry.sha256 for entry in entries}


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return Series(tmp_path)


def test_a_series_is_taken_step_by_step(series: Series) -> None:
    taker = series.taker()
    (series.root / "a").write_text("1")
    first = series.take(taker)
    (series.root / "a").write_text("22")
    second = series.take(taker, paths={b"a"})
    third = series.take(taker)
    assert [one.base for one in (first, second, third)] == [None, first.stem, second.stem]
    assert series.told(first)["a"] != series.told(second)["a"] == series.told(third)["a"]
    assert ".dsg/archive/s2" in series.told(third)
    assert ".dsg/archive/s2" not in series.told(second)
    (top,) = (parse_line(row.line) for row in [next(series.store.load(third).rows())])
    assert (top.path, top.kind) == (b"", "directory")


def test_another_run_goes_on_where_the_last_one_ended(series: Series) -> None:
    series.take(series.taker())
    taker = series.taker()
    found = taker.go_on_after("1", 0.0)
    assert found is not None
    assert found.snapshot == "s1"
    assert series.take(taker, paths=()).base == found.stem


def test_without_evidence_of_the_snapshot_before_everything_is_read(series: Series) -> None:
    (series.root / "a").write_text("1")
    taker = series.taker()
    assert taker.go_on_after("77", 0.0) is None
    statement = series.take(taker, paths=())
    assert "a" in series.told(statement)
    assert statement.base is None


def test_damaged_evidence_is_told_and_begins_anew(series: Series) -> None:
    first = series.take(series.taker())
    (Path(series.store.directory) / f"{first.stem}.entries.lz4").write_bytes(b"x")
    taker = series.taker()
    assert taker.go_on_after("1", 0.0) is None
    (warning,) = series.warnings
    assert "s1-1.entries.lz4 is not what dsgmigd wrote" in warning
    assert ".dsg" in series.told(series.take(taker, paths=()))


def test_what_cannot_be_read_is_an_error_of_the_target(series: Series) -> None:
    with pytest.raises(DsgmigdError, match="taking the evidence of zsd/SV"):
        series.taker().take(str(series.root / "nowhere"), Look(0.0, PLAIN))
