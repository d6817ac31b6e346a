"""What the kernel tells of mounts."""

import os
from pathlib import Path

import pytest

from dsgmigd.zfs import mounts
from dsgmigd.zfs.mounts import Mount, mountpoint_of, zfs_mounts

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


def test_mounts_are_told_with_their_names_unescaped() -> None:
    found = zfs_mounts()
    assert found[:2] == [
        Mount("pool/a b", "/pool/a b", os.makedev(0, 300), is_fuse=True, is_whole=True),
        Mount("pool/c", "/pool/a b/c\\", os.makedev(0, 45), is_fuse=False, is_whole=True),
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
def test_a_dataset_is_where_it_is_mounted_once(dataset: str, mountpoint: str | None) -> None:
    assert mountpoint_of(dataset) == mountpoint
