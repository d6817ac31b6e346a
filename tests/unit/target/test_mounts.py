"""What is read from the kernel's list of mounts."""

import os
from pathlib import Path

import pytest

from dsgmigd.target import mounts
from dsgmigd.target.mounts import mountpoint_of, zfs_mounts, zfs_mounts_of_host

MOUNTS = """\
22 1 0:21 / / rw - ext4 /dev/vda1 rw
30 22 0:300 / /pool/a\\040b rw,noatime shared:7 - fuse.zfs pool/a\\040b rw,user_id=0
31 30 0:45 / /pool/a\\040b/c\\134 rw - zfs pool/c rw
32 30 0:46 / /pool/d rw - zfs pool/d rw
33 30 0:46 / /elsewhere rw - zfs pool/d rw
34 30 0:47 /below /part rw - zfs pool/e rw
35 22 0:48 / /home/zfs rw - fuse.sshfs pool/f rw
"""


@pytest.fixture(autouse=True)
def _told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(mounts, "_MOUNTS", str(tmp_path / "mountinfo"))


def test_the_hosts_mounts_are_read_if_they_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "_HOST_MOUNTS", str(tmp_path / "mountinfo"))
    assert zfs_mounts_of_host() == zfs_mounts()
    monkeypatch.setattr(mounts, "_HOST_MOUNTS", str(tmp_path / "none"))
    assert zfs_mounts_of_host() == []


def test_names_of_mounts_are_unescaped() -> None:
    found = zfs_mounts()
    assert [(mount.dataset, mount.mountpoint, mount.device) for mount in found[:2]] == [
        ("pool/a b", "/pool/a b", os.makedev(0, 300)),
        ("pool/c", "/pool/a b/c\\", os.makedev(0, 45)),
    ]
    assert [(mount.dataset, mount.is_whole) for mount in found[4:]] == [("pool/e", False)]


@pytest.mark.parametrize(
    ("dataset", "mountpoint"),
    [
        ("pool/a b", "/pool/a b"),
        ("pool/c", "/pool/a b/c\\"),
        ("pool/d", None),
        ("pool/e", None),
        ("pool/f", None),
        ("pool", None),
    ],
)
def test_a_dataset_has_a_mountpoint_if_it_is_mounted_exactly_once(
    dataset: str, mountpoint: str | None
) -> None:
    assert mountpoint_of(dataset) == mountpoint


def test_a_mount_has_its_kind_and_its_flags() -> None:
    fuse, kernel = zfs_mounts()[:2]
    assert (fuse.is_fuse, fuse.is_whole, fuse.flags) == (True, True, frozenset({"rw", "noatime"}))
    assert (kernel.is_fuse, kernel.is_whole, kernel.flags) == (False, True, frozenset({"rw"}))
