"""Views that other programs meet, on a zfs that keeps its pool in memory.

First clones, as on a host with the zfs command only; then mounted snapshots.
"""

from pathlib import Path

import pytest

from dsgmigd.errors import TargetBusy, TargetMissing
from dsgmigd.names import SnapshotName
from dsgmigd.target.dataset import PROPERTY_PREFIX
from dsgmigd.target.staging import Staging
from tests.unit.fake_zfs import FakeZfs
from tests.unit.staged_series import AREA, T1, chain_names, publish, staging_of, take_snapshot

S1, S2 = SnapshotName(1), SnapshotName(2)
STAGING, VIEW = f"{AREA}/staging/SV", f"{AREA}/views/SV"


@pytest.fixture
def commands(tmp_path: Path) -> FakeZfs:
    """A pool of zfs-fuse, with clones for everything."""
    return FakeZfs(tmp_path)


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def staged(commands: FakeZfs, staging: Staging, warnings: list[str]) -> Staging:
    """Staging with two snapshots."""
    staging.create()
    take_snapshot(staging, S1, "one")
    take_snapshot(staging, S2, "two")
    return staging_of(commands, "r1", warn=warnings.append)


def views(commands: FakeZfs) -> list[str]:
    return [name for name in commands.names() if name.startswith(VIEW)]


def test_a_snapshot_that_another_program_makes_of_a_view_goes_with_it(
    commands: FakeZfs, staged: Staging, warnings: list[str]
) -> None:
    with staged.view(STAGING, S1):
        commands.output("zfs", "snapshot", f"{VIEW}@auto")
    assert (views(commands), warnings) == ([], [])


def test_a_snapshot_that_is_made_while_a_view_is_destroyed_goes_with_it(
    commands: FakeZfs, staged: Staging
) -> None:
    with staged.view(STAGING, S1):
        commands.output("zfs", "snapshot", f"{VIEW}@auto")
        commands.before_destroying[VIEW] = ["late", "later"]
    assert views(commands) == []


def test_a_view_of_which_snapshots_are_made_without_end_is_left(
    commands: FakeZfs, staged: Staging, warnings: list[str]
) -> None:
    with staged.view(STAGING, S1):
        commands.before_destroying[VIEW] = [f"auto-{number}" for number in range(20)]
    assert "makes snapshots of zsd/.dsgmigd/views/SV all the time" in warnings[0]


def keep(commands: FakeZfs, how: str) -> None:
    """Make the view SV one that cannot be destroyed."""
    if how == "child":
        commands.output("zfs", "create", f"{VIEW}/child")
        return
    commands.output("zfs", "snapshot", f"{VIEW}@auto")
    if how == "hold":
        commands.output("zfs", "hold", "tag", f"{VIEW}@auto")
    elif how == "clone":
        commands.output("zfs", "clone", f"{VIEW}@auto", "zsd/mine")
    else:
        commands.output("zfs", "set", "readonly=off", VIEW)


@pytest.mark.parametrize("how", ["hold", "clone", "child", "writable"])
def test_a_view_that_something_keeps_is_named_and_the_next_one_has_another_name(
    commands: FakeZfs, staged: Staging, warnings: list[str], how: str
) -> None:
    with staged.view(STAGING, S1):
        keep(commands, how)
    for name, text in ((S1, "one"), (S2, "two")):
        with staged.view(STAGING, name) as root:
            assert (Path(root) / "file").read_text() == text
            assert f"{VIEW}:2" in commands.names()
    assert VIEW in commands.names()
    assert f"{VIEW}:2" not in commands.names()
    (warning,) = warnings
    assert warning.startswith(f"{VIEW} could not be destroyed, see dsgmigd doctor: ")


def test_a_run_resumes_although_something_keeps_the_view_of_the_snapshot_before(
    commands: FakeZfs, staged: Staging
) -> None:
    with staged.view(STAGING, S1):
        keep(commands, "hold")
    again = staging_of(commands, "r2")
    again.resume(S1)
    assert chain_names(again) == ["s1"]


def test_a_run_waits_for_what_keeps_the_view_of_a_snapshot_that_has_to_go(
    commands: FakeZfs, staged: Staging
) -> None:
    with staged.view(STAGING, S2):
        keep(commands, "hold")
    with pytest.raises(TargetBusy, match="dependent clones"):
        staging_of(commands, "r2").resume(S1)
    commands.datasets[VIEW].snapshots[0].holds.clear()
    staging_of(commands, "r2").resume(S1)
    assert views(commands) == []


def test_an_interrupted_runs_view_is_dropped_with_its_snapshots_whatever_its_name(
    commands: FakeZfs, staged: Staging
) -> None:
    for name in (VIEW, f"{VIEW}:2"):
        options = ("-o", f"{PROPERTY_PREFIX}request=dead", "-o", "readonly=on")
        commands.output("zfs", "clone", *options, f"{STAGING}@s2", name)
        commands.output("zfs", "snapshot", f"{name}@auto")
    staged.discard()
    assert views(commands) == []


def test_views_of_a_repository_whose_name_begins_alike_are_left_alone(
    commands: FakeZfs, staged: Staging
) -> None:
    other = f"{VIEW}-2020"
    commands.output("zfs", "create", "-o", f"{PROPERTY_PREFIX}request=r9", other)
    staged.discard()
    assert views(commands) == [other]


def test_no_view_is_made_over_all_that_are_kept(commands: FakeZfs, staged: Staging) -> None:
    for name in staged.layout.view_names():
        marks = ("-o", f"{PROPERTY_PREFIX}request=dead")
        commands.output("zfs", "clone", *marks, f"{STAGING}@s1", name)
        commands.output("zfs", "create", f"{name}/child")
    with pytest.raises(TargetBusy, match="something keeps every view"), staged.view(STAGING, S1):
        pass


# Mounted snapshots.


@pytest.fixture
def native(tmp_path: Path) -> FakeZfs:
    """A pool of the kernel's ZFS, with two snapshots of staging."""
    (tmp_path / "native").mkdir()
    made = FakeZfs(tmp_path / "native", has_native=True)
    staging = staging_of(made, "r1")
    staging.area.prepare()
    staging.create()
    take_snapshot(staging, S1, "one")
    take_snapshot(staging, S2, "two")
    return made


def mounted(native: FakeZfs) -> dict[str, str]:
    """Return what is mounted as a view, by the last part of its place."""
    places = native.fake_native.mounts.mounted
    return {Path(place).name: what for place, what in places.items()}


def leave_mounted(native: FakeZfs, name: str, snapshot: str = f"{STAGING}@s2") -> str:
    """Mount a snapshot as a run does that is killed then; return the place."""
    place = str(native.mountpoint(f"{AREA}/views") / name)
    native.fake_native.mounts.mount(snapshot, place)
    return place


def test_a_snapshot_of_staging_is_mounted_without_a_program_or_a_transaction(
    native: FakeZfs,
) -> None:
    staging = staging_of(native, "r1")
    changes, calls = list(native.fake_native.core.changes), list(native.calls)
    with staging.view(STAGING, S1) as root:
        assert (Path(root) / "file").read_text() == "one"
        assert mounted(native) == {"SV": f"{STAGING}@s1"}
    assert mounted(native) == {}
    assert native.fake_native.core.changes == changes
    # A real host has a list of mounts: find_mountpoint needs no program there.
    assert {call[1] for call in native.calls[len(calls) :]} == {"get"}


def test_a_published_snapshot_is_read_through_a_clone_that_comes_from_the_disks(
    native: FakeZfs,
) -> None:
    staging = staging_of(native, "r1")
    publish(staging, T1)
    with staging.view("zsd/SV", S1) as root:
        assert (Path(root) / "file").read_text() == "one"
        assert (views(native), mounted(native)) == ([VIEW], {})


def test_a_mount_is_gone_even_if_the_reader_fails(native: FakeZfs) -> None:
    with pytest.raises(KeyError), staging_of(native, "r1").view(STAGING, S1):
        raise KeyError
    assert mounted(native) == {}


@pytest.mark.parametrize("name", ["SV", "SV:2"])
def test_what_an_interrupted_run_left_mounted_is_unmounted(native: FakeZfs, name: str) -> None:
    leave_mounted(native, name)
    staging_of(native, "r2").resume(S1)
    assert mounted(native) == {}
    assert chain_names(staging_of(native, "r2")) == ["s1"]


def test_the_next_view_takes_the_place_of_one_that_was_left(native: FakeZfs) -> None:
    leave_mounted(native, "SV")
    with staging_of(native, "r2").view(STAGING, S1) as root:
        assert mounted(native) == {"SV": f"{STAGING}@s1"}
        assert (Path(root) / "file").read_text() == "one"


def test_a_clone_that_an_older_version_left_is_destroyed_first(native: FakeZfs) -> None:
    mark = ("-o", f"{PROPERTY_PREFIX}request=dead", "-o", "readonly=on")
    native.output("zfs", "clone", *mark, f"{STAGING}@s2", VIEW)
    with staging_of(native, "r2").view(STAGING, S1):
        assert (views(native), mounted(native)) == ([], {"SV": f"{STAGING}@s1"})


def test_a_clone_takes_the_place_of_a_mount_that_was_left(native: FakeZfs) -> None:
    publish(staging_of(native, "r1"), T1)
    leave_mounted(native, "SV", "zsd/SV@s2")
    with staging_of(native, "r2").view("zsd/SV", S1):
        assert (views(native), mounted(native)) == ([VIEW], {})


def test_a_mount_that_somebody_stands_in_is_named_once_and_the_next_is_elsewhere(
    native: FakeZfs,
) -> None:
    warnings: list[str] = []
    staging = staging_of(native, "r1", warn=warnings.append)
    with staging.view(STAGING, S1) as root:
        native.fake_native.mounts.busy.add(root)
    for name, text in ((S1, "one"), (S2, "two")):
        with staging.view(STAGING, name) as elsewhere:
            assert (Path(elsewhere) / "file").read_text() == text
            assert Path(elsewhere).name == "SV:2"
    assert mounted(native) == {"SV": f"{STAGING}@s1"}
    (warning,) = warnings
    assert warning.startswith(f"{VIEW} could not be destroyed, see dsgmigd doctor: unmounting ")


def test_a_run_resumes_although_somebody_stands_in_the_snapshot_before(native: FakeZfs) -> None:
    native.fake_native.mounts.busy.add(leave_mounted(native, "SV", f"{STAGING}@s1"))
    staging_of(native, "r2").resume(S1)
    assert chain_names(staging_of(native, "r2")) == ["s1"]


def test_a_run_waits_until_nobody_stands_in_a_snapshot_that_has_to_go(native: FakeZfs) -> None:
    place = leave_mounted(native, "SV")
    native.fake_native.mounts.busy.add(place)
    with pytest.raises(TargetBusy):
        staging_of(native, "r2").resume(S1)
    native.fake_native.mounts.busy.clear()
    staging_of(native, "r2").resume(S1)
    assert mounted(native) == {}


def test_mounts_of_a_repository_whose_name_begins_alike_are_left_alone(native: FakeZfs) -> None:
    leave_mounted(native, "SV-2020")
    leave_mounted(native, "SV-2020:2")
    staging_of(native, "r2").resume(S2)
    assert set(mounted(native)) == {"SV-2020", "SV-2020:2"}


def test_a_snapshot_that_is_gone_cannot_be_read(native: FakeZfs) -> None:
    native.fake_native.mounts.before_mounting = lambda: native.output(
        "zfs", "destroy", f"{STAGING}@s2"
    )
    with pytest.raises(TargetMissing), staging_of(native, "r1").view(STAGING, S2):
        pass
    assert mounted(native) == {}
