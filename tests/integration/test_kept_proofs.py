"""Who extends a published dataset compares its new snapshots, and not again what was proven."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bed
import pytest

from dsgmigd.config import read_config
from dsgmigd.errors import VerificationFailed
from dsgmigd.host.command import Commands
from dsgmigd.migration.job import Job
from dsgmigd.migration.migration import Migration
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.report import Report
from dsgmigd.names import RepoName
from dsgmigd.request import Request
from dsgmigd.verification.kept_proofs import Pair, ProofFile
from dsgmigd.verification.verifier import Verifier
from tests.integration.conftest import SPOOL_ID, Bed
from tests.integration.processes import assert_clean
from tests.integration.trees import assert_migrated, new_series, writing


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the snapshots of which both trees were walked."""
    numbers: list[int] = []
    real = Verifier.verify

    def noted(
        self: Verifier, source: str, target: str, number: int, *more: Any, **options: Any
    ) -> Any:
        numbers.append(number)
        return real(self, source, target, number, *more, **options)

    monkeypatch.setattr(Verifier, "verify", noted)
    return numbers


def migrate(made: Bed, **options: Any) -> Report:
    settings = read_config(str(made.config)).settings()
    job = Job(RepoName("SV"), Request(**options), "r1", SPOOL_ID)
    proofs = ProofFile(str(kept_file(made)))
    return Migration(job, settings, Commands(), Progress(repo="SV"), kept_proofs=proofs).run()


def kept_file(made: Bed) -> Path:
    return made.logs / "proofs"


def test_an_extension_compares_only_its_new_snapshots(fresh_bed: Bed, walked: list[int]) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"), writing(b="b"))
    migrate(fresh_bed)
    assert walked == [1, 2]
    for number in (3, 4):
        walked.clear()
        series.push(writing(c=str(number)))
        report = migrate(fresh_bed)
        assert walked == [number]
        (row,) = report.snapshots
        assert row.verification is not None
        assert row.verification.entries > row.verification.files_read
        assert_migrated(fresh_bed, "SV", series.directory, number)


def forget(made: Bed) -> None:
    kept_file(made).unlink()


def damage(made: Bed) -> None:
    kept_file(made).write_bytes(kept_file(made).read_bytes().replace(b"complete", b"structure"))


@pytest.mark.parametrize("spoil", [forget, damage])
def test_without_proofs_the_snapshot_before_is_compared_again(
    fresh_bed: Bed, walked: list[int], spoil: Callable[[Bed], None]
) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"), writing(b="b"))
    migrate(fresh_bed)
    spoil(fresh_bed)
    walked.clear()
    series.push(writing(c="c"))
    migrate(fresh_bed)
    assert walked == [2, 3]
    assert_migrated(fresh_bed, "SV", series.directory, 3)


@pytest.mark.parametrize("has_proofs", [True, False])
def test_a_change_reaches_every_name_of_a_file_in_an_extension(
    fresh_bed: Bed, *, has_proofs: bool
) -> None:
    def link(tree: Path) -> None:
        (tree / "b").hardlink_to(tree / "a")

    def change(tree: Path) -> None:
        with (tree / "b").open("a") as file:
            file.write("more")

    series = new_series(fresh_bed, "SV", writing(a="a"), link)
    migrate(fresh_bed)
    if not has_proofs:
        forget(fresh_bed)
    series.push(change)
    migrate(fresh_bed)
    assert_migrated(fresh_bed, "SV", series.directory, 3)


def test_a_stronger_level_builds_on_no_proofs_of_a_weaker_one(
    fresh_bed: Bed, walked: list[int]
) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"), writing(b="b"))
    migrate(fresh_bed, verify="structure")
    walked.clear()
    series.push(writing(c="c"))
    migrate(fresh_bed)
    # Both are verified at the level that is asked for now, before s3 is built on the second.
    assert walked == [1, 2, 2, 3]


def test_what_somebody_put_in_place_of_the_snapshot_before_is_compared(
    fresh_bed: Bed, walked: list[int]
) -> None:
    """It has its name and its properties, and another content."""
    series = new_series(fresh_bed, "SV", writing(a="a"), writing(b="b"))
    migrate(fresh_bed)
    name = f"{fresh_bed.parent}/SV"
    found = bed.run("zfs", "get", "-H", "-s", "local", "-o", "property,value", "all", f"{name}@s2")
    properties = [
        word for line in found.splitlines() for word in ("-o", line.replace("\t", "=", 1))
    ]
    bed.run("zfs", "destroy", f"{name}@s2")
    bed.run("zfs", "set", "readonly=off", name)
    (fresh_bed.mountpoint / "SV/b").write_text("something longer")
    bed.run("zfs", "snapshot", *properties, f"{name}@s2")
    walked.clear()
    series.push(writing(c="c"))
    with pytest.raises(VerificationFailed, match="s2: "):
        migrate(fresh_bed)
    assert walked == [2]


def test_the_command_goes_on_from_what_it_proved(fresh_bed: Bed) -> None:
    """It believes the file: an empty directory that stands for a subvolume there is one to it."""

    def make_directory(tree: Path) -> None:
        (tree / "d").mkdir()

    series = new_series(fresh_bed, "SV", writing(a="a"), make_directory)
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    path = fresh_bed.spool / ".dsgmigd/proofs/SV"
    pair = Pair(**json.loads(path.read_bytes().splitlines()[0])["pair"])
    file = ProofFile(str(path))
    proven = file.read(pair)
    assert proven is not None
    file.write(pair, replace(proven, nested=["d"]))
    series.push(writing(c="c"))
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done"
    assert "s2: 1 paths are nested subvolumes" in " ".join(result["warnings"])
    assert_migrated(fresh_bed, "SV", series.directory, 3)


def test_a_worker_keeps_proofs_where_only_root_reads(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    kept = fresh_bed.spool / ".dsgmigd/proofs"
    assert [path.name for path in kept.iterdir()] == ["SV"]
    assert kept.stat().st_mode & 0o777 == 0o700
    assert_clean(fresh_bed)
