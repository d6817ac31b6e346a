"""The staging dataset until its publication, on a zfs that keeps its pool in memory.

Files are real, so that the effect of a rollback and of a clone on them shows.
"""

import os
from pathlib import Path

import pytest

from dsgmigd.errors import TargetChanged, TargetExists
from dsgmigd.names import SnapshotName
from dsgmigd.target import mounts
from dsgmigd.target.dataset import PROPERTY_PREFIX, Dataset
from dsgmigd.target.layout import VERIFIED
from dsgmigd.target.marks import verified_mark
from dsgmigd.target.publication import Publication
from dsgmigd.target.staging import Staging
from tests.unit.fake_zfs import FakeZfs
from tests.unit.staged_series import (
    AREA,
    T1,
    chain_names,
    publish_series,
    staging_of,
    take_snapshot,
    target_names,
)

S1, S2, S3 = SnapshotName(1), SnapshotName(2), SnapshotName(3)


def test_a_new_beginning_drops_what_an_earlier_run_left_in_staging(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "old")
    staging_of(commands, "r2").create()
    assert chain_names(staging) == []
    assert commands.properties(f"{AREA}/staging/SV")[PROPERTY_PREFIX + "request"] == "r2"


def told_mounted(commands: FakeZfs, name: str, file: Path, *, device: int | None = None) -> None:
    """Write the kernel's list of mounts with one dataset of the fake."""
    mountpoint = commands.mountpoint(name)
    number = mountpoint.stat().st_dev if device is None else device
    numbers = f"{os.major(number)}:{os.minor(number)}"
    file.write_text(f"30 22 {numbers} / {mountpoint} rw - zfs {name} rw\n")


def test_only_a_dataset_in_which_nothing_is_is_empty(
    commands: FakeZfs, staging: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "_MOUNTS", str(tmp_path / "mountinfo"))

    def is_empty() -> bool:
        target = staging.read_target()
        assert target is not None
        return staging.is_empty(target)

    commands.output("zfs", "create", "zsd/SV")
    (tmp_path / "mountinfo").write_text("")
    assert not is_empty(), "it is mounted nowhere, so its files are not seen"
    told_mounted(commands, "zsd/SV", tmp_path / "mountinfo", device=os.makedev(0, 1))
    assert not is_empty(), "another file system hides its files"
    told_mounted(commands, "zsd/SV", tmp_path / "mountinfo")
    assert is_empty()
    (commands.mountpoint("zsd/SV") / ".zfs").mkdir()
    assert is_empty(), "snapdir=visible shows it in every dataset"
    (commands.mountpoint("zsd/SV") / ".hidden").touch()
    assert not is_empty()
    (commands.mountpoint("zsd/SV") / ".hidden").unlink()
    commands.output("zfs", "create", "zsd/SV/child")
    commands.output("zfs", "unmount", "zsd/SV/child")
    (commands.mountpoint("zsd/SV") / "child").rmdir()
    assert not is_empty(), "a child dataset need not be mounted"
    commands.output("zfs", "destroy", "zsd/SV/child")
    assert is_empty()
    commands.output("zfs", "snapshot", "zsd/SV@daily")
    assert not is_empty()


@pytest.mark.parametrize("place", ["staging", "views"])
def test_a_dataset_that_dsgmigd_did_not_make_is_never_destroyed(
    commands: FakeZfs, staging: Staging, place: str
) -> None:
    commands.output("zfs", "create", f"{AREA}/{place}/SV")
    (commands.mountpoint(f"{AREA}/{place}/SV") / "file").write_text("another user's")
    before = commands.names()
    with pytest.raises(TargetChanged, match="not one that dsgmigd made"):
        staging.create()
    with pytest.raises(TargetChanged, match=r"gone|not one that dsgmigd made"):
        Publication(staging).publish(T1, None, {})
    assert commands.names() == before


def test_a_mark_that_only_the_parent_carries_does_not_make_a_dataset_ours(
    commands: FakeZfs, staging: Staging
) -> None:
    commands.output("zfs", "set", f"{PROPERTY_PREFIX}request=r1", f"{AREA}/staging")
    commands.output("zfs", "create", f"{AREA}/staging/SV")
    (commands.mountpoint(f"{AREA}/staging/SV") / "file").write_text("another user's")
    with pytest.raises(TargetChanged, match="not one that dsgmigd made"):
        staging.discard()


def test_discarding_nothing_is_no_error(commands: FakeZfs, staging: Staging) -> None:
    before = commands.names()
    staging.discard()
    assert commands.names() == before


def test_a_run_resumes_at_a_snapshot_with_the_files_as_they_were(
    commands: FakeZfs, staging: Staging
) -> None:
    root = Path(staging.create())
    for name in (S1, S2, S3):
        take_snapshot(staging, name, str(name))
    (root / "half written").touch()
    again = staging_of(commands, "r2")
    assert again.resume(S1) == str(root)
    assert [path.name for path in root.iterdir()] == ["file"]
    assert (root / "file").read_text() == "s1"
    assert chain_names(again) == ["s1"]
    assert commands.properties(f"{AREA}/staging/SV")[PROPERTY_PREFIX + "request"] == "r2"


def test_a_run_that_resumes_names_the_snapshots_of_others_that_it_destroys(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    commands.output("zfs", "snapshot", f"{AREA}/staging/SV@auto")
    take_snapshot(staging, S2, "two")
    warnings: list[str] = []
    staging_of(commands, "r2", warn=warnings.append).resume(S1)
    assert chain_names(staging) == ["s1"]
    assert warnings == [f"{AREA}/staging/SV@auto is not part of the series, and was destroyed"]


def test_a_run_resumes_before_a_snapshot_that_an_interrupted_run_was_reading(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    take_snapshot(staging, S2, "two")
    left = f"{PROPERTY_PREFIX}request=dead"
    commands.output("zfs", "clone", "-o", left, f"{AREA}/staging/SV@s2", f"{AREA}/views/SV")
    staging_of(commands, "r2").resume(S1)
    assert chain_names(staging) == ["s1"]
    assert f"{AREA}/views/SV" not in commands.names()


def test_a_dataset_that_a_power_cut_left_without_its_properties_is_replaced(
    commands: FakeZfs, staging: Staging
) -> None:
    commands.output("zfs", "create", f"{AREA}/staging/SV")
    staging.create()
    take_snapshot(staging, S1, "one")
    commands.output("zfs", "clone", f"{AREA}/staging/SV@s1", f"{AREA}/views/SV")
    with staging.view(f"{AREA}/staging/SV", S1) as root:
        assert (Path(root) / "file").read_text() == "one"
    commands.output("zfs", "clone", f"{AREA}/staging/SV@s1", f"{AREA}/views/SV")
    staging.resume(S1)
    assert f"{AREA}/views/SV" not in commands.names()


def test_a_dataset_without_properties_is_not_half_made_if_it_has_snapshots(
    commands: FakeZfs, staging: Staging
) -> None:
    commands.output("zfs", "create", f"{AREA}/staging/SV")
    commands.output("zfs", "snapshot", f"{AREA}/staging/SV@s1")
    with pytest.raises(TargetChanged, match="not one that dsgmigd made"):
        staging.create()
    assert f"{AREA}/staging/SV@s1" in commands.names()


def test_a_run_does_not_resume_over_a_view_that_is_not_ours(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    commands.output("zfs", "clone", f"{AREA}/staging/SV@s1", f"{AREA}/views/SV")
    (commands.mountpoint(f"{AREA}/views/SV") / "file").write_text("another user's")
    with pytest.raises(TargetChanged, match="not one that dsgmigd made"):
        staging.resume(S1)
    assert f"{AREA}/views/SV" in commands.names()


def test_a_run_does_not_resume_at_a_snapshot_that_is_not_there(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    before = commands.names()
    with pytest.raises(TargetChanged, match="no snapshot s2 from which the work could resume"):
        staging.resume(S2)
    assert commands.names() == before


def test_a_snapshot_that_somebody_destroyed_is_missed_when_it_is_resumed_from(
    staging: Staging,
) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    assert staging.made_snapshot(S1).name == "s1"
    with pytest.raises(TargetChanged, match="no snapshot s2 from which the work could resume"):
        staging.made_snapshot(S2)


def test_a_snapshot_that_differs_from_its_source_is_dropped_alone(staging: Staging) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    take_snapshot(staging, S2, "two")
    staging.drop_snapshot(S2)
    assert chain_names(staging) == ["s1"]


def test_a_snapshot_of_another_program_gives_way_to_ours_of_the_same_name(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    warnings: list[str] = []
    commands.output("zfs", "snapshot", f"{AREA}/staging/SV@s1")
    take_snapshot(staging_of(commands, "r1", warn=warnings.append), S1, "one")
    assert chain_names(staging) == ["s1"]
    assert staging.made_snapshot(S1).properties["request"] == "r1"
    assert warnings == [f"{AREA}/staging/SV@s1 was made by another program, and was destroyed"]
    with pytest.raises(TargetExists):
        take_snapshot(staging, S1, "ours is never destroyed for another of ours")


def test_a_snapshot_that_differs_and_is_held_is_dropped_by_the_next_run(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    take_snapshot(staging, S2, "two")
    commands.output("zfs", "hold", "tag", f"{AREA}/staging/SV@s2")
    staging.drop_snapshot(S2)
    commands.datasets[f"{AREA}/staging/SV"].snapshots[1].holds.clear()
    staging.resume(S1)
    assert chain_names(staging) == ["s1"]


def test_an_extension_begins_with_the_target_and_its_snapshots(staging: Staging) -> None:
    publish_series(staging, S1, S2)
    root = Path(staging.clone_target(S2))
    assert (root / "file").read_text() == "s2"
    assert chain_names(staging) == ["s1", "s2"]
    take_snapshot(staging, S3, "three")
    assert chain_names(staging) == ["s1", "s2", "s3"]
    assert target_names(staging) == ["s1", "s2"]
    assert staging.owner_of(S2) == "zsd/SV"
    assert staging.owner_of(S3) == f"{AREA}/staging/SV"


def test_devices_stay_off_in_the_target_unless_the_parent_says_otherwise(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1)
    made = commands.properties("zsd/SV")
    assert (made["devices"], made["setuid"]) == ("off", "off")
    commands.properties("zsd")["devices"] = "on"
    staging.clone_target(S1)
    made = commands.properties(f"{AREA}/staging/SV")
    assert (made.get("devices"), made["setuid"]) == (None, "off")


def test_nothing_is_built_on_a_clone_of_a_foreign_dataset(
    commands: FakeZfs, staging: Staging
) -> None:
    commands.output("zfs", "create", "zsd/other")
    commands.output("zfs", "snapshot", "zsd/other@s1")
    commands.output("zfs", "clone", "zsd/other@s1", f"{AREA}/staging/SV")
    dataset = staging.read_staging()
    assert dataset is not None
    assert staging.read_chain(dataset) == []


def test_a_clone_of_a_kept_target_keeps_its_snapshots(commands: FakeZfs, staging: Staging) -> None:
    publish_series(staging, S1)
    staging.clone_target(S1)
    commands.output("zfs", "unmount", "zsd/SV")
    commands.output("zfs", "rename", "zsd/SV", f"{AREA}/replaced/SV-{T1}")
    assert chain_names(staging) == ["s1"]


def test_nothing_is_built_on_a_kept_target_of_a_repository_whose_name_begins_alike(
    commands: FakeZfs, staging: Staging
) -> None:
    """SV and SV-2020 both have a kept target."""
    for repo in ("SV", "SV-2020"):
        name = f"{AREA}/replaced/{repo}-{T1}"
        commands.output("zfs", "create", name)
        commands.output("zfs", "snapshot", f"{name}@s1")
    commands.output("zfs", "clone", f"{AREA}/replaced/SV-2020-{T1}@s1", f"{AREA}/staging/SV")
    assert chain_names(staging) == []


def test_a_view_shows_a_snapshot_and_is_gone_afterwards(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    take_snapshot(staging, S2, "two")
    with staging.view(f"{AREA}/staging/SV", S1) as root:
        assert (Path(root) / "file").read_text() == "one"
        if not commands.native:
            assert commands.properties(f"{AREA}/views/SV")["readonly"] == "on"
    assert f"{AREA}/views/SV" not in commands.names()


def test_a_view_is_gone_even_if_the_reader_fails(commands: FakeZfs, staging: Staging) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    with pytest.raises(KeyError), staging.view(f"{AREA}/staging/SV", S1):
        raise KeyError
    assert f"{AREA}/views/SV" not in commands.names()


def test_a_view_that_an_interrupted_run_left_is_replaced(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    left = f"{PROPERTY_PREFIX}request=dead"
    commands.output("zfs", "clone", "-o", left, f"{AREA}/staging/SV@s1", f"{AREA}/views/SV")
    with staging.view(f"{AREA}/staging/SV", S1) as root:
        assert (Path(root) / "file").read_text() == "one"


def test_marks_are_set_on_the_snapshot_itself(staging: Staging) -> None:
    staging.create()
    staging.snapshot(S1, {})
    staging.mark_verified(S1, "exhaustive")
    mark = verified_mark(staging.made_snapshot(S1).properties)
    assert mark is not None
    assert (mark.level, mark.request_id) == ("exhaustive", "r1")
    assert mark.at is not None
    dataset = staging.read_staging()
    assert isinstance(dataset, Dataset)
    assert dataset.properties == {"request": "r1"}


def verified(commands: FakeZfs, name: SnapshotName) -> str | None:
    """Return the level of the mark on a snapshot of staging."""
    properties = commands.properties(f"{AREA}/staging/SV@{name}")
    mark = verified_mark({VERIFIED: properties.get(PROPERTY_PREFIX + VERIFIED, "")})
    return mark.level if mark else None


def test_a_mark_that_is_left_to_the_next_snapshot_comes_in_its_transaction(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    staging.snapshot(S1, {})
    staging.mark_with_next(S1, "changes")
    assert (verified(commands, S1) is None) == staging.zfs.joins_changes
    before = len(commands.fake_native.core.changes)
    staging.snapshot(S2, {"source_uuid": "uuid-s2"})
    assert (verified(commands, S1), verified(commands, S2)) == ("changes", None)
    assert staging.made_snapshot(S2).properties == {"request": "r1", "source_uuid": "uuid-s2"}
    if commands.native:
        assert [words[0] for words in commands.fake_native.core.changes[before:]] == [
            "mark and snapshot"
        ]
    staging.snapshot(S3, {})
    assert verified(commands, S2) is None, "nobody said so"


def test_a_mark_comes_alone_if_there_is_no_next_snapshot(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    staging.snapshot(S1, {})
    staging.mark_with_next(S1, "complete")
    staging.settle_mark()
    assert verified(commands, S1) == "complete"
    calls, changes = len(commands.calls), len(commands.fake_native.core.changes)
    staging.settle_mark()
    assert (len(commands.calls), len(commands.fake_native.core.changes)) == (calls, changes)


def test_a_mark_and_a_snapshot_that_cannot_be_one_transaction_are_two(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    staging.snapshot(S1, {})
    staging.mark_with_next(S1, "complete")
    commands.fake_native.core.fails = 1
    staging.snapshot(S2, {})
    assert verified(commands, S1) == "complete"
    assert chain_names(staging) == ["s1", "s2"]


def test_a_mark_is_kept_although_another_program_made_the_next_snapshot_first(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    staging.snapshot(S1, {})
    staging.mark_with_next(S1, "complete")
    commands.output("zfs", "snapshot", f"{AREA}/staging/SV@s2")
    staging.snapshot(S2, {})
    assert verified(commands, S1) == "complete"
    assert staging.made_snapshot(S2).properties == {"request": "r1"}


def test_a_rollback_loses_no_mark(commands: FakeZfs, staging: Staging) -> None:
    """The pool may be full before there is a next snapshot."""
    staging.create()
    staging.snapshot(S1, {})
    staging.mark_with_next(S1, "complete")
    staging.roll_back(S1)
    assert verified(commands, S1) == "complete"


def test_a_mark_of_a_dataset_that_is_discarded_goes_with_it(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    staging.snapshot(S1, {})
    staging.mark_with_next(S1, "complete")
    staging.discard()
    staging.settle_mark()
    staging.create()
    staging.snapshot(S1, {})
    assert verified(commands, S1) is None


def test_snapshots_that_go_together_are_one_transaction(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    for name in (S1, S2, S3):
        staging.snapshot(name, {})
    before = len(commands.fake_native.core.changes)
    staging.resume(S1)
    if commands.native:
        both = ("destroy", f"{AREA}/staging/SV@s3", f"{AREA}/staging/SV@s2")
        assert both in commands.fake_native.core.changes[before:]
    assert chain_names(staging) == ["s1"]
