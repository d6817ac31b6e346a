"""One mount at a time, and one request to each file system, only where zfs-fuse needs it."""

import fcntl
import os
import platform
import threading
from pathlib import Path

import pytest

from dsgmigd.errors import TargetBusy
from dsgmigd.target import mounts, zfs_fuse
from dsgmigd.target.zfs import Zfs


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(zfs_fuse, "_LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(zfs_fuse, "_KERNEL_DEVICE", str(tmp_path / "zfs"))
    return tmp_path / "lock"


def is_held(lock: Path) -> bool:
    descriptor = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_the_lock_is_held_while_mounting_and_released_afterwards(lock: Path) -> None:
    with zfs_fuse.mounting():
        assert is_held(lock)
    assert not is_held(lock)


def test_the_program_that_mounts_holds_the_lock_as_well(lock: Path) -> None:
    """It goes on if its caller is killed."""

    class Recorded:
        def output(
            self,
            *argv: str,
            timeout_seconds: float = 120,
            keep_descriptors: tuple[int, ...] = (),
        ) -> str:
            assert timeout_seconds
            (descriptor,) = keep_descriptors
            assert os.readlink(f"/proc/self/fd/{descriptor}") == str(lock)
            ran.append(argv[1])
            return ""

    ran: list[str] = []
    zfs = Zfs(Recorded())
    zfs.create("zsd/SV", {}, {})
    zfs.clone("zsd/SV@s1", "zsd/view", {}, {})
    zfs.mount("zsd/SV")
    assert ran == ["create", "clone", "mount"]


def test_the_lock_is_released_when_mounting_fails(lock: Path) -> None:
    with pytest.raises(KeyError), zfs_fuse.mounting():
        raise KeyError
    assert not is_held(lock)


def test_the_kernels_zfs_needs_no_lock(lock: Path) -> None:
    (lock.parent / "zfs").touch()
    with zfs_fuse.mounting():
        assert not lock.exists()


def test_a_link_in_place_of_the_lock_is_not_followed(lock: Path) -> None:
    lock.symlink_to(lock.parent / "victim")
    words = f"cannot acquire the mount lock {lock}: .*symbolic link"
    with pytest.raises(TargetBusy, match=words), zfs_fuse.mounting():
        pass
    assert not (lock.parent / "victim").exists()


def test_a_user_who_may_not_create_the_lock_goes_on_without(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    with zfs_fuse.mounting():
        pass
    assert not lock.exists()


# Waking.

MOUNTS = """\
22 1 0:21 / / rw - ext4 /dev/vda1 rw
30 22 0:300 / /pool/a\\040b rw,noatime shared:7 - fuse.zfs pool/a rw,user_id=0
31 30 0:45 / /pool/a\\040b/c rw - fuse.zfs pool/a/c rw
32 30 0:45 / /elsewhere rw - fuse.zfs pool/a/c rw
33 30 0:47 /below /part rw - fuse.zfs pool/d rw
34 22 0:46 / /home/fuse.zfs rw - fuse.sshfs fuse.zfs rw
"""


@pytest.fixture
def asked(lock: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The devices that were asked, on a host of any architecture with these mounts."""
    (lock.parent / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(mounts, "_MOUNTS", str(lock.parent / "mountinfo"))
    monkeypatch.setattr(zfs_fuse, "_USTAT", {platform.machine(): 0})
    devices: list[int] = []
    monkeypatch.setattr(zfs_fuse, "_ask", lambda _, device: devices.append(device))
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.run)
    return devices


def test_every_file_system_of_zfs_fuse_is_asked_once_by_its_device(asked: list[int]) -> None:
    zfs_fuse.wake_zfs_fuse()
    assert asked == [os.makedev(0, 45), os.makedev(0, 47), os.makedev(0, 300)]


def test_the_kernels_zfs_is_not_asked(asked: list[int], lock: Path) -> None:
    (lock.parent / "zfs").touch()
    zfs_fuse.wake_zfs_fuse()
    assert asked == []


def test_an_architecture_without_the_call_asks_nothing(
    asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zfs_fuse, "_USTAT", {})
    zfs_fuse.wake_zfs_fuse()
    assert asked == []


def test_a_host_without_free_descriptors_is_no_error(asked: list[int], lock: Path) -> None:
    (lock.parent / "mountinfo").unlink()
    zfs_fuse.wake_zfs_fuse()
    assert asked == []


def test_a_host_without_free_threads_is_no_error(
    asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def refuse(thread: threading.Thread) -> None:
        started.append(thread)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    zfs_fuse.wake_zfs_fuse()
    assert (len(started), asked) == (1, [])
