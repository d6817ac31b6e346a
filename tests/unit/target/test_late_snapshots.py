"""What other programs made of staging is not published; what they made of the target is theirs."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from dsgmigd.errors import CommandFailed
from dsgmigd.names import SnapshotName
from dsgmigd.target.late_snapshots import RunsPipes, made_of, settle_late_snapshots
from dsgmigd.target.staging import Staging
from tests.unit.fake_zfs import FakeZfs
from tests.unit.staged_series import AREA, publish_series, target_names

STAGING = f"{AREA}/staging/SV"


class History:
    """Answers `zpool history` with these lines, or refuses to."""

    def __init__(self, *lines: str, is_known: bool = True) -> None:
        self._content = "".join(f"{line}\n" for line in lines).encode()
        self._is_known = is_known

    @contextmanager
    def pipe(self, *argv: str) -> Iterator[IO[bytes]]:
        assert argv == ("zpool", "history", "-i", "zsd")
        if not self._is_known:
            raise CommandFailed(argv, status=1, stderr="unknown option")
        yield io.BytesIO(self._content)


UNKNOWN = History(is_known=False)


@pytest.fixture
def published(commands: FakeZfs, staging: Staging) -> Staging:
    """A target to which others added snapshots, before the last of the series and after it."""
    publish_series(staging, SnapshotName(1))
    for name in ("older", "s2", "auto", "later", "again"):
        commands.output("zfs", "snapshot", f"zsd/SV@{name}")
    return staging


def made(published: Staging, dataset: str, name: str) -> str:
    """Return the line that tells that a snapshot of the target was made of `dataset`."""
    number = published.zfs.option(f"zsd/SV@{name}", "objsetid")
    return f"2026-11-29.15:30:45 [txg:121] snapshot {dataset}@{name} ({number})"


def settle(staging: Staging, history: RunsPipes) -> list[str]:
    """Settle the snapshots that the target has now."""
    target = staging.read_target()
    assert target is not None
    return settle_late_snapshots(staging.zfs, history, staging.layout, target)


def test_what_was_made_of_staging_is_destroyed_and_the_rest_is_named(published: Staging) -> None:
    lines = [made(published, STAGING, "auto"), made(published, "zsd/SV", "later")]
    earlier = f"2026-11-29.15:30:44 [txg:120] snapshot {STAGING}@again (77)"  # and destroyed
    said = settle(published, History(earlier, *lines))
    assert target_names(published) == ["s1", "older", "s2", "later", "again"]
    assert [one.partition(" ")[0] for one in said] == [
        *("zsd/SV@again", "zsd/SV@later", "zsd/SV@auto")
    ]
    assert [one.endswith("and was destroyed") for one in said] == [False, False, True]


def test_without_a_history_everything_stays_and_is_named(published: Staging) -> None:
    said = settle(published, UNKNOWN)
    assert target_names(published) == ["s1", "older", "s2", "auto", "later", "again"]
    assert ["during the publication" in one for one in said] == [True, True, True]


def test_what_something_keeps_stays_and_is_named(commands: FakeZfs, published: Staging) -> None:
    commands.busy["zsd/SV@auto"] = 10**6
    history = History(made(published, STAGING, "auto"))
    said = settle(published, history)
    assert "auto" in target_names(published)
    assert said[-1].startswith("zsd/SV@auto was made of staging by another program: ")


def test_a_target_without_late_snapshots_costs_no_look_at_the_history(staging: Staging) -> None:
    publish_series(staging, SnapshotName(1))
    assert settle(staging, UNKNOWN) == []


HISTORY = b"""\
2026-11-29.15:30:40 zfs snapshot zsd/.dsgmigd/staging/SV@typed
2026-11-29.15:30:45 [txg:121] snapshot zsd/.dsgmigd/staging/SV@auto (101)
2026-11-29.15:30:46 [txg:123] rename zsd/SV (99) -> zsd/SV
2026-11-29.15:30:47 [txg:124] snapshot zsd/SV@later (102)
2026-11-29.15:30:48 [txg:125] snapshot zsd/.dsgmigd/staging/SV-2@auto (103)
"""


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [("auto", "101", True), ("auto", "103", False), ("later", "102", False), ("typed", "1", False)],
)
def test_only_a_line_of_zfs_itself_with_name_and_number_counts(
    name: str, number: str, *, expected: bool
) -> None:
    lines = io.BytesIO(HISTORY)
    assert bool(made_of(STAGING, {name: number}, lines)) is expected
