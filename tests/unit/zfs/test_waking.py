"""What is asked so that zfs-fuse goes on."""

import os
import platform
import threading
from pathlib import Path

import pytest

from dsgmigd.zfs import mounts, waking

MOUNTS = """\
22 1 0:21 / / rw - ext4 /dev/vda1 rw
30 22 0:300 / /pool/a\\040b rw,noatime shared:7 - fuse.zfs pool/a rw,user_id=0
31 30 0:45 / /pool/a\\040b/c rw - fuse.zfs pool/a/c rw
32 30 0:45 / /elsewhere rw - fuse.zfs pool/a/c rw
33 30 0:47 /below /part rw - fuse.zfs pool/d rw
34 22 0:46 / /home/fuse.zfs rw - fuse.sshfs fuse.zfs rw
"""


def test_every_file_system_of_zfs_fuse_is_asked_by_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(mounts, "_MOUNTS", str(tmp_path / "mountinfo"))
    assert waking._devices() == [os.makedev(0, 45), os.makedev(0, 47), os.makedev(0, 300)]


def test_the_kernels_zfs_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "_KERNEL_DEVICE", str(tmp_path))
    monkeypatch.setattr(mounts, "_MOUNTS", str(tmp_path / "not read"))
    waking.wake_zfs_fuse()


def test_a_host_that_ran_out_fails_nothing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(thread: threading.Thread) -> None:
        asked.append(thread)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(waking, "_KERNEL_DEVICE", str(tmp_path / "absent"))
    monkeypatch.setattr(waking, "_USTAT", {platform.machine(): 0})
    monkeypatch.setattr(mounts, "_MOUNTS", str(tmp_path / "mountinfo"))
    waking.wake_zfs_fuse()
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    waking.wake_zfs_fuse()
    assert len(asked) == 1
