"""One mount at a time, only where that is needed."""

import fcntl
import os
from pathlib import Path

import pytest

from dsgmigd.errors import TargetBusy
from dsgmigd.zfs import mounting
from dsgmigd.zfs.dataset import Zfs


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(mounting, "_LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(mounting, "_KERNEL_DEVICE", str(tmp_path / "zfs"))
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


def test_the_turn_is_held_while_mounting_and_given_up_afterwards(lock: Path) -> None:
    with mounting.mounting():
        assert is_held(lock)
    assert not is_held(lock)


def test_the_program_that_mounts_has_the_turn_as_well(lock: Path) -> None:
    """Its caller may be killed, and it goes on."""

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


def test_the_turn_is_given_up_when_mounting_fails(lock: Path) -> None:
    with pytest.raises(KeyError), mounting.mounting():
        raise KeyError
    assert not is_held(lock)


def test_the_kernels_zfs_needs_no_turns(lock: Path) -> None:
    (lock.parent / "zfs").touch()
    with mounting.mounting():
        assert not lock.exists()


def test_a_link_in_place_of_the_lock_is_not_followed(lock: Path) -> None:
    lock.symlink_to(lock.parent / "victim")
    with pytest.raises(TargetBusy, match="symbolic link"), mounting.mounting():
        pass
    assert not (lock.parent / "victim").exists()


def test_who_may_not_take_turns_goes_on_without(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    with mounting.mounting():
        pass
    assert not lock.exists()
