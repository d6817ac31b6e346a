"""What a request does to a target that is there already: go on, leave alone, extend, replace."""

import os
from pathlib import Path
from typing import Any

import bed
import pytest

from dsgmigd.config import read_config
from dsgmigd.errors import TargetBusy
from dsgmigd.host.command import Commands
from dsgmigd.migration.job import Job
from dsgmigd.migration.migration import Migration
from dsgmigd.migration.progress import Progress
from dsgmigd.names import parse_repo_name
from dsgmigd.request import Request
from dsgmigd.target.zfs import Zfs
from tests.integration.conftest import SPOOL_ID, Bed, write_config
from tests.integration.trees import (
    Series,
    all_of,
    assert_migrated,
    new_series,
    set_read_only,
    write,
    writing,
)


def numbered(made: Bed, count: int, repo: str = "SV") -> Series:
    edits = [writing(number=str(n), **{f"data__f{n}": "x" * n}) for n in range(1, count + 1)]
    return new_series(made, repo, *edits)


def names(result: dict[str, Any]) -> list[str]:
    return [row["name"] for row in result["snapshots"]]


def guids(made: Bed, repo: str) -> dict[str, str]:
    lines = bed.run("zfs", "get", "-Hp", "-r", "-o", "name,value", "guid", f"{made.parent}/{repo}")
    return dict(line.split("\t") for line in lines.splitlines())


def replaced(made: Bed) -> list[str]:
    area = f"{made.parent}/.dsgmigd/replaced"
    listed = bed.run("zfs", "list", "-H", "-r", "-t", "filesystem", "-o", "name", area).split()
    return [name.removeprefix(f"{area}/") for name in listed if name != area]


@pytest.mark.parametrize("last", ["promote", "rename"])
def test_a_publication_that_was_cut_off_is_undone_for_who_asks_for_less(
    fresh_bed: Bed, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """The target was renamed, and the dataset that is to replace it has more than is asked for."""
    series = numbered(fresh_bed, 3)
    fresh_bed.migrate("SV", "--limit", "2")
    before = guids(fresh_bed, "SV")
    call = getattr(Zfs, last)

    def cut(self: Zfs, name: str, *more: str) -> None:
        if name.endswith("staging/SV"):
            raise SystemExit  # as if it was killed
        call(self, name, *more)

    settings = read_config(str(fresh_bed.config)).settings()
    job = Job(parse_repo_name("SV"), Request(), "cut", SPOOL_ID)
    migration = Migration(job, settings, Commands(), Progress(repo="SV"))
    monkeypatch.setattr(Zfs, last, cut)
    with pytest.raises(SystemExit):
        migration.run()
    assert f"{fresh_bed.parent}/SV" not in bed.run("zfs", "list", "-H", "-o", "name").split()
    assert fresh_bed.migrate("SV", "--limit", "2")["outcome"] == "up_to_date"
    assert guids(fresh_bed, "SV") == before
    assert_migrated(fresh_bed, "SV", series.directory, 2)
    assert names(fresh_bed.migrate("SV")) == []  # it was built and verified before
    assert_migrated(fresh_bed, "SV", series.directory, 3)
    assert len(replaced(fresh_bed)) == 1


def test_a_publication_that_fails_in_the_middle_leaves_the_target_where_it_was(
    fresh_bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = numbered(fresh_bed, 3)
    fresh_bed.migrate("SV", "--limit", "2")

    def fail(_: Zfs, name: str) -> None:
        raise TargetBusy(f"{name} is busy", hint="wait")

    settings = read_config(str(fresh_bed.config)).settings()
    job = Job(parse_repo_name("SV"), Request(), "fail", SPOOL_ID)
    migration = Migration(job, settings, Commands(), Progress(repo="SV"))
    monkeypatch.setattr(Zfs, "promote", fail)
    with pytest.raises(TargetBusy):
        migration.run()
    assert_migrated(fresh_bed, "SV", series.directory, 2)
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, 3)


def test_after_a_limited_run_the_next_goes_on(fresh_bed: Bed) -> None:
    series = numbered(fresh_bed, 4)
    first = fresh_bed.migrate("SV", "--limit", "2")
    assert (first["outcome"], names(first)) == ("done", ["s1", "s2"])
    assert_migrated(fresh_bed, "SV", series.directory, 2)
    before = guids(fresh_bed, "SV")
    second = fresh_bed.migrate("SV")
    assert (second["outcome"], names(second)) == ("done", ["s3", "s4"])
    assert_migrated(fresh_bed, "SV", series.directory, 4)
    after = guids(fresh_bed, "SV")
    assert all(after[name] == guid for name, guid in before.items() if "@" in name)


def test_a_limit_beyond_the_last_snapshot_means_all(fresh_bed: Bed) -> None:
    series = numbered(fresh_bed, 2)
    result = fresh_bed.migrate("SV", "--limit", "99")
    assert (result["outcome"], names(result)) == ("done", ["s1", "s2"])
    assert_migrated(fresh_bed, "SV", series.directory, 2)


def test_a_limit_below_what_is_there_is_up_to_date(fresh_bed: Bed) -> None:
    numbered(fresh_bed, 3)
    fresh_bed.migrate("SV")
    assert fresh_bed.migrate("SV", "--limit", "2")["outcome"] == "up_to_date"
    assert fresh_bed.snapshots("SV") == ["s1", "s2", "s3"]


def test_up_to_date_writes_nothing(fresh_bed: Bed) -> None:
    numbered(fresh_bed, 3)
    fresh_bed.migrate("SV")
    before = (fresh_bed.pool_listing(), guids(fresh_bed, "SV"))
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["snapshots"]) == ("up_to_date", [])
    assert result["target"]["mountpoint"] == str(fresh_bed.mountpoint / "SV")
    assert (fresh_bed.pool_listing(), guids(fresh_bed, "SV")) == before


def test_new_snapshots_extend_the_target_and_old_ones_stay_the_same(fresh_bed: Bed) -> None:
    series = numbered(fresh_bed, 3)
    fresh_bed.migrate("SV")
    before = {name: guid for name, guid in guids(fresh_bed, "SV").items() if "@" in name}
    series.push(writing(number="4", new="x"))
    series.push(writing(number="5"))
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], names(result)) == ("done", ["s4", "s5"])
    assert result["plan"]["base"] == "extend s3"
    assert before.items() <= guids(fresh_bed, "SV").items()
    assert_migrated(fresh_bed, "SV", series.directory, 5)
    area = f"{fresh_bed.parent}/.dsgmigd"
    kept = [f"{area}/replaced/{name}" for name in replaced(fresh_bed)]
    assert kept == [result["target"]["replaced"]], "the dataset that stood there, as a clone"


def test_a_target_can_be_extended_again_and_again(fresh_bed: Bed) -> None:
    series = numbered(fresh_bed, 1)
    for count in (1, 2, 3):
        assert fresh_bed.migrate("SV")["outcome"] == "done"
        assert_migrated(fresh_bed, "SV", series.directory, count)
        series.push(writing(number=str(count + 1)))


def test_the_manifests_of_an_extended_target_are_those_of_one_run(fresh_bed: Bed) -> None:
    numbered(fresh_bed, 3, "A")
    at_once = fresh_bed.migrate("A")["snapshots"]
    bed.destroy("-r", f"{fresh_bed.parent}/A")
    step_by_step = [
        row
        for limit in ("1", "2", "3")
        for row in fresh_bed.migrate("A", "--limit", limit)["snapshots"]
    ]
    hashes = [[(row["name"], row["snapshot_hash"]) for row in at_once]]
    hashes.append([(row["name"], row["snapshot_hash"]) for row in step_by_step])
    assert hashes[0] == hashes[1]


def foreign_target(made: Bed) -> dict[str, str]:
    bed.run("zfs", "create", f"{made.parent}/SV")
    write(made.mountpoint / "SV/precious")
    bed.run("zfs", "snapshot", f"{made.parent}/SV@s1")
    write(made.mountpoint / "SV/newer")
    return guids(made, "SV")


def test_a_foreign_dataset_is_left_alone(fresh_bed: Bed) -> None:
    before = foreign_target(fresh_bed)
    numbered(fresh_bed, 2)
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["error"]["code"]) == ("failed", "target_exists")
    assert "@s1 was not made by dsgmigd" in result["error"]["message"]
    assert "replace" in result["error"]["hint"]
    assert guids(fresh_bed, "SV") == before
    assert sorted(os.listdir(fresh_bed.mountpoint / "SV")) == ["newer", "precious"]


def test_a_dataset_without_snapshots_is_foreign_too(fresh_bed: Bed) -> None:
    bed.run("zfs", "create", f"{fresh_bed.parent}/SV")
    write(fresh_bed.mountpoint / "SV/precious")
    numbered(fresh_bed, 1)
    error = fresh_bed.migrate("SV")["error"]
    assert error["code"] == "target_exists"
    assert "no snapshots" in error["message"]
    assert os.listdir(fresh_bed.mountpoint / "SV") == ["precious"]


def test_a_dataset_that_was_made_by_hand_and_is_empty_may_be_destroyed(fresh_bed: Bed) -> None:
    bed.run("zfs", "create", f"{fresh_bed.parent}/SV")
    series = numbered(fresh_bed, 1)
    error = fresh_bed.migrate("SV")["error"]
    assert error["code"] == "target_exists"
    assert error["hint"].startswith(f"it is empty: zfs destroy {fresh_bed.parent}/SV, or submit")
    bed.destroy(f"{fresh_bed.parent}/SV")
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, 1)


def test_a_target_of_the_original_is_told_from_its_normalised_copy(fresh_bed: Bed) -> None:
    numbered(fresh_bed, 2)
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    numbered(fresh_bed, 2, "SV-norm")
    error = fresh_bed.migrate("SV")["error"]
    assert error["code"] == "target_exists"
    assert "@s1 was made from SV/, the source is SV-norm/ now" in error["message"]


def test_a_target_of_another_history_is_refused_with_its_evidence(fresh_bed: Bed) -> None:
    """The repository was restored from elsewhere: same names, other subvolumes."""
    series = numbered(fresh_bed, 2)
    fresh_bed.migrate("SV")
    before, listing = guids(fresh_bed, "SV"), fresh_bed.pool_listing()
    for number in (1, 2):
        bed.run("btrfs", "subvolume", "delete", series.snapshot(number))
    series.count = 0
    series.push(writing(number="other"))
    series.push(writing(number="history"))
    result = fresh_bed.migrate("SV")
    assert result["error"]["code"] == "target_exists"
    uuids = [
        line.split()[-1]
        for line in bed.run("btrfs", "subvolume", "show", series.snapshot(1)).splitlines()
        if line.strip().startswith("UUID:")
    ]
    assert "@s1 was made from" in result["error"]["message"]
    assert uuids[0] in result["error"]["message"]
    assert (guids(fresh_bed, "SV"), fresh_bed.pool_listing()) == (before, listing)


def test_replace_keeps_the_old_dataset_aside(fresh_bed: Bed) -> None:
    before = foreign_target(fresh_bed)
    series = numbered(fresh_bed, 2)
    result = fresh_bed.migrate("SV", "--replace")
    assert (result["outcome"], names(result)) == ("done", ["s1", "s2"])
    assert_migrated(fresh_bed, "SV", series.directory, 2)
    aside = result["target"]["replaced"]
    assert aside.startswith(f"{fresh_bed.parent}/.dsgmigd/replaced/SV-")
    lines = bed.run("zfs", "get", "-Hp", "-r", "-o", "value", "guid", aside).split()
    assert sorted(lines) == sorted(before.values())
    with bed.snapshot_view(aside, "s1", fresh_bed.spool.parent / "view") as view:
        assert os.listdir(view) == ["precious"]


def test_the_configuration_may_say_replace_and_a_request_may_say_no(fresh_bed: Bed) -> None:
    write_config(fresh_bed, target='existing = "replace"')
    foreign_target(fresh_bed)
    series = numbered(fresh_bed, 1)
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV", {"replace": False})
    assert fresh_bed.wait_result("SV")["error"]["code"] == "target_exists"
    fresh_bed.drop("SV")
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, 1)


def read_everything(tree: Path) -> None:
    """Read files until btrfs has noted an access time, as a reader on a relatime mount does."""
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            path.read_bytes()
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns + 1, status.st_mtime_ns))
    bed.run("btrfs", "filesystem", "sync", tree)


def test_a_source_that_was_merely_read_is_compared_again_and_extended(fresh_bed: Bed) -> None:
    """An access time moves a writable subvolume's ctransid; its contents are what they were."""
    series = numbered(fresh_bed, 2)
    set_read_only(series.snapshot(1), is_read_only=False)
    fresh_bed.migrate("SV")
    read_everything(series.snapshot(1))
    series.push(writing(number="3"))
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["error"]) == ("done", None)
    assert result["plan"]["rechecks"] == ["s1"]
    assert names(result) == ["s1", "s3"]
    assert_migrated(fresh_bed, "SV", series.directory, 3)
    again = fresh_bed.migrate("SV")
    assert (again["outcome"], again["plan"]["rechecks"]) == ("up_to_date", [])


def test_a_source_that_was_edited_after_its_migration_is_found_out(fresh_bed: Bed) -> None:
    series = numbered(fresh_bed, 2)
    set_read_only(series.snapshot(1), is_read_only=False)
    fresh_bed.migrate("SV")
    before = guids(fresh_bed, "SV")
    write(series.snapshot(1) / "number", "7")
    series.push(all_of(writing(number="3")))
    result = fresh_bed.migrate("SV")
    assert result["error"]["code"] == "target_differs"
    assert "number" in result["error"]["message"]
    assert guids(fresh_bed, "SV") == before


def test_a_source_that_was_pruned_still_extends_its_target(fresh_bed: Bed) -> None:
    series = numbered(fresh_bed, 4)
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    for name in ("s1", "s3"):
        bed.run("btrfs", "subvolume", "delete", series.directory / name)
    kept = "the source does not have (or no longer has) s1, s3 of the target: kept, not compared"
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["warnings"]) == ("up_to_date", [kept])
    series.push(writing(number="5"))
    assert f"warning: {kept}" in fresh_bed.dsgmigd("plan", "SV").stdout
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], names(result), result["warnings"]) == ("done", ["s5"], [kept])
    assert result["plan"]["only_in_target"] == ["s1", "s3"]
    assert fresh_bed.snapshots("SV") == ["s1", "s2", "s3", "s4", "s5"]
    checked = fresh_bed.verified("SV")
    assert (checked["outcome"], names(checked)) == ("verified", ["s2", "s4", "s5"])
    assert fresh_bed.verified("SV", "--without-source")["outcome"] == "verified"
    series.push(writing(number="6"))
    bed.run("btrfs", "subvolume", "delete", series.directory / "s5")
    result = fresh_bed.migrate("SV")
    assert (result["error"]["code"], "renumbered" in result["error"]["hint"]) == (
        "snapshot_gap",
        True,
    )
