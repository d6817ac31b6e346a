"""The published dataset comes to where users see it, or it is said why not."""

from pathlib import Path

import pytest

from dsgmigd.names import SnapshotName
from dsgmigd.target import mounts, published_mount
from dsgmigd.target.publication import Publication
from dsgmigd.target.published_mount import Mounted, PublishedMount
from dsgmigd.target.staging import Staging
from tests.unit.fake_zfs import FakeZfs
from tests.unit.staged_series import publish_series

S1 = SnapshotName(1)


@pytest.fixture
def mount(commands: FakeZfs, staging: Staging) -> PublishedMount:
    """The mount of a published dataset that is not mounted."""
    publish_series(staging, S1)
    commands.output("zfs", "unmount", "zsd/SV")
    return Publication(staging).mount


def test_a_dataset_is_mounted_where_nothing_is(commands: FakeZfs, mount: PublishedMount) -> None:
    assert mount.find_obstacle() is None
    place = str(commands.datasets["zsd/SV"].mountpoint)
    assert mount.mount(may_cover=False) == Mounted(place)
    assert mount.mount(may_cover=False) == Mounted(place), "it is mounted already"


def test_what_is_at_the_mountpoint_is_covered_only_if_that_is_allowed(
    commands: FakeZfs, mount: PublishedMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = commands.datasets["zsd/SV"].mountpoint
    (place / "k").touch()
    obstacle = f"{place} has 'k' in it"
    assert mount.find_obstacle() == obstacle
    mounted = mount.mount(may_cover=False)
    assert (mounted.mountpoint, commands.datasets["zsd/SV"].is_mounted) == (None, False)
    assert mounted.warnings == (
        f"zsd/SV is published, but not mounted: {obstacle}; move that away, then: zfs mount zsd/SV",
    )
    (place / "k").unlink()
    monkeypatch.setattr(published_mount, "find_obstacle", lambda _: obstacle)
    mounted = mount.mount(may_cover=True)
    assert mounted.mountpoint == str(place)
    assert mounted.warnings == (f"zsd/SV is mounted over something: {obstacle}",)


def test_before_a_dataset_exists_its_parent_says_where_it_will_be(
    commands: FakeZfs, staging: Staging
) -> None:
    mount = Publication(staging).mount
    assert mount.find_obstacle() is None
    (commands.mountpoint("zsd") / "SV").symlink_to("/")
    assert "is a symbolic link" in str(mount.find_obstacle())


def test_a_dataset_that_cannot_be_mounted_is_told_of(
    commands: FakeZfs, mount: PublishedMount
) -> None:
    commands.properties("zsd/SV")["canmount"] = "off"
    mounted = mount.mount(may_cover=False)
    assert mounted.mountpoint is None
    (warning,) = mounted.warnings
    assert warning.startswith("zsd/SV is published, but not mounted: ")


def test_a_mount_that_cannot_be_restricted_is_none(
    commands: FakeZfs, mount: PublishedMount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mountinfo").write_text("30 22 0:30 / /none/SV rw - fuse.zfs zsd/SV rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", str(tmp_path / "mountinfo"))
    mounted = mount.mount(may_cover=False)
    assert mounted.mountpoint is None
    assert mounted.warnings[0].startswith("/none/SV was unmounted: ")
    assert not commands.datasets["zsd/SV"].is_mounted
