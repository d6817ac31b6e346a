"""Contents of the file that stays open, and its attributes when it is finished."""

import errno
import os
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dsgmigd.errors import (
    InterruptedByStop,
    TargetFull,
)
from dsgmigd.source.send_stream import Command
from tests.acls import ACL
from tests.unit import send_commands as send
from tests.unit.transfer.replay_world import Listener, World, mode_of, replay_onto


def test_files_one_after_the_other_have_the_modes_that_they_are_given(world: World) -> None:
    modes = [0o644, 0o644, None, 0o4755, 0o600, 0o644, 0o666, None, 0o666]
    for number, mode in enumerate(modes):
        path = b"f%d" % number
        commands = [] if mode is None else [send.change_mode(path, mode)]
        world.replay(
            send.make_file(b"o"), send.rename(b"o", path), *commands, send.write(path, b"x")
        )
    one_stream = [
        command
        for number, mode in enumerate(modes)
        for command in (
            send.make_file(b"o"),
            send.rename(b"o", b"g%d" % number),
            send.write(b"g%d" % number, b"x"),
            *([] if mode is None else [send.change_mode(b"g%d" % number, mode)]),
        )
    ]
    world.replay(*one_stream)
    expected = [0o600 if mode is None else mode for mode in modes]
    for letter in "fg":
        found = [mode_of(world.root / f"{letter}{number}") for number in range(len(modes))]
        assert found == expected


def test_only_the_written_bytes_change(world: World) -> None:
    (world.root / "f").write_bytes(b"0123456789")
    replay = world.replay(send.write(b"f", b"AB", 2), send.write(b"f", b"YZ", 12))
    assert (world.root / "f").read_bytes() == b"01AB456789\0\0YZ"
    assert replay.bytes_written == 4


def test_truncation_shortens_and_lengthens(world: World) -> None:
    (world.root / "f").write_bytes(b"0123456789")
    world.replay(send.truncate(b"f", 3))
    assert (world.root / "f").read_bytes() == b"012"
    world.replay(send.truncate(b"f", 5))
    assert (world.root / "f").read_bytes() == b"012\0\0"
    assert world.events == [("content_changed", b"f")] * 2


def refuse_holes(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("is_supported", [True, False])
def test_a_punched_hole_reads_as_zeros_and_keeps_the_size(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_supported: bool
) -> None:
    if not is_supported:
        monkeypatch.setattr("dsgmigd.transfer.open_file.punch_hole", refuse_holes)
    (world.root / "f").write_bytes(b"x" * 10_000)
    world.replay(send.allocate(b"f", mode=3, offset=4096, size=1 << 20))
    assert (world.root / "f").read_bytes() == b"x" * 4096 + bytes(10_000 - 4096)
    assert ("content_changed", b"f") in world.events


def test_zeros_that_are_written_in_place_of_a_hole_can_be_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsgmigd.transfer.open_file.punch_hole", refuse_holes)
    (world.root / "f").write_bytes(b"x" * 3_000_000)
    with pytest.raises(InterruptedByStop):
        world.replay(
            send.allocate(b"f", mode=3, offset=0, size=3_000_000), checkpoint=stop_at_third()
        )
    assert (world.root / "f").read_bytes() == b"x" * 3_000_000


@pytest.mark.parametrize(("mode", "size"), [(0, 5000), (1, 3)])
def test_preallocation_grows_a_file_unless_it_keeps_its_size(
    world: World, mode: int, size: int
) -> None:
    (world.root / "f").write_bytes(b"abc")
    world.replay(send.allocate(b"f", mode=mode, offset=1000, size=4000))
    assert (world.root / "f").read_bytes() == b"abc".ljust(size, b"\0")


def test_calls_whose_effect_is_there_already_are_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("ftruncate", "fchown", "fchmod", "fstat"):
        real = getattr(os, name)

        def counted(*arguments: Any, name: str = name, real: Any = real) -> Any:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, counted)
    world.replay(
        send.make_file(b"f"),
        send.write(b"f", b"xyz"),
        send.truncate(b"f", 3),
        send.allocate(b"f", mode=0, offset=0, size=2),
        send.change_owner(b"f", os.geteuid(), os.getegid()),
        send.change_mode(b"f", 0o600),
    )
    assert calls == ["fstat"], "of the directory, for what it passes on"


def test_preallocation_within_a_file_changes_nothing(world: World) -> None:
    (world.root / "f").write_bytes(b"abc")
    world.replay(send.allocate(b"f", mode=0, offset=0, size=2))
    assert (world.root / "f").read_bytes() == b"abc"


def test_setuid_survives_a_write_and_a_change_of_owner(world: World) -> None:
    uid, gid = os.getuid(), os.getgid()
    for name in ("written", "cut", "owned"):
        (world.root / name).write_bytes(b"before")
        (world.root / name).chmod(0o6755)
    world.replay(
        send.write(b"written", b"x"),
        send.truncate(b"cut", 1),
        send.change_owner(b"owned", uid, gid),
    )
    assert [mode_of(world.root / name) for name in ("written", "cut", "owned")] == [0o6755] * 3


def test_the_mode_after_an_acl_is_the_one_of_the_stream(world: World) -> None:
    """Setting an ACL changes the mode."""
    acl = send.set_xattr(b"f", b"system.posix_acl_access", ACL)
    world.replay(send.make_file(b"f"), acl)
    assert mode_of(world.root / "f") != 0o600
    (world.root / "f").unlink()
    world.replay(send.make_file(b"f"), acl, send.write(b"f", b"x"), send.change_mode(b"f", 0o600))
    assert mode_of(world.root / "f") == 0o600


def test_setuid_that_the_stream_clears_is_not_set_again(world: World) -> None:
    (world.root / "f").write_bytes(b"before")
    (world.root / "f").chmod(0o4755)
    world.replay(
        send.write(b"f", b"x"),
        send.change_mode(b"f", 0o755),
        send.write(b"f", b"y", 1),
        send.change_owner(b"f", os.getuid(), os.getgid()),
    )
    assert mode_of(world.root / "f") == 0o755


def test_times_that_are_set_after_a_write_are_kept(world: World) -> None:
    (world.root / "f").touch()
    (world.root / "f").chmod(0o4700)
    world.replay(send.write(b"f", b"x"), send.set_times(b"f", atime=5, mtime=6))
    assert (world.root / "f").stat().st_mtime_ns == 6


def test_a_mode_that_cannot_be_restored_leaves_no_descriptor_and_no_bare_oserror(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (world.root / "f").write_bytes(b"before")
    (world.root / "f").chmod(0o4755)
    monkeypatch.setattr("os.fchmod", refuse)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(TargetFull, match="finishing a file"):
        world.replay(send.write(b"f", b"x"))
    with pytest.raises(InterruptedByStop):
        world.replay(send.write(b"f", b"x"), send.write(b"f", b"y"), checkpoint=stop_at_third())
    assert os.listdir("/proc/self/fd") == before


def stop_at_third() -> Callable[[], None]:
    calls = count(1)

    def checkpoint() -> None:
        if next(calls) == 3:
            raise InterruptedByStop

    return checkpoint


class PlainFiles:
    """Files in one directory, and what is done to them, each by a call of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.commands: list[Command] = []

    def do(self, operation: str, name: str, other: str, number: int) -> None:
        """Do it, if there is something to do it to, and note the command."""
        place, there = self.directory / name, self.directory / other
        path, other_path = name.encode(), other.encode()
        if operation == "make" and not place.exists():
            place.touch(0o600)
            self.commands.append(send.make_file(path))
        elif operation == "rename" and place.exists() and name != other:
            if there.exists() and place.samefile(there):
                return  # rename(2) leaves two names of one file alone
            place.rename(there)
            self.commands.append(send.rename(path, other_path))
        elif operation == "link" and place.exists() and not there.exists():
            there.hardlink_to(place)
            self.commands.append(send.link(other_path, path))
        elif operation == "unlink" and place.exists():
            place.unlink()
            self.commands.append(send.unlink(path))
        elif place.exists():
            self.change(operation, place, number)

    def change(self, operation: str, place: Path, number: int) -> None:
        path = place.name.encode()
        if operation == "write":
            with place.open("r+b") as file:
                file.seek(number)
                file.write(b"%d" % number)
            self.commands.append(send.write(path, b"%d" % number, number))
        elif operation == "truncate":
            os.truncate(place, number)
            self.commands.append(send.truncate(path, number))
        elif operation == "mode":
            place.chmod(0o600 + number)
            self.commands.append(send.change_mode(path, 0o600 + number))
        elif operation == "owner":
            owner = number % 2 if os.geteuid() == 0 else os.geteuid()
            os.chown(place, owner, -1)
            self.commands.append(send.change_owner(path, owner, place.stat().st_gid))
        elif operation == "times":
            os.utime(place, ns=(0, number * 10**9))
            self.commands.append(send.set_times(path, atime=0, mtime=number * 10**9))

    def facts(self, *, times: set[str]) -> dict[str, tuple[Any, ...]]:
        """Return what can be said of each file; its time, if it is one of `times`."""
        found = {}
        for path in self.directory.iterdir():
            status = path.stat()
            mtime = status.st_mtime_ns if path.name in times else None
            facts = (mode_of(path), status.st_uid, status.st_nlink, mtime, path.read_bytes())
            found[path.name] = facts
        return found


_FILE_OPERATIONS = ("make", "rename", "write", "truncate", "mode", "owner", "times", "link")


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((*_FILE_OPERATIONS, "make", "rename", "unlink")),
            st.sampled_from("ab"),
            st.sampled_from("ab"),
            st.integers(0, 40),
        ),
        min_size=5,
        max_size=20,
    )
)
@example(
    [("make", "a", "", 0), ("make", "b", "", 0), ("rename", "a", "b", 0), ("write", "b", "", 1)]
)
@example([("make", "a", "", 0), ("unlink", "a", "", 0), ("make", "a", "", 0), ("mode", "a", "", 1)])
def test_a_file_that_stays_open_ends_up_as_with_one_system_call_per_operation(
    operations: list[tuple[str, str, str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        source, root = Path(directory, "source"), Path(directory, "root")
        source.mkdir()
        root.mkdir()
        plain = PlainFiles(source)
        for operation in operations:
            plain.do(*operation)
        replay_onto(root, Listener(), *plain.commands)
        timed = {path.name for path in source.iterdir() if path.stat().st_mtime < 1000}
        assert PlainFiles(root).facts(times=timed) == plain.facts(times=timed)
