"""Whether the target can be used, and the area below it, on a zfs that keeps its pool in memory."""

import stat
from pathlib import Path

import pytest

from dsgmigd.errors import MountsHidden, TargetChanged, TargetMissing, TargetUnavailable
from dsgmigd.host import mount_namespace
from dsgmigd.target import pool_state, zfs_fuse
from dsgmigd.target.area import check_namespace, check_pool, check_target
from dsgmigd.target.staging import Staging
from tests.unit.fake_zfs import FakeZfs, RefusingZfs
from tests.unit.staged_series import AREA, staging_of


@pytest.mark.parametrize("health", ["ONLINE", "DEGRADED"])
def test_a_pool_that_takes_writes_passes(commands: FakeZfs, health: str) -> None:
    commands.health = health
    check_pool(commands, "zsd/a/b")
    assert commands.calls == [("zpool", "list", "-H", "-o", "health", "zsd")]


@pytest.mark.parametrize("health", ["SUSPENDED", "FAULTED", "OFFLINE", "UNAVAIL", ""])
def test_a_pool_that_takes_no_writes_is_named_with_its_state(
    commands: FakeZfs, health: str
) -> None:
    commands.health = health
    with pytest.raises(TargetUnavailable, match=f"the pool zsd is {health}"):
        check_pool(commands, "zsd")


def test_a_pool_that_is_not_imported_is_named_with_the_command(commands: FakeZfs) -> None:
    with pytest.raises(TargetUnavailable, match=r"pool tank is not available: .*no such") as caught:
        check_pool(commands, "tank/a")
    assert caught.value.hint == "import it with: zpool import tank"


def test_a_parent_that_takes_mounted_datasets_passes(commands: FakeZfs) -> None:
    check_target(commands, "zsd")


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with the kernel's ZFS that does not see our mounts; return the kernel's device."""
    (tmp_path / "own").write_text("22 1 0:21 / / rw shared:2 master:1 - ext4 /dev/vda1 rw\n")
    (tmp_path / "host").write_text("12 1 0:21 / / rw shared:1 - ext4 /dev/vda1 rw\n")
    (tmp_path / "zfs").touch()
    monkeypatch.setattr(mount_namespace, "_OWN_MOUNTS", str(tmp_path / "own"))
    monkeypatch.setattr(mount_namespace, "_HOST_MOUNTS", str(tmp_path / "host"))
    monkeypatch.setattr(zfs_fuse, "_KERNEL_DEVICE", str(tmp_path / "zfs"))
    return tmp_path / "zfs"


@pytest.mark.parametrize("is_for_writing", [True, False])
def test_a_target_that_the_host_would_not_see_is_refused(
    commands: FakeZfs, hidden: Path, *, is_for_writing: bool
) -> None:
    with pytest.raises(MountsHidden, match=f"below {commands.mountpoint('zsd')}") as caught:
        check_target(commands, "zsd", is_for_writing=is_for_writing)
    assert "PrivateTmp=" in caught.value.hint
    hidden.unlink()  # zfs-fuse mounts datasets itself
    check_target(commands, "zsd", is_for_writing=is_for_writing)


@pytest.mark.usefixtures("hidden")
def test_a_namespace_is_checked_without_a_pool() -> None:
    with pytest.raises(MountsHidden, match=r"below /$"):
        check_namespace()


def test_a_missing_parent_is_named_with_the_command_that_creates_it(commands: FakeZfs) -> None:
    with pytest.raises(TargetMissing, match="zsd/a does not exist") as caught:
        check_target(commands, "zsd/a")
    assert "zfs create zsd/a" in caught.value.hint


@pytest.mark.parametrize("mountpoint", ["none", "legacy"])
def test_a_parent_without_a_mountpoint_is_named_with_it(commands: FakeZfs, mountpoint: str) -> None:
    commands.properties("zsd")["mountpoint"] = mountpoint
    with pytest.raises(TargetMissing, match=f"mountpoint={mountpoint}"):
        check_target(commands, "zsd")


def test_a_parent_that_is_not_mounted_is_a_transient_error(commands: FakeZfs) -> None:
    commands.output("zfs", "unmount", "zsd")
    with pytest.raises(TargetUnavailable, match="not mounted") as caught:
        check_target(commands, "zsd")
    assert "zfs mount zsd" in caught.value.hint


def test_a_read_only_parent_is_named_with_the_command_that_makes_it_writable(
    commands: FakeZfs,
) -> None:
    commands.properties("zsd")["readonly"] = "on"
    with pytest.raises(TargetMissing, match="zsd is read-only") as caught:
        check_target(commands, "zsd")
    assert "zfs set readonly=off zsd" in caught.value.hint


def test_the_area_is_closed_to_others_and_runs_nothing(commands: FakeZfs, staging: Staging) -> None:
    assert stat.S_IMODE(commands.mountpoint(AREA).stat().st_mode) == 0o700
    options = {"devices": "off", "setuid": "off", "exec": "off", "atime": "off"}
    options |= {"primarycache": "metadata", "com.sun:auto-snapshot": "false"}
    options["snapdir"] = "hidden"
    assert commands.properties(AREA) == options
    assert staging.area.staging_mountpoint() == str(commands.mountpoint(f"{AREA}/staging"))


def test_preparing_the_area_twice_changes_nothing(commands: FakeZfs, staging: Staging) -> None:
    before = commands.names()
    staging.area.prepare()
    assert commands.names() == before
    assert before == ["zsd", AREA, f"{AREA}/replaced", f"{AREA}/staging", f"{AREA}/views"]


def test_an_area_that_is_complete_is_looked_at_by_one_command(
    commands: FakeZfs, staging: Staging
) -> None:
    before = len(commands.calls)
    staging.area.prepare()
    asked = {call[1] for call in commands.calls[before:]}
    # A real host has a list of mounts, so that the place of the area needs no second program.
    assert (len(commands.calls[before:]) <= 2, asked) == (True, {"get"})
    before = len(commands.calls)
    assert staging.area.defaults_of_parent(("devices", "setuid")) == ["devices", "setuid"]
    assert len(commands.calls) == before, "it was asked before"


def test_whether_the_parent_has_an_option_of_its_own_is_asked_if_it_was_not(
    commands: FakeZfs,
) -> None:
    area = staging_of(commands, "r1").area
    assert area.defaults_of_parent(("devices", "setuid")) == ["devices", "setuid"]
    commands.properties("zsd")["devices"] = "on"
    assert area.defaults_of_parent(("devices", "setuid")) == ["setuid"]


@pytest.mark.parametrize("state", ["ONLINE\n", "DEGRADED\n", "SUSPENDED\n"])
def test_a_healthy_pool_of_the_kernel_needs_no_command(
    commands: FakeZfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(pool_state, "_STATES", str(tmp_path))
    (tmp_path / "zsd").mkdir()
    (tmp_path / "zsd/state").write_text(state)
    check_pool(commands, "zsd/a")
    assert len(commands.calls) == (state == "SUSPENDED\n"), "the command has the words"


def test_a_pool_that_the_kernel_tells_of_and_zfs_does_not_show_is_not_available(
    commands: FakeZfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is in a user namespace."""
    monkeypatch.setattr(pool_state, "_STATES", str(tmp_path))
    (tmp_path / "tank").mkdir()
    (tmp_path / "tank/state").write_text("ONLINE\n")
    with pytest.raises(TargetUnavailable, match="no such pool"):
        check_target(commands, "tank/a")


def test_an_area_of_an_older_version_gets_the_options_that_it_lacks(
    commands: FakeZfs, staging: Staging
) -> None:
    del commands.properties(AREA)["primarycache"]
    commands.properties(AREA)["exec"] = "on"  # an administrator chose that
    staging.area.prepare()
    made = commands.properties(AREA)
    assert (made["primarycache"], made["exec"]) == ("metadata", "on")


def test_an_area_that_is_not_mounted_is_mounted(commands: FakeZfs, staging: Staging) -> None:
    commands.output("zfs", "unmount", f"{AREA}/staging")
    staging.area.prepare()
    assert commands.mountpoint(f"{AREA}/staging").is_dir()


def test_a_dataset_of_the_area_that_is_not_mounted_is_an_error(
    commands: FakeZfs, staging: Staging
) -> None:
    commands.output("zfs", "unmount", f"{AREA}/staging")
    with pytest.raises(TargetChanged, match="not mounted"):
        staging.area.staging_mountpoint()


def test_free_space_is_asked_of_the_parent(commands: FakeZfs, staging: Staging) -> None:
    commands.available = 5
    assert staging.area.available_bytes() == 5
    assert commands.calls[-1][-1] == "zsd"


def test_a_parent_with_canmount_off_is_named_with_the_command_that_allows_it(
    commands: FakeZfs,
) -> None:
    """`zfs mount` alone would fail."""
    commands.output("zfs", "unmount", "zsd")
    commands.properties("zsd")["canmount"] = "off"
    with pytest.raises(TargetUnavailable, match="not mounted") as caught:
        check_target(commands, "zsd")
    assert "zfs set canmount=on zsd, then: zfs mount zsd" in caught.value.hint


def test_a_read_only_parent_can_be_read(commands: FakeZfs) -> None:
    commands.properties("zsd")["readonly"] = "on"
    check_target(commands, "zsd", is_for_writing=False)


def test_the_pool_is_asked_before_the_parent(commands: FakeZfs) -> None:
    """Every other command hangs on a suspended pool."""
    commands.health = "SUSPENDED"
    with pytest.raises(TargetUnavailable, match="the pool zsd is SUSPENDED"):
        check_target(commands, "zsd")
    assert {call[0] for call in commands.calls} == {"zpool"}


def test_without_zfs_the_hint_is_to_start_it() -> None:
    with pytest.raises(TargetUnavailable, match="initialize ZFS library") as caught:
        check_pool(RefusingZfs("failed to initialize ZFS library"), "zsd")
    assert "start ZFS" in caught.value.hint
