"""The staging dataset from its creation to its publication, on a zfs that keeps its pool in memory.

Files are real, so that what a rollback, a clone and a publication do to them shows.
"""

import stat
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest

from dsgmigd.errors import (
    CommandFailed,
    TargetChanged,
    TargetExists,
    TargetMissing,
    TargetUnavailable,
)
from dsgmigd.marks import KEYS, SOURCE_IDENTITY, SOURCE_VERSION, VERIFIED, describe_target
from dsgmigd.names import SnapshotName
from dsgmigd.plan import TargetSnapshot
from dsgmigd.staging import Staging
from dsgmigd.zfs.dataset import PROPERTY_PREFIX, Dataset, Snapshot, Zfs
from tests.unit.fake_zfs import FailingZfs, FakeZfs
from tests.unit.staged_series import AREA, publish_series, staging_of, take_snapshot

S1, S2, S3 = SnapshotName(1), SnapshotName(2), SnapshotName(3)


@pytest.fixture
def commands(tmp_path: Path) -> FakeZfs:
    return FakeZfs(tmp_path)


@pytest.fixture
def staging(commands: FakeZfs) -> Staging:
    staging = staging_of(commands, "r1")
    staging.prepare_area()
    return staging


def target_names(staging: Staging) -> list[str]:
    dataset = staging.read_target()
    return [] if dataset is None else [snapshot.name for snapshot in dataset.snapshots]


def chain_names(staging: Staging) -> list[str]:
    dataset = staging.read_staging()
    assert dataset is not None
    return [snapshot.name for snapshot in staging.read_chain(dataset)]


def test_a_parent_that_takes_mounted_datasets_passes(commands: FakeZfs) -> None:
    staging_of(commands, "r1").check_parent()


def test_a_parent_that_is_not_there_is_to_be_created(tmp_path: Path) -> None:
    with pytest.raises(TargetMissing, match="zsd does not exist") as caught:
        staging_of(FakeZfs(tmp_path, pool="tank"), "r1").check_parent()
    assert "zfs create zsd" in caught.value.hint


@pytest.mark.parametrize("mountpoint", ["none", "legacy"])
def test_a_parent_without_a_mountpoint_is_named_with_it(commands: FakeZfs, mountpoint: str) -> None:
    commands.properties("zsd")["mountpoint"] = mountpoint
    with pytest.raises(TargetMissing, match=f"mountpoint={mountpoint}"):
        staging_of(commands, "r1").check_parent()


def test_a_parent_that_is_not_mounted_is_waited_for(commands: FakeZfs) -> None:
    commands.output("zfs", "unmount", "zsd")
    with pytest.raises(TargetUnavailable, match="not mounted") as caught:
        staging_of(commands, "r1").check_parent()
    assert "zfs mount zsd" in caught.value.hint


def test_a_parent_that_is_read_only_is_to_be_made_writable(commands: FakeZfs) -> None:
    commands.properties("zsd")["readonly"] = "on"
    with pytest.raises(TargetMissing, match="zsd is read-only") as caught:
        staging_of(commands, "r1").check_parent()
    assert "zfs set readonly=off zsd" in caught.value.hint


def test_the_area_is_closed_to_others_and_runs_nothing(commands: FakeZfs, staging: Staging) -> None:
    assert stat.S_IMODE(commands.mountpoint(AREA).stat().st_mode) == 0o700
    options = {"devices": "off", "setuid": "off", "exec": "off", "atime": "off"}
    options["primarycache"] = "metadata"
    assert commands.properties(AREA) == options
    assert staging.area_mountpoint() == str(commands.mountpoint(f"{AREA}/staging"))


def test_preparing_the_area_twice_changes_nothing(commands: FakeZfs, staging: Staging) -> None:
    before = commands.names()
    staging.prepare_area()
    assert commands.names() == before
    assert before == ["zsd", AREA, f"{AREA}/replaced", f"{AREA}/staging", f"{AREA}/views"]


def test_an_area_that_an_older_version_made_gets_what_it_lacks(
    commands: FakeZfs, staging: Staging
) -> None:
    del commands.properties(AREA)["primarycache"]
    commands.properties(AREA)["exec"] = "on"  # somebody chose that
    staging.prepare_area()
    made = commands.properties(AREA)
    assert (made["primarycache"], made["exec"]) == ("metadata", "on")


def test_an_area_that_is_not_mounted_is_mounted(commands: FakeZfs, staging: Staging) -> None:
    commands.output("zfs", "unmount", f"{AREA}/staging")
    staging.prepare_area()
    assert commands.mountpoint(f"{AREA}/staging").is_dir()


def test_a_repository_is_built_beside_the_target_and_appears_with_all_snapshots_at_once(
    commands: FakeZfs, staging: Staging
) -> None:
    root = Path(staging.create())
    take_snapshot(staging, S1, "one")
    take_snapshot(staging, S2, "two")
    assert staging.read_target() is None
    assert staging.publish("T", None) is None
    assert staging.read_staging() is None
    assert not root.exists() or not any(root.iterdir())
    mountpoint = Path(staging.mount_target())
    assert (mountpoint / "file").read_text() == "two"
    assert target_names(staging) == ["s1", "s2"]
    assert commands.properties("zsd/SV@s1") == {
        PROPERTY_PREFIX + "request": "r1",
        PROPERTY_PREFIX + "source_uuid": "uuid-s1",
        PROPERTY_PREFIX + "source_ctransid": "1",
        PROPERTY_PREFIX + "verified": "complete",
    }


def test_what_an_older_run_left_in_staging_is_dropped_by_a_new_beginning(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "old")
    staging_of(commands, "r2").create()
    assert chain_names(staging) == []
    assert commands.properties(f"{AREA}/staging/SV")[PROPERTY_PREFIX + "request"] == "r2"


@pytest.mark.parametrize("place", ["staging", "views"])
def test_a_dataset_that_dsgmigd_did_not_make_is_never_destroyed(
    commands: FakeZfs, staging: Staging, place: str
) -> None:
    commands.output("zfs", "create", f"{AREA}/{place}/SV")
    (commands.mountpoint(f"{AREA}/{place}/SV") / "file").write_text("somebody's")
    before = commands.names()
    with pytest.raises(TargetChanged, match="not one that dsgmigd made"):
        staging.create()
    with pytest.raises(TargetChanged, match=r"gone|not one that dsgmigd made"):
        staging.publish("T", None)
    assert commands.names() == before


def test_a_mark_that_only_the_parent_carries_does_not_make_a_dataset_ours(
    commands: FakeZfs, staging: Staging
) -> None:
    commands.output("zfs", "set", f"{PROPERTY_PREFIX}request=r1", f"{AREA}/staging")
    commands.output("zfs", "create", f"{AREA}/staging/SV")
    (commands.mountpoint(f"{AREA}/staging/SV") / "file").write_text("somebody's")
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


def test_a_run_resumes_before_a_snapshot_that_a_dead_run_was_reading(
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


def test_what_a_power_cut_left_without_its_properties_is_in_nobodys_way(
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


def test_what_has_no_properties_is_not_half_made_if_it_has_snapshots(
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
    (commands.mountpoint(f"{AREA}/views/SV") / "file").write_text("somebody's")
    with pytest.raises(TargetChanged, match="not one that dsgmigd made"):
        staging.resume(S1)
    assert f"{AREA}/views/SV" in commands.names()


def test_a_run_does_not_resume_at_a_snapshot_that_is_not_there(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    before = commands.names()
    with pytest.raises(TargetChanged, match="no snapshot of its own to go back to: @s2"):
        staging.resume(S2)
    assert commands.names() == before


def test_a_snapshot_that_is_not_like_its_source_is_dropped_alone(staging: Staging) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    take_snapshot(staging, S2, "two")
    staging.drop_snapshot(S2)
    assert chain_names(staging) == ["s1"]


@pytest.mark.parametrize("lost", ["s1", "s2"])
def test_staging_is_whole_while_it_has_all_that_was_verified(
    commands: FakeZfs, staging: Staging, lost: str
) -> None:
    staging.create()
    for name in (S1, S2):
        take_snapshot(staging, name, str(name))
    identities = {S1: "uuid-s1", S2: "uuid-s2"}
    staging.check_whole(identities)
    staging.check_whole({S1: "uuid-s1"})
    commands.output("zfs", "destroy", f"{AREA}/staging/SV@{lost}")
    with pytest.raises(TargetChanged, match=f"took verified snapshots out of .*: {lost}$"):
        staging.check_whole(identities)


def test_a_snapshot_of_another_source_or_without_a_mark_is_not_what_was_verified(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    with pytest.raises(TargetChanged, match="s1"):
        staging.check_whole({S1: "another uuid"})
    commands.output("zfs", "destroy", f"{AREA}/staging/SV@s1")
    commands.output("zfs", "snapshot", f"{AREA}/staging/SV@s1")
    with pytest.raises(TargetChanged, match="s1"):
        staging.check_whole({S1: "uuid-s1"})


def test_an_extension_begins_with_the_target_and_its_past(staging: Staging) -> None:
    publish_series(staging, S1, S2)
    root = Path(staging.clone_target(S2))
    assert (root / "file").read_text() == "s2"
    assert chain_names(staging) == ["s1", "s2"]
    take_snapshot(staging, S3, "three")
    assert chain_names(staging) == ["s1", "s2", "s3"]
    assert target_names(staging) == ["s1", "s2"]
    assert staging.owner_of(S2) == "zsd/SV"
    assert staging.owner_of(S3) == f"{AREA}/staging/SV"


def test_an_extension_is_published_with_the_old_snapshots_and_the_old_dataset_stays_aside(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1, S2)
    staging.clone_target(S2)
    take_snapshot(staging, S3, "three")
    assert not staging.has_replaced("T1")
    assert staging.publish("T1", staging.read_target()) == f"{AREA}/replaced/SV-T1"
    assert staging.has_replaced("T1")
    assert (Path(staging.mount_target()) / "file").read_text() == "three"
    assert target_names(staging) == ["s1", "s2", "s3"]
    target = staging.read_target()
    assert target is not None
    assert target.origin is None
    assert f"{AREA}/replaced/SV-T1" in commands.names()
    assert staging.read_staging() is None


def test_a_replaced_target_is_moved_aside_with_its_files_and_snapshots(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1)
    staging.create()
    take_snapshot(staging, S1, "new")
    assert staging.publish("T1", staging.read_target()) == f"{AREA}/replaced/SV-T1"
    assert (Path(staging.mount_target()) / "file").read_text() == "new"
    commands.output("zfs", "mount", f"{AREA}/replaced/SV-T1")
    assert (commands.mountpoint(f"{AREA}/replaced/SV-T1") / "file").read_text() == "s1"
    assert f"{AREA}/replaced/SV-T1@s1" in commands.names()


def test_a_dataset_that_somebody_made_meanwhile_is_not_touched(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "ours")
    commands.output("zfs", "create", "zsd/SV")
    (commands.mountpoint("zsd/SV") / "file").write_text("theirs")
    names = commands.names()
    with pytest.raises(TargetExists, match="somebody made zsd/SV while"):
        staging.publish("T1", None)
    assert commands.names() == names
    assert (commands.mountpoint("zsd/SV") / "file").read_text() == "theirs"
    assert staging.read_staging() is not None


@pytest.mark.parametrize("change", ["another", "snapshot lost", "gone"])
def test_a_target_that_is_not_the_planned_one_any_more_is_not_moved(
    commands: FakeZfs, staging: Staging, change: str
) -> None:
    publish_series(staging, S1, S2)
    planned = staging.read_target()
    staging.create()
    take_snapshot(staging, S1, "ours")
    commands.output("zfs", "destroy", "zsd/SV@s2")
    if change != "snapshot lost":
        commands.output("zfs", "destroy", "zsd/SV@s1")
        commands.output("zfs", "destroy", "zsd/SV")
    if change == "another":
        commands.output("zfs", "create", "zsd/SV")
    names = commands.names()
    with pytest.raises(TargetChanged, match="since the work was planned"):
        staging.publish("T1", planned)
    assert commands.names() == names


def test_other_snapshots_of_the_target_come_and_go_and_are_moved_aside_with_it(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1)
    commands.output("zfs", "snapshot", "zsd/SV@hourly")
    planned = staging.read_target()
    staging.create()
    take_snapshot(staging, S1, "ours")
    commands.output("zfs", "destroy", "zsd/SV@hourly")
    commands.output("zfs", "snapshot", "zsd/SV@mine")
    assert staging.publish("T1", planned) == f"{AREA}/replaced/SV-T1"
    assert f"{AREA}/replaced/SV-T1@mine" in commands.names()


def test_devices_stay_off_in_what_is_published_unless_somebody_chose_otherwise(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1)
    made = commands.properties("zsd/SV")
    assert (made["devices"], made["setuid"]) == ("off", "off")
    commands.properties("zsd")["devices"] = "on"
    staging.clone_target(S1)
    made = commands.properties(f"{AREA}/staging/SV")
    assert (made.get("devices"), made["setuid"]) == (None, "off")


@pytest.mark.parametrize("is_extension", [True, False])
def test_a_publication_that_is_cut_off_anywhere_is_brought_to_its_end_by_another(
    tmp_path: Path, *, is_extension: bool
) -> None:
    """The n-th zfs command fails, for every n, until none fails any more."""
    for count in range(100):
        directory = tmp_path / str(count)
        directory.mkdir()
        commands = FailingZfs(directory)
        staging = staging_of(commands, "r1")
        staging.prepare_area()
        publish_series(staging, S1)
        if is_extension:
            staging.clone_target(S1)
        else:
            staging.create()
            take_snapshot(staging, S1, "new")
        take_snapshot(staging, S2, "two")
        commands.fail_after(count)
        try:
            staging.publish("T1", staging.read_target())
        except CommandFailed:
            commands.fail_after(None)
            assert chain_names(staging)[-1:] == ["s2"]
            staging.publish("T2", staging.read_target())
        else:
            assert count > 5
            break
        assert target_names(staging) == ["s1", "s2"]
        assert (Path(staging.mount_target()) / "file").read_text() == "two"


@pytest.mark.parametrize("is_extension", [True, False])
def test_a_publication_that_is_cut_off_anywhere_can_be_undone(
    tmp_path: Path, *, is_extension: bool
) -> None:
    """So can it when the undoing is cut off: the n-th zfs command fails, for every n, of each."""
    for count, again in product(range(100), range(9)):
        directory = tmp_path / f"{count}-{again}"
        directory.mkdir()
        commands = FailingZfs(directory)
        staging = staging_of(commands, "r1")
        staging.prepare_area()
        publish_series(staging, S1)
        staging.clone_target(S1)  # of what is kept aside for long, nothing comes back
        take_snapshot(staging, S2, "s2")
        staging.publish("T0", staging.read_target())
        staging.mount_target()
        if is_extension:
            staging.clone_target(S2)
        else:
            staging.create()
            take_snapshot(staging, S1, "one")
            take_snapshot(staging, S2, "two")
        take_snapshot(staging, S3, "three")
        commands.fail_after(count)
        with suppress(CommandFailed):
            staging.publish("T1", staging.read_target())
        commands.fail_after(None)
        if staging.read_staging() is None:
            assert count > 5
            break
        commands.fail_after(again)
        with suppress(CommandFailed):
            staging.take_back()
        commands.fail_after(None)
        staging.take_back()
        assert target_names(staging) == ["s1", "s2"]
        assert (Path(staging.mount_target()) / "file").read_text() == "s2"
        assert chain_names(staging) == ["s1", "s2", "s3"]
        assert staging.publish("T2", staging.read_target()) == f"{AREA}/replaced/SV-T2"
        assert target_names(staging) == ["s1", "s2", "s3"]


def test_what_was_replaced_on_purpose_or_long_ago_does_not_come_back(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1)
    commands.output("zfs", "unmount", "zsd/SV")
    commands.output("zfs", "rename", "zsd/SV", f"{AREA}/replaced/SV-T0")
    before = commands.names()
    assert staging.take_back() is None
    staging.create()
    take_snapshot(staging, S1, "new")
    assert staging.take_back() is None
    assert commands.names() == sorted([*before, f"{AREA}/staging/SV", f"{AREA}/staging/SV@s1"])


def test_a_clone_of_something_foreign_has_no_past_to_build_on(
    commands: FakeZfs, staging: Staging
) -> None:
    commands.output("zfs", "create", "zsd/other")
    commands.output("zfs", "snapshot", "zsd/other@s1")
    commands.output("zfs", "clone", "zsd/other@s1", f"{AREA}/staging/SV")
    dataset = staging.read_staging()
    assert dataset is not None
    assert staging.read_chain(dataset) == []


def test_a_clone_of_a_target_that_was_moved_aside_keeps_its_past(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1)
    staging.clone_target(S1)
    commands.output("zfs", "unmount", "zsd/SV")
    commands.output("zfs", "rename", "zsd/SV", f"{AREA}/replaced/SV-T1")
    assert chain_names(staging) == ["s1"]


def test_a_view_shows_a_snapshot_and_is_gone_afterwards(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    take_snapshot(staging, S2, "two")
    with staging.view(f"{AREA}/staging/SV", S1) as root:
        assert (Path(root) / "file").read_text() == "one"
        assert commands.properties(f"{AREA}/views/SV")["readonly"] == "on"
    assert f"{AREA}/views/SV" not in commands.names()


def test_a_view_is_gone_also_when_the_reader_fails(commands: FakeZfs, staging: Staging) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    with pytest.raises(KeyError), staging.view(f"{AREA}/staging/SV", S1):
        raise KeyError
    assert f"{AREA}/views/SV" not in commands.names()


def test_a_view_that_a_dead_run_left_makes_room(commands: FakeZfs, staging: Staging) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    left = f"{PROPERTY_PREFIX}request=dead"
    commands.output("zfs", "clone", "-o", left, f"{AREA}/staging/SV@s1", f"{AREA}/views/SV")
    with staging.view(f"{AREA}/staging/SV", S1) as root:
        assert (Path(root) / "file").read_text() == "one"


def test_a_dataset_that_is_not_mounted_after_its_creation_is_an_error(
    commands: FakeZfs, staging: Staging
) -> None:
    commands.output("zfs", "unmount", f"{AREA}/staging")
    with pytest.raises(TargetChanged, match="not mounted"):
        staging.area_mountpoint()


def test_marks_are_set_on_the_snapshot_itself(commands: FakeZfs, staging: Staging) -> None:
    publish_series(staging, S1)
    staging.mark_version("zsd/SV", S1, 77)
    staging.mark_verified("zsd/SV", S1, "exhaustive")
    found = commands.properties("zsd/SV@s1")
    assert found[PROPERTY_PREFIX + "source_ctransid"] == "77"
    assert found[PROPERTY_PREFIX + "verified"] == "exhaustive"
    dataset = Zfs(commands).read("zsd/SV", KEYS)
    assert isinstance(dataset, Dataset)
    assert dataset.properties == {"request": "r1"}


def test_free_space_is_asked_of_the_parent(commands: FakeZfs, staging: Staging) -> None:
    commands.available = 5
    assert staging.available_bytes() == 5
    assert commands.calls[-1][-1] == "zsd"


def described(**properties: str) -> TargetSnapshot:
    return describe_target([Snapshot("s1", 0, properties)]).snapshots[0]


def test_a_snapshot_is_described_by_its_marks() -> None:
    marks = {SOURCE_IDENTITY: "u", SOURCE_VERSION: "12", VERIFIED: "complete"}
    assert described(**marks) == TargetSnapshot(S1, "u", 12, is_verified=True)


def test_a_snapshot_without_marks_is_not_ours_and_not_verified() -> None:
    assert described() == TargetSnapshot(S1, None, 0, is_verified=False)


def test_snapshots_of_other_names_are_left_out() -> None:
    names = ["s1", "sync-temp-1", "init-snapshot", "s01", "pre-sync-2", "s2"]
    state = describe_target([Snapshot(name, 0, {}) for name in names])
    assert [str(snapshot.name) for snapshot in state.snapshots] == ["s1", "s2"]


@pytest.mark.parametrize("mark", ["structure", "complete", "exhaustive"])
@pytest.mark.parametrize("weakest", ["structure", "complete", "exhaustive"])
def test_a_mark_counts_for_its_level_and_the_weaker_ones(mark: str, weakest: str) -> None:
    order = ["structure", "complete", "exhaustive"]
    snapshot = Snapshot("s1", 0, {VERIFIED: mark})
    state = describe_target([snapshot], weakest=weakest)  # type: ignore[arg-type]
    assert state.snapshots[0].is_verified == (order.index(mark) >= order.index(weakest))


def test_a_mark_that_no_level_has_does_not_count() -> None:
    assert not described(**{VERIFIED: "yes"}).is_verified
