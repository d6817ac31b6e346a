"""A source that changes, vanishes or cannot be pinned: the right result, or a clear error."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bed

from dsgmigd.source.pin_names import PINS_DIRECTORY
from tests.integration.conftest import Bed, read_only_source
from tests.integration.processes import wait_for
from tests.integration.trees import (
    Series,
    assert_migrated,
    differences,
    filling,
    new_series,
    set_read_only,
    write,
    writing,
)

WORK_MIB = 48


def migrate_meanwhile(made: Bed, meddle: Callable[[], object]) -> dict[str, Any]:
    """Let a worker migrate SV, and meddle as soon as the source is pinned."""
    made.start_worker(1)
    made.drop("SV")

    def pinned() -> list[Path]:
        return list(made.source_root.glob(".dsgmigd-pins/*/SV.*/s3.*"))

    wait_for(pinned, "the last pin", made=made)
    meddle()
    return made.wait_result("SV")


def series_of_three(made: Bed) -> Series:
    return new_series(made, "SV", writing(a="a"), filling("big", WORK_MIB), writing(b="b"))


def test_a_snapshot_that_is_deleted_while_it_is_read_arrives_all_the_same(fresh_bed: Bed) -> None:
    series = series_of_three(fresh_bed)

    def delete() -> None:
        bed.run("btrfs", "subvolume", "delete", series.snapshot(3))

    result = migrate_meanwhile(fresh_bed, delete)
    assert result["outcome"] == "done", result["error"]
    view = fresh_bed.spool.parent / "view"
    with bed.snapshot_view(f"{fresh_bed.parent}/SV", "s3", view) as tree:
        assert (tree / "b").read_text() == "b"
    assert not (fresh_bed.source_root / ".dsgmigd-pins").exists()


def test_what_changes_after_the_pin_is_not_in_the_result_and_is_found_later(
    fresh_bed: Bed,
) -> None:
    series = series_of_three(fresh_bed)
    set_read_only(series.snapshot(3), is_read_only=False)
    kept = fresh_bed.source_root / "kept"
    bed.run("btrfs", "subvolume", "snapshot", "-r", series.snapshot(3), kept)

    def change() -> None:
        write(series.snapshot(3) / "b", "something else")

    result = migrate_meanwhile(fresh_bed, change)
    assert result["outcome"] == "done", result["error"]
    view = fresh_bed.spool.parent / "view"
    with bed.snapshot_view(f"{fresh_bed.parent}/SV", "s3", view) as tree:
        assert differences(kept, tree) == []
    found = fresh_bed.verified("SV")
    assert found["error"]["code"] == "target_differs"
    assert "s3: " in found["error"]["message"]


def test_no_pin_comes_back_when_the_power_is_cut_after_a_result(fresh_bed: Bed) -> None:
    """What a mount would find is looked at: btrfs-progs reads the disk, past the mounted tree."""
    disk = bed.run("findmnt", "-n", "-o", "SOURCE", "-T", fresh_bed.source_root).strip()
    new_series(fresh_bed, "SV", writing(a="1"), writing(a="2"))
    bed.run("btrfs", "filesystem", "sync", fresh_bed.source_root)
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    on_disk = bed.run("btrfs", "inspect-internal", "dump-tree", "-t", "5", disk)
    assert f"name: {fresh_bed.source_root.name}" in on_disk
    assert PINS_DIRECTORY not in on_disk


def test_a_source_that_cannot_be_pinned_is_read_in_place_and_the_result_says_so(
    fresh_bed: Bed,
) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"), writing(b="b"))
    set_read_only(series.snapshot(2), is_read_only=False)
    with read_only_source(fresh_bed):
        result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done", result["error"]
    why = "not pinned (file system mounted read-only)"
    assert result["warnings"] == [
        f"{why}: s1; read in place and checked for changes",
        f"{why}: s2; read in place by rsync and checked for changes",
    ]
    # A writable snapshot cannot be sent.
    assert [row["method"] for row in result["snapshots"]] == ["send", "rsync"]
    assert_migrated(fresh_bed, "SV", series.directory, 2)


def test_a_snapshot_that_is_read_in_place_must_not_change(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", filling("big", WORK_MIB), filling("more", WORK_MIB))
    set_read_only(series.snapshot(2), is_read_only=False)
    with read_only_source(fresh_bed):
        process = subprocess.Popen(
            fresh_bed.command("migrate", "SV", "--json"),
            env=fresh_bed.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        staged = fresh_bed.mountpoint / ".dsgmigd/staging/SV/more"

        def begun() -> bool:
            return staged.exists() or any(staged.parent.glob(".more.*"))

        wait_for(begun, "s2 in the making", made=fresh_bed)
        write(series.snapshot(2) / "a", "changed")
        output, _ = process.communicate(timeout=120)
    assert b'"source_changed"' in output
    assert not (fresh_bed.mountpoint / "SV").exists()
