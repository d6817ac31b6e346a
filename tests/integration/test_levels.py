"""What each level of verification looks at in a series of snapshots."""

import os
import time
from pathlib import Path
from typing import Any

import bed

from dsgmigd.verification.schedule import find_changes
from tests.integration import zfs_kind
from tests.integration.changes import check_changes
from tests.integration.conftest import Bed
from tests.integration.snapshots import held_snapshot
from tests.integration.trees import (
    Edit,
    Series,
    all_of,
    assert_migrated,
    linking,
    moving,
    new_series,
    removing,
    write,
    writing,
)

COUNT = 12
LATE_BYTES = 16 << 20


def long_series(made: Bed) -> Series:
    first = {f"d__f{number}": "x" * number for number in range(30)}
    edits = [writing(**first), *(writing(number=str(n)) for n in range(2, COUNT + 1))]
    return new_series(made, "SV", *edits)


def full_walks(result: dict[str, Any]) -> list[str]:
    return [row["name"] for row in result["snapshots"] if row["verification"]["is_full_walk"]]


def test_changes_walks_the_first_every_tenth_and_the_last_snapshot(fresh_bed: Bed) -> None:
    series = long_series(fresh_bed)
    result = fresh_bed.migrate("SV", "--verify", "changes")
    assert (result["outcome"], result["verified_now"]["level"]) == ("done", "changes")
    assert full_walks(result) == ["s1", "s11", "s12"]
    rows = {row["name"]: row["verification"] for row in result["snapshots"]}
    assert rows["s1"]["entries"] > 30
    assert 0 < rows["s5"]["entries"] < 10
    assert rows["s5"]["files_read"] >= 1
    assert_migrated(fresh_bed, "SV", series.directory, COUNT)


def test_changes_walks_everything_where_the_source_cannot_tell_what_changed(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"), writing(b="b"))
    series.push_copy(writing(c="c"))  # a subvolume of its own: related to nothing
    series.push_plain(writing(d="d"))  # no subvolume at all
    series.push_plain(writing(f="f"))
    result = fresh_bed.migrate("SV", "--verify", "changes")
    assert result["outcome"] == "done", result["error"]
    assert full_walks(result) == ["s1", "s3", "s4", "s5"]


def test_nothing_that_differs_is_not_called_changed_in_snapshots_of_snapshots(
    fresh_bed: Bed,
) -> None:
    def decorate(tree: Path) -> None:
        os.setxattr(tree / "d/f1", "user.a", b"1")
        (tree / "d/f2").chmod(0o600)
        os.utime(tree / "d/f3", ns=(0, 7))
        os.chown(tree / "d/f4", 7, 7)

    def write_in_place(tree: Path) -> None:
        with (tree / "d/f5").open("r+b") as file:
            file.write(b"y")

    first = {f"d__f{number}": "x" * 5000 for number in range(300)}
    fill = all_of(writing(**first), lambda tree: bed.run("btrfs", "filesystem", "sync", tree))
    edits = (fill, decorate, write_in_place, linking("d/f6", "h"), moving("d", "e"))
    more = (removing("e/f7"), removing("h"), all_of(removing("e/f8"), writing(e__f8="new")))
    series = new_series(fresh_bed, "SV", *edits, *more, has_push_log=False)
    for number in range(2, series.count + 1):
        before = held_snapshot(number - 1, series.snapshot(number - 1))
        after = held_snapshot(number, series.snapshot(number))
        since = after.changed_since(before)
        assert since
        changed = find_changes(after.path, since)
        check_changes(Path(before.path), Path(after.path), changed)
        assert len(changed.paths) < 300


def test_a_published_dataset_is_verified_by_changes_too(fresh_bed: Bed) -> None:
    long_series(fresh_bed)
    fresh_bed.migrate("SV")
    result = fresh_bed.verified("SV", "--level", "changes")
    assert full_walks(result) == ["s1", "s11", "s12"]


def test_a_run_at_complete_reads_again_what_a_stopped_one_checked_by_changes(
    fresh_bed: Bed,
) -> None:
    series = long_series(fresh_bed)
    bed.run("btrfs", "property", "set", "-ts", series.snapshot(12), "ro", "false")
    (series.snapshot(12) / ".dsg").mkdir()  # ends the run at s12
    assert fresh_bed.migrate("SV", "--verify", "changes")["outcome"] == "failed"
    (series.snapshot(12) / ".dsg").rmdir()
    write(series.snapshot(12) / "number", "12")
    result = fresh_bed.migrate("SV", "--verify", "complete")
    assert result["outcome"] == "done", result["error"]
    assert result["plan"]["base"] == "create"
    assert len(full_walks(result)) == COUNT


def test_complete_reads_what_changed_and_nothing_again(fresh_bed: Bed) -> None:
    """Also where snapshots are made twice a second; each is writable until the next is made."""

    def writing_late(tree: Path) -> None:
        """Keep the target busy, so that what comes before is older than a tick of its clock."""
        (tree / "late").write_bytes(os.urandom(LATE_BYTES))

    def pausing(seconds: float) -> Edit:
        return lambda _: time.sleep(seconds)

    series = Series(fresh_bed.source_root / "SV")
    series.push(all_of(writing(**{f"f{number}": "1" for number in range(30)}), pausing(0.4)))
    for number in range(2, 6):
        edit = all_of(writing(**{f"f{number}": "2"}), writing_late)
        series.push(all_of(pausing(0.1), edit, pausing(0.4)))
    result = fresh_bed.migrate("SV")
    rows = [row["verification"] for row in result["snapshots"]]
    read = [row["files_read"] for row in rows]
    assert read[0] == 30
    # A target that keeps whole seconds cannot tell what was written before its snapshot.
    assert read[2:] == [2, 2, 2] or zfs_kind.IS_FUSE
    assert all(row["files_read"] + row["files_proven"] == 31 for row in rows[1:])


def test_a_run_that_publishes_without_reading_says_what_it_did_not_check(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="1"))
    text = fresh_bed.config.read_text()
    fresh_bed.config.write_text(text + '\n[verify]\nlevel = "structure"\n')
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done"
    assert "were not checked (s1 has 1)" in result["warnings"][-1]
