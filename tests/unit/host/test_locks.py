"""A lock is exclusive, outlives nobody, and is held by children that inherit it."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from dsgmigd.host.locks import already_locked, describe_holder, try_lock


def test_a_locked_file_cannot_be_locked_again_until_it_is_released(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    first = try_lock(path)
    assert first is not None
    assert try_lock(path) is None
    first.release()
    second = try_lock(path)
    assert second is not None
    second.release()


def test_a_lock_that_is_refused_leaves_no_descriptor_open(tmp_path: Path) -> None:
    held = try_lock(str(tmp_path / "lock"))
    assert held is not None
    before = os.listdir("/proc/self/fd")
    assert try_lock(str(tmp_path / "lock")) is None
    assert os.listdir("/proc/self/fd") == before
    held.release()


def test_a_child_that_inherited_a_lock_holds_it_until_it_ends(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    lock = try_lock(path)
    assert lock is not None
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock.descriptor]) as child:
        lock.release()
        assert try_lock(path) is None
        child.communicate()
    again = try_lock(path)
    assert again is not None
    again.release()


def test_the_process_that_holds_a_lock_is_described(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    lock = try_lock(path)
    assert lock is not None
    user = pwd.getpwuid(os.geteuid()).pw_name
    command = ["cat", "-", "a b"]
    with (
        (tmp_path / "lock").open("rb") as file,
        subprocess.Popen(["sleep", "60"], stdin=file) as onlooker,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[lock.descriptor]
        ) as child,
    ):
        try:
            holders = (os.getpid(), child.pid)
            assert any(f"(pid {pid}," in str(describe_holder(path)) for pid in holders)
            lock.release()
            assert describe_holder(path) == f"cat - 'a b' (pid {child.pid}, user {user})"
            error = already_locked(path, "SV is locked", hint="wait")
            assert error.message == f"SV is locked: {describe_holder(path)}"
            assert error.hint == "wait"
            child.communicate()
            assert describe_holder(path) is None, "who only has the file open holds no lock"
        finally:
            onlooker.kill()
    error = already_locked(path, "SV is locked", hint="wait")
    assert error.message == "SV is locked"
    assert error.hint == f"wait; to see the process, as root: fuser -v {path}"


def test_a_long_command_is_cut(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    lock = try_lock(path)
    assert lock is not None
    command = ["cat", "-", "x" * 1000]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[lock.descriptor]
    ) as child:
        lock.release()
        described = str(describe_holder(path))
        child.communicate()
    assert described.startswith(f"cat - {'x' * 193}… (pid {child.pid}, ")


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        try_lock(str(tmp_path / "link"))
    assert not (tmp_path / "elsewhere").exists()


def test_only_the_owner_can_open_a_new_lock_file(tmp_path: Path) -> None:
    lock = try_lock(str(tmp_path / "lock"))
    assert lock is not None
    assert os.fstat(lock.descriptor).st_mode & 0o777 == 0o600
    lock.release()
