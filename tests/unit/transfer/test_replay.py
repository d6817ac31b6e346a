"""Replay of send commands onto real directories: every command, the border, links, listeners."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dsgmigd.abilities import Abilities
from dsgmigd.btrfs.replay import Replay
from dsgmigd.btrfs.stream import Command, Kind
from dsgmigd.errors import (
    DsgmigdError,
    InterruptedByStop,
    LossNotAllowed,
    SourceUnreadable,
    StreamCorrupt,
    TargetFull,
    TargetUnwritable,
)
from dsgmigd.exclusion import is_excluded_name
from tests.acls import ACL_OF_DIRECTORIES
from tests.unit import send_commands as send

Event = tuple[str, *tuple[bytes, ...]]


class Listener:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.unfollowed: set[bytes] = set()

    def created(self, path: bytes) -> None:
        self.events.append(("created", path))

    def created_directory(self, path: bytes) -> None:
        self.events.append(("created_directory", path))

    def renamed(self, old: bytes, new: bytes) -> None:
        self.events.append(("renamed", old, new))

    def linked(self, existing: bytes, path: bytes) -> None:
        self.events.append(("linked", existing, path))

    def removed(self, path: bytes) -> None:
        self.events.append(("removed", path))

    def content_changed(self, path: bytes) -> bool:
        self.events.append(("content_changed", path))
        return path not in self.unfollowed

    def times_changed(self, path: bytes) -> bool:
        self.events.append(("times_changed", path))
        return path not in self.unfollowed

    def link_group_changed(self, inode: int) -> None:
        self.events.append(("link_group_changed", b"%d" % inode))

    def appeared(self, path: bytes) -> None:
        self.events.append(("appeared", path))


class World:
    """A staging directory and its parent snapshot, and one replay after another onto it."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "staging"
        self.parent = directory / "parent"
        self.outside = directory / "outside"
        for place in (self.root, self.parent, self.outside):
            place.mkdir()
        self.listener = Listener()

    @property
    def events(self) -> list[Event]:
        return self.listener.events

    def replay(
        self,
        *commands: Command,
        has_parent: bool = True,
        checkpoint: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> Replay:
        replay = Replay(
            str(self.root),
            self.listener,
            parent_root=str(self.parent) if has_parent else None,
            **options,
        )
        replay.apply([send.begin(), *commands], checkpoint=checkpoint)
        return replay


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# Names.


def test_a_file_is_made_empty_and_for_its_owner_only(world: World) -> None:
    world.replay(send.make_file(b"f"))
    assert (world.root / "f").read_bytes() == b""
    assert mode_of(world.root / "f") == 0o600
    assert world.events == [("created", b"f")]


def test_a_directory_is_made_for_its_owner_only(world: World) -> None:
    world.replay(send.make_directory(b"d"), send.make_file(b"d/f"))
    assert mode_of(world.root / "d") == 0o700
    assert world.events == [("created_directory", b"d"), ("created", b"d/f")]


def test_a_file_gets_its_last_name_over_whatever_is_there(world: World) -> None:
    (world.root / "f").write_bytes(b"old")
    world.replay(send.make_file(b"o1-1-0"), send.rename(b"o1-1-0", b"f"), send.write(b"f", b"new"))
    assert tree_of(world.root) == {"f": b"new"}


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


@pytest.mark.parametrize("passed_on_by", [b"", b"d"])
def test_what_a_directory_passes_on_is_not_kept(world: World, passed_on_by: bytes) -> None:
    """A stream tells of the attributes that something has, and not of those that it lacks."""
    giving = world.root / os.fsdecode(passed_on_by)
    (world.root / "d").mkdir()
    world.replay(
        send.make_directory(b"before"),
        send.set_xattr(passed_on_by, b"system.posix_acl_default", ACL_OF_DIRECTORIES),
        send.make_file(b"o1-1-0"),
        send.rename(b"o1-1-0", b"d/f"),
        send.change_mode(b"d/f", 0o640),
        send.make_directory(b"o2-1-0"),
        send.rename(b"o2-1-0", b"d/e"),
        send.make_directory(b"d/e/below"),
        send.command(Kind.MKFIFO, b"d/p"),
        send.make_file(b"at the root"),
    )
    assert os.listxattr(giving) == ["system.posix_acl_default"]
    made = [path for path in world.root.rglob("*") if path != giving]
    assert len(made) >= 6
    assert [path for path in made if os.listxattr(path, follow_symlinks=False)] == []
    assert mode_of(world.root / "d/f") == 0o640


def test_a_file_in_a_directory_that_passes_on_its_group_gets_its_own(world: World) -> None:
    (world.root / "d").mkdir()
    os.chown(world.root / "d", -1, 7 if os.geteuid() == 0 else os.getegid())
    (world.root / "d").chmod(0o2755)
    owner = (os.geteuid(), os.getegid())
    world.replay(
        send.make_file(b"o1-1-0"), send.rename(b"o1-1-0", b"d/f"), send.change_owner(b"d/f", *owner)
    )
    status = (world.root / "d/f").stat()
    assert (status.st_uid, status.st_gid) == owner


def test_a_symbolic_link_holds_its_target_byte_for_byte(world: World) -> None:
    world.replay(send.make_symlink(b"l", b"/any\xff where"))
    assert os.readlink(os.fsencode(world.root / "l")) == b"/any\xff where"
    assert world.events == [("created", b"l")]


@pytest.mark.parametrize(
    ("command", "is_kind"),
    [
        (send.command(Kind.MKFIFO, b"n", ino=1, rdev=0, mode=0o10644), stat.S_ISFIFO),
        (send.command(Kind.MKSOCK, b"n", ino=1, rdev=0, mode=0o140644), stat.S_ISSOCK),
        (send.command(Kind.MKNOD, b"n", ino=1, rdev=0, mode=stat.S_IFIFO | 0o600), stat.S_ISFIFO),
    ],
)
def test_pipes_sockets_and_nodes_are_made_as_what_they_are(
    world: World, command: Command, is_kind: Callable[[int], bool]
) -> None:
    world.replay(command)
    assert is_kind((world.root / "n").lstat().st_mode)
    assert world.events == [("created", b"n")]


def test_a_device_is_made_by_root_and_refused_to_everybody_else(world: World) -> None:
    number = os.makedev(1, 3)
    command = send.command(Kind.MKNOD, b"null", ino=1, rdev=number, mode=stat.S_IFCHR | 0o600)
    try:
        os.mknod(world.outside / "null", stat.S_IFCHR | 0o600, number)
    except PermissionError:
        with pytest.raises(TargetUnwritable, match="mknod of 'null'"):
            world.replay(command)
    else:
        world.replay(command)
        assert (world.root / "null").lstat().st_rdev == number


def test_a_directory_is_renamed_with_all_in_it(world: World) -> None:
    (world.root / "a" / "b").mkdir(parents=True)
    world.replay(send.make_file(b"a/b/f"), send.rename(b"a", b"c"), send.make_file(b"c/b/g"))
    assert sorted(os.listdir(world.root / "c" / "b")) == ["f", "g"]
    assert not (world.root / "a").exists()
    assert world.events[1] == ("renamed", b"a", b"c")


def test_a_name_that_a_directory_left_may_be_anothers_at_once(world: World) -> None:
    for name in ("a", "b"):
        (world.root / name).mkdir()
    world.replay(
        send.make_file(b"a/in a"),
        send.make_file(b"b/in b"),
        send.rename(b"a", b"o257-7-0"),
        send.rename(b"b", b"a"),
        send.rename(b"o257-7-0", b"b"),
        send.make_file(b"a/was b"),
        send.make_file(b"b/was a"),
    )
    assert sorted(os.listdir(world.root / "a")) == ["in b", "was b"]
    assert sorted(os.listdir(world.root / "b")) == ["in a", "was a"]


def many_directories(root: Path) -> list[tuple[str, str]]:
    """Make directories, each with a file, and pair them up so that all are open at some time."""
    names = [f"d{number}" for number in range(601)]
    for name in names:
        (root / name).mkdir()
        (root / name / "f").write_text(name)
    return [(names[index], names[(index + 300) % 601]) for index in range(601)]


def test_a_rename_reaches_both_directories_however_many_were_open_before(world: World) -> None:
    pairs = many_directories(world.root)
    world.replay(
        *(send.rename(os.fsencode(f"{old}/f"), os.fsencode(f"{new}/g")) for old, new in pairs)
    )
    assert all((world.root / new / "g").read_text() == old for old, new in pairs)


def test_a_link_reaches_both_directories_however_many_were_open_before(world: World) -> None:
    pairs = many_directories(world.root)
    world.replay(
        *(send.link(os.fsencode(f"{new}/g"), os.fsencode(f"{old}/f")) for old, new in pairs)
    )
    assert all((world.root / new / "g").read_text() == old for old, new in pairs)


def test_a_tree_deeper_than_the_open_directories_is_renamed_across(world: World) -> None:
    deep = ["/".join([side] * 350) for side in ("a", "b")]
    for path in deep:
        (world.root / path).mkdir(parents=True)
    (world.root / deep[0] / "f").write_text("deep")
    world.replay(send.rename(os.fsencode(deep[0] + "/f"), os.fsencode(deep[1] + "/g")))
    assert (world.root / deep[1] / "g").read_text() == "deep"


def test_a_tree_of_any_depth_that_a_path_can_name_is_reached(world: World) -> None:
    path = b"/".join([b"d"] * 1900)
    world.replay(*(send.make_directory(path[:end]) for end in range(1, len(path) + 1, 2)))
    world.replay(send.make_file(path + b"/f"), send.unlink(path + b"/f"))
    world.replay(*(send.remove_directory(path[:end]) for end in range(len(path), 0, -2)))
    assert os.listdir(world.root) == []


def test_a_link_is_another_name_of_the_same_file(world: World) -> None:
    world.replay(send.make_file(b"f"), send.link(b"g", b"f"), send.write(b"g", b"x"))
    assert os.path.samefile(world.root / "f", world.root / "g")
    assert world.events[1] == ("linked", b"f", b"g")


def test_a_link_to_a_symbolic_link_is_one_to_itself(world: World) -> None:
    world.replay(send.make_symlink(b"l", b"absent"), send.link(b"m", b"l"))
    assert (world.root / "m").is_symlink()
    assert (world.root / "m").lstat().st_ino == (world.root / "l").lstat().st_ino


def test_names_and_empty_directories_are_removed(world: World) -> None:
    (world.root / "d").mkdir()
    (world.root / "d" / "f").touch()
    world.replay(send.unlink(b"d/f"), send.remove_directory(b"d"))
    assert os.listdir(world.root) == []
    assert world.events == [("removed", b"d/f"), ("removed", b"d")]


def test_a_directory_made_where_another_was_removed_is_the_new_one(world: World) -> None:
    (world.root / "d").mkdir()
    world.replay(
        send.make_file(b"d/f"),
        send.unlink(b"d/f"),
        send.remove_directory(b"d"),
        send.make_directory(b"d"),
        send.make_file(b"d/g"),
    )
    assert os.listdir(world.root / "d") == ["g"]


def test_unkind_names_are_just_bytes(world: World) -> None:
    for name in (b"a b", b"new\nline", b"latin-\xe9", b"-rf", "ünï".encode(), b"n" * 255):
        world.replay(send.make_directory(name), send.make_file(name + b"/" + name))
        assert os.listdir(os.fsencode(world.root) + b"/" + name) == [name]


# Contents.


def test_only_the_written_bytes_change(world: World) -> None:
    (world.root / "f").write_bytes(b"0123456789")
    replay = world.replay(send.write(b"f", b"AB", 2), send.write(b"f", b"YZ", 12))
    assert (world.root / "f").read_bytes() == b"01AB456789\0\0YZ"
    assert replay.bytes_written == 4


def test_many_writes_to_one_file_are_one_change_of_content(world: World) -> None:
    (world.root / "f").touch()
    world.replay(*(send.write(b"f", b"x", offset) for offset in range(5)))
    assert world.events == [("content_changed", b"f")]


def test_truncation_shortens_and_lengthens(world: World) -> None:
    (world.root / "f").write_bytes(b"0123456789")
    world.replay(send.truncate(b"f", 3))
    assert (world.root / "f").read_bytes() == b"012"
    world.replay(send.truncate(b"f", 5))
    assert (world.root / "f").read_bytes() == b"012\0\0"
    assert world.events == [("content_changed", b"f")] * 2


@pytest.mark.parametrize("is_supported", [True, False])
def test_a_punched_hole_reads_as_zeros_and_keeps_the_size(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_supported: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    if not is_supported:
        monkeypatch.setattr("dsgmigd.btrfs.tree.punch_hole", refuse)
    (world.root / "f").write_bytes(b"x" * 10_000)
    world.replay(send.allocate(b"f", mode=3, offset=4096, size=1 << 20))
    assert (world.root / "f").read_bytes() == b"x" * 4096 + bytes(10_000 - 4096)
    assert ("content_changed", b"f") in world.events


@pytest.mark.parametrize(("mode", "size"), [(0, 5000), (1, 3)])
def test_preallocation_grows_a_file_unless_it_keeps_its_size(
    world: World, mode: int, size: int
) -> None:
    (world.root / "f").write_bytes(b"abc")
    world.replay(send.allocate(b"f", mode=mode, offset=1000, size=4000))
    assert (world.root / "f").read_bytes() == b"abc".ljust(size, b"\0")


def test_preallocation_within_a_file_changes_nothing(world: World) -> None:
    (world.root / "f").write_bytes(b"abc")
    world.replay(send.allocate(b"f", mode=0, offset=0, size=2))
    assert (world.root / "f").read_bytes() == b"abc"


def test_an_unknown_way_to_allocate_is_no_guess(world: World) -> None:
    (world.root / "f").touch()
    with pytest.raises(StreamCorrupt, match="unknown mode 16"):
        world.replay(send.allocate(b"f", mode=16, offset=0, size=2))


def test_a_clone_takes_bytes_from_the_parent_snapshot_as_it_was(world: World) -> None:
    (world.parent / "old").write_bytes(b"0123456789")
    (world.root / "old").write_bytes(b"overwritten")
    world.replay(
        send.make_file(b"f"),
        send.clone(b"f", b"old", send.PARENT_UUID, at=1, origin_at=4, size=3),
    )
    assert (world.root / "f").read_bytes() == b"\x00456"
    assert world.events == [("created", b"f"), ("content_changed", b"f")]


def test_a_clone_takes_bytes_from_the_sent_snapshot_itself(world: World) -> None:
    (world.root / "g").write_bytes(b"abcdef")
    (world.parent / "g").write_bytes(b"123456")
    world.replay(
        send.make_file(b"f"), send.clone(b"f", b"g", send.OWN_UUID, at=0, origin_at=2, size=2)
    )
    assert (world.root / "f").read_bytes() == b"cd"


def test_a_clone_of_more_than_one_chunk_is_whole(world: World) -> None:
    content = os.urandom(2 * 1024 * 1024 + 77)
    (world.parent / "g").write_bytes(content)
    size = len(content)
    world.replay(
        send.make_file(b"f"),
        send.clone(b"f", b"g", send.PARENT_UUID, at=0, origin_at=0, size=size),
    )
    assert (world.root / "f").read_bytes() == content


def test_a_clone_beyond_the_end_of_its_source_is_corrupt(world: World) -> None:
    (world.parent / "g").write_bytes(b"short")
    with pytest.raises(StreamCorrupt, match="beyond the end"):
        world.replay(
            send.make_file(b"f"),
            send.clone(b"f", b"g", send.PARENT_UUID, at=0, origin_at=0, size=6),
        )


def test_a_clone_from_a_snapshot_that_is_not_at_hand_is_corrupt(world: World) -> None:
    with pytest.raises(StreamCorrupt, match="not the parent"):
        world.replay(
            send.make_file(b"f"),
            send.clone(b"f", b"g", send.PARENT_UUID, at=0, origin_at=0, size=1),
            has_parent=False,
        )


# Attributes.


def test_a_mode_is_set_with_all_its_twelve_bits(world: World) -> None:
    (world.root / "f").touch()
    world.replay(send.change_mode(b"f", 0o106755))
    assert mode_of(world.root / "f") == 0o6755


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


def test_setuid_that_the_stream_takes_away_does_not_come_back(world: World) -> None:
    (world.root / "f").write_bytes(b"before")
    (world.root / "f").chmod(0o4755)
    world.replay(
        send.write(b"f", b"x"),
        send.change_mode(b"f", 0o755),
        send.write(b"f", b"y", 1),
        send.change_owner(b"f", os.getuid(), os.getgid()),
    )
    assert mode_of(world.root / "f") == 0o755


def test_the_owner_of_a_link_is_changed_and_not_its_targets(world: World) -> None:
    (world.outside / "f").touch()
    (world.root / "l").symlink_to(world.outside / "f")
    before = (world.outside / "f").stat().st_ctime_ns
    world.replay(send.change_owner(b"l", os.getuid(), os.getgid()))
    assert (world.outside / "f").stat().st_ctime_ns == before


def test_owner_and_group_are_the_given_ones(world: World) -> None:
    (world.root / "f").touch()
    group = max(os.getgroups() or [os.getgid()])
    world.replay(send.change_owner(b"f", os.getuid(), group))
    status = (world.root / "f").stat()
    assert (status.st_uid, status.st_gid) == (os.getuid(), group)


@pytest.mark.parametrize("mtime", [0, 1_399_483_646_123_456_789, -1, -(10**9) - 1, 2**33 * 10**9])
def test_times_are_set_to_the_nanosecond_before_and_after_the_epoch(
    world: World, mtime: int
) -> None:
    (world.root / "f").touch()
    world.replay(send.set_times(b"f", atime=5, mtime=mtime))
    assert (world.root / "f").stat().st_mtime_ns == mtime
    assert (world.root / "f").stat().st_atime_ns == 5
    assert world.events == [("times_changed", b"f")]


def test_times_that_follow_a_write_are_the_last_word(world: World) -> None:
    (world.root / "f").touch()
    (world.root / "f").chmod(0o4700)
    world.replay(send.write(b"f", b"x"), send.set_times(b"f", atime=5, mtime=6))
    assert (world.root / "f").stat().st_mtime_ns == 6


def test_times_of_a_link_are_its_own(world: World) -> None:
    (world.outside / "f").touch()
    os.utime(world.outside / "f", ns=(1, 2))
    (world.root / "l").symlink_to(world.outside / "f")
    world.replay(send.set_times(b"l", atime=5, mtime=6))
    assert (world.root / "l").lstat().st_mtime_ns == 6
    assert (world.outside / "f").stat().st_mtime_ns == 2


def test_the_root_itself_gets_mode_owner_and_times(world: World) -> None:
    world.replay(
        send.change_owner(b"", os.getuid(), os.getgid()),
        send.change_mode(b"", 0o751),
        send.set_times(b"", atime=5, mtime=6),
    )
    assert (mode_of(world.root), world.root.stat().st_mtime_ns) == (0o751, 6)


def holds_xattrs(directory: Path) -> bool:
    try:
        os.setxattr(directory, "user.probe", b"1")
    except OSError:
        return False
    os.removexattr(directory, "user.probe")
    return True


def test_extended_attributes_are_set_and_removed_or_the_target_is_to_blame(world: World) -> None:
    (world.root / "f").touch()
    command = send.set_xattr(b"f", b"user.a", b"\0value")
    if not holds_xattrs(world.root):
        with pytest.raises(DsgmigdError, match="set_xattr of 'f'"):
            world.replay(command)
        return
    world.replay(
        command, send.set_xattr(b"f", b"user.b", b""), send.set_xattr(b"", b"user.r", b"1")
    )
    assert os.getxattr(world.root / "f", "user.a") == b"\0value"
    assert os.getxattr(world.root, "user.r") == b"1"
    world.replay(send.remove_xattr(b"f", b"user.a"))
    assert os.listxattr(world.root / "f") == ["user.b"]


def test_extended_attributes_that_the_target_cannot_hold_end_the_replay(world: World) -> None:
    (world.root / "f").touch()
    with pytest.raises(LossNotAllowed, match=r"'f' has user\.a, which the target cannot hold"):
        world.replay(send.set_xattr(b"f", b"user.a", b"1"), abilities=Abilities(xattrs=False))


def test_extended_attributes_may_be_lost_when_that_is_allowed(world: World) -> None:
    (world.root / "f").touch()
    world.replay(
        send.set_xattr(b"f", b"user.a", b"1"),
        send.remove_xattr(b"f", b"user.a"),
        abilities=Abilities(xattrs=False),
        allowed=["xattr"],
    )
    assert os.listxattr(world.root / "f") == []


def test_an_acl_is_a_loss_of_its_own(world: World) -> None:
    (world.root / "f").touch()
    set_acl = send.set_xattr(b"f", b"system.posix_acl_access", b"1")
    with pytest.raises(LossNotAllowed, match=r"system\.posix_acl_access") as caught:
        world.replay(set_acl, abilities=Abilities(acls=False), allowed=["xattr"])
    assert '"allow_loss": ["acl"]' in caught.value.hint
    world.replay(set_acl, abilities=Abilities(acls=False), allowed=["acl"])


def test_how_btrfs_stores_a_file_is_not_carried(world: World) -> None:
    (world.root / "f").touch()
    world.replay(
        send.set_xattr(b"f", b"btrfs.compression", b"zstd"),
        send.remove_xattr(b"f", b"btrfs.compression"),
    )
    assert os.listxattr(world.root / "f") == []


def test_times_out_of_range_become_the_nearest_that_the_target_holds(world: World) -> None:
    (world.root / "f").touch()
    world.replay(
        send.set_times(b"f", atime=0, mtime=10**9 * 5000 + 7),
        abilities=Abilities(earliest_mtime=0, latest_mtime=4000),
        allowed=["mtime_range"],
    )
    assert (world.root / "f").stat().st_mtime_ns == 4000 * 10**9


def test_times_out_of_range_that_nobody_allowed_end_the_replay(world: World) -> None:
    (world.root / "f").touch()
    with pytest.raises(LossNotAllowed, match="time out of range"):
        world.replay(
            send.set_times(b"f", atime=0, mtime=10**9 * 5000),
            abilities=Abilities(latest_mtime=4000),
        )


def test_borders_are_taken_away_and_deferred_and_move_with_their_directories(
    world: World,
) -> None:
    (world.root / "a/nested").mkdir(parents=True)
    replay = world.replay(send.rename(b"a", b"b"), borders=[b"a/nested"])
    assert replay.deferred == {b"b/nested"}
    assert os.listdir(world.root / "b") == []


def test_a_border_that_is_not_empty_is_never_removed(world: World) -> None:
    (world.root / "nested/data").mkdir(parents=True)
    with pytest.raises(TargetUnwritable, match="not empty"):
        world.replay(borders=[b"nested"])
    assert (world.root / "nested/data").is_dir()


# A link in the tree is never followed.


@pytest.mark.parametrize(
    "command",
    [
        send.write(b"file", b"x"),
        send.truncate(b"file", 0),
        send.change_mode(b"file", 0o777),
        send.make_file(b"dir/new"),
        send.make_directory(b"dir/new"),
        send.make_symlink(b"dir/new", b"x"),
        send.unlink(b"dir/kept"),
        send.rename(b"dir/kept", b"stolen"),
        send.rename(b"mine", b"dir/kept"),
        send.link(b"stolen", b"dir/kept"),
        send.link(b"dir/new", b"mine"),
        send.write(b"dir/kept", b"x"),
        send.change_mode(b"dir/kept", 0o777),
        send.change_owner(b"dir/kept", os.getuid(), os.getgid()),
        send.set_times(b"dir/kept", atime=1, mtime=1),
        send.set_xattr(b"dir/kept", b"user.a", b"1"),
        send.remove_directory(b"dir/empty"),
        send.clone(b"mine", b"file", send.OWN_UUID, at=0, origin_at=0, size=1),
        send.clone(b"mine", b"dir/kept", send.PARENT_UUID, at=0, origin_at=0, size=1),
    ],
)
def test_a_symbolic_link_in_the_tree_leads_no_command_out_of_it(
    world: World, command: Command
) -> None:
    (world.outside / "empty").mkdir()
    for name in ("kept", "secret"):
        (world.outside / name).write_bytes(b"kept")
        (world.outside / name).chmod(0o640)
    for place in (world.root, world.parent):
        (place / "file").symlink_to(world.outside / "secret")
        (place / "dir").symlink_to(world.outside)
    (world.root / "mine").touch()
    before = [(path.name, path.stat()) for path in sorted(world.outside.iterdir())]
    with pytest.raises(DsgmigdError):
        world.replay(command)
    after = [(path.name, path.stat()) for path in sorted(world.outside.iterdir())]
    assert after == before
    assert (world.root / "mine").read_bytes() == b""


# Errors and stops.


def test_a_command_that_was_not_asked_for_is_corrupt(world: World) -> None:
    with pytest.raises(StreamCorrupt, match="ENCODED_WRITE is not one that was asked for"):
        world.replay(send.command(Kind.ENCODED_WRITE, b"f"))


def test_a_stream_without_data_is_refused_and_says_how_it_was_made(world: World) -> None:
    (world.root / "f").write_bytes(b"kept")
    with pytest.raises(StreamCorrupt, match=r"UPDATE_EXTENT carries no data: .* --no-data"):
        world.replay(send.command(Kind.UPDATE_EXTENT, b"f", file_offset=0, size=4096))
    assert (world.root / "f").read_bytes() == b"kept"


def test_a_corrupt_command_is_named_by_its_number_in_the_stream(world: World) -> None:
    with pytest.raises(StreamCorrupt, match="stream, command 3: RENAME lacks"):
        world.replay(send.make_file(b"f"), send.command(Kind.RENAME, b"f"))


@pytest.mark.parametrize(
    "command",
    [
        send.rename(b"", b".snap"),
        send.rename(b"f", b""),
        send.rename(b".snap", b""),
        send.link(b"", b".snap/f"),
        send.link(b"g", b""),
        send.remove_directory(b""),
        send.clone(b"f", b"", send.PARENT_UUID, at=0, origin_at=0, size=1),
    ],
)
def test_the_root_is_not_renamed_linked_or_removed(world: World, command: Command) -> None:
    (world.root / "f").write_bytes(b"kept")
    with pytest.raises(StreamCorrupt, match="names b'', which is no path"):
        world.replay(command)
    assert (world.root / "f").read_bytes() == b"kept"


@pytest.mark.parametrize(
    "command",
    [
        send.write(b"f", b"x", 2**63),
        send.truncate(b"f", 2**64 - 1),
        send.command(Kind.CHOWN, b"f", uid=2**40, gid=0),
        send.command(Kind.MKNOD, b"n", mode=2**63, rdev=0),
        send.command(Kind.CHMOD, b"f", mode=b"\xff" * 40),
        send.command(Kind.UTIMES, b"f", atime=b"\x7f" * 12, mtime=b"\x7f" * 40),
        send.clone(b"f", b"f", send.OWN_UUID, at=0, origin_at=2**63, size=1),
        send.make_symlink(b"l", b"a\0b"),
    ],
)
def test_what_no_system_call_takes_is_corrupt(world: World, command: Command) -> None:
    (world.root / "f").write_bytes(b"kept")
    with pytest.raises(StreamCorrupt, match="cannot be done"):
        world.replay(command)
    assert (world.root / "f").read_bytes() == b"kept"


@pytest.mark.parametrize(
    "command",
    [
        send.write(b"other", b"x"),
        send.truncate(b"other", 5),
        send.allocate(b"other", mode=0, offset=0, size=9),
        send.clone(b"f", b"other", send.OWN_UUID, at=0, origin_at=0, size=1),
        send.clone(b"f", b"other", send.PARENT_UUID, at=0, origin_at=0, size=1),
    ],
)
@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_only_a_regular_file_is_opened_for_its_content(
    world: World, command: Command, kind: int
) -> None:
    """Nobody is at the other end of the FIFO; the device, /dev/null, would take what is written."""
    for place in (world.root, world.parent):
        make_other(place / "other", kind)
    (world.root / "f").write_bytes(b"kept")
    with pytest.raises(StreamCorrupt, match="b'other' is no regular file"):
        world.replay(command)
    assert (world.root / "f").read_bytes() == b"kept"


def make_other(path: Path, kind: int) -> None:
    if kind == stat.S_IFDIR:
        path.mkdir()
    elif kind == stat.S_IFCHR and os.geteuid():
        pytest.skip("only root makes devices")
    else:
        os.mknod(path, kind | 0o600, os.makedev(1, 3))


def test_a_command_that_lacks_an_attribute_is_corrupt(world: World) -> None:
    with pytest.raises(StreamCorrupt, match="RENAME lacks its attribute"):
        world.replay(send.command(Kind.RENAME, b"f"))


def test_a_failure_of_the_target_names_command_and_path(world: World) -> None:
    with pytest.raises(TargetUnwritable, match="unlink of 'absent' failed on the target"):
        world.replay(send.unlink(b"absent"))


def test_a_file_that_exists_is_not_made_again(world: World) -> None:
    (world.root / "f").write_bytes(b"kept")
    with pytest.raises(TargetUnwritable, match="File exists"):
        world.replay(send.make_file(b"f"))
    assert (world.root / "f").read_bytes() == b"kept"


def test_flags_of_chattr_are_passed_over(world: World) -> None:
    (world.root / "f").touch()
    world.replay(send.command(Kind.FILEATTR, b"f", fileattr=1))
    assert world.events == []


def test_the_checkpoint_is_called_before_every_command_and_may_stop_the_replay(
    world: World,
) -> None:
    calls: list[None] = []

    def checkpoint() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise InterruptedByStop

    with pytest.raises(InterruptedByStop):
        world.replay(
            *(send.make_directory(name) for name in (b"a", b"b", b"c")), checkpoint=checkpoint
        )
    assert os.listdir(world.root) == ["a"]


def test_no_descriptor_is_left_open_whether_a_replay_succeeds_or_fails(world: World) -> None:
    (world.root / "d").mkdir()
    before = os.listdir("/proc/self/fd")
    world.replay(send.make_file(b"d/f"), send.write(b"d/f", b"x"))
    with pytest.raises(TargetUnwritable):
        world.replay(send.write(b"d/f", b"x"), send.unlink(b"absent"))
    assert os.listdir("/proc/self/fd") == before


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


def test_no_descriptor_is_left_open_when_the_parent_is_not_there(world: World) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(SourceUnreadable):
        Replay(str(world.root), world.listener, parent_root=str(world.parent / "absent"))
    assert os.listdir("/proc/self/fd") == before


# The border.


def test_what_is_excluded_is_never_made_and_nobody_hears_of_it(world: World) -> None:
    replay = world.replay(
        send.make_directory(b".snap"),
        send.make_file(b".snap/push.log"),
        send.write(b".snap/push.log", b"x"),
        send.make_symlink(b"HEAD", b"x"),
        send.set_times(b"HEAD", atime=1, mtime=1),
        send.change_mode(b".snap", 0o755),
        send.change_owner(b".snap", 1, 1),
        send.truncate(b".snap/push.log", 9),
        send.set_xattr(b".snap", b"user.a", b"1"),
        send.remove_xattr(b".snap", b"user.a"),
        send.link(b".snap/again", b".snap/push.log"),
        send.rename(b".snap/again", b".snap/more"),
        send.unlink(b".snap/more"),
        send.command(Kind.MKFIFO, b"lost+found", ino=1, rdev=0, mode=0o10644),
        send.remove_directory(b".snap"),
    )
    assert os.listdir(world.root) == []
    assert (world.events, replay.deferred) == ([], frozenset())


def test_what_crosses_the_border_outwards_is_removed_with_all_below_it(world: World) -> None:
    (world.root / "d" / "e").mkdir(parents=True)
    (world.root / "d" / "e" / "f").touch()
    (world.root / "g").touch()
    replay = world.replay(send.rename(b"d", b".snap"), send.rename(b"g", b".snap/g"))
    assert os.listdir(world.root) == []
    assert world.events == [("removed", b"d"), ("removed", b"g")]
    assert replay.deferred == frozenset()


def test_a_directory_of_any_depth_crosses_the_border_outwards(world: World) -> None:
    path = b"/".join([b"d"] * 1900)
    world.replay(*(send.make_directory(path[:end]) for end in range(1, len(path) + 1, 2)))
    world.replay(
        send.make_file(path + b"/f"), send.make_symlink(b"d/l", b"d"), send.rename(b"d", b".snap")
    )
    assert os.listdir(world.root) == []


def test_a_link_that_crosses_the_border_outwards_removes_nothing(world: World) -> None:
    (world.root / "f").touch()
    replay = world.replay(send.link(b"HEAD", b"f"))
    assert os.listdir(world.root) == ["f"]
    assert (world.events, replay.deferred) == ([], frozenset())


def test_what_crosses_the_border_inwards_is_deferred_and_left_alone(world: World) -> None:
    replay = world.replay(
        send.rename(b"HEAD", b"main"),
        send.write(b"main", b"x"),
        send.change_mode(b"main", 0o644),
        send.rename(b".snap", b"d"),
        send.make_file(b"d/new"),
        send.link(b"again", b"lost+found/f"),
    )
    assert os.listdir(world.root) == []
    assert replay.deferred == {b"main", b"d", b"again"}
    assert world.events == []


def test_a_clone_from_beyond_the_border_defers_the_file_that_was_there(world: World) -> None:
    (world.root / "f").write_bytes(b"old")
    replay = world.replay(send.clone(b"f", b"HEAD", send.OWN_UUID, at=0, origin_at=0, size=1))
    assert replay.deferred == {b"f"}
    assert os.listdir(world.root) == []
    assert world.events == [("removed", b"f")]


def test_a_clone_from_the_excluded_part_of_the_parent_is_read_there(world: World) -> None:
    (world.root / "f").write_bytes(b"old")
    (world.parent / "HEAD").write_bytes(b"new")
    replay = world.replay(send.clone(b"f", b"HEAD", send.PARENT_UUID, at=0, origin_at=0, size=3))
    assert (world.root / "f").read_bytes() == b"new"
    assert replay.deferred == frozenset()


def test_what_is_deferred_moves_along_with_its_directory(world: World) -> None:
    (world.root / "d").mkdir()
    replay = world.replay(send.rename(b"HEAD", b"d/f"), send.rename(b"d", b"e"))
    assert replay.deferred == {b"e/f"}


def test_what_is_deferred_is_forgotten_when_it_goes_away_again(world: World) -> None:
    (world.root / "d").mkdir()
    replay = world.replay(
        send.rename(b"HEAD", b"a"),
        send.unlink(b"a"),
        send.rename(b".snap", b"b"),
        send.rename(b"b", b".snap"),
        send.rename(b"lost+found", b"c"),
        send.remove_directory(b"c"),
        send.link(b"d/f", b".zfs/f"),
        send.rename(b"d", b"HEAD"),
    )
    assert replay.deferred == frozenset()


def test_a_name_inside_a_deferred_directory_that_moves_out_is_deferred_itself(
    world: World,
) -> None:
    replay = world.replay(send.rename(b".snap", b"d"), send.rename(b"d/f", b"g"))
    assert replay.deferred == {b"d", b"g"}


# A model: the same operations on a source directory and, as commands, on staging.

NAMES = [b"a", b"b", b"HEAD", b".snap", b"d"]


class Model:
    """A source in which operations are done, and the commands that tell of them."""

    def __init__(self, source: Path) -> None:
        self.source = os.fsencode(source)
        self.commands: list[Command] = []

    def at(self, path: bytes) -> bytes:
        return self.source + b"/" + path

    def is_directory(self, path: bytes) -> bool:
        return os.path.isdir(self.at(path)) and not os.path.islink(self.at(path))

    def exists(self, path: bytes) -> bool:
        return os.path.lexists(self.at(path))

    def is_free(self, path: bytes) -> bool:
        return not self.exists(path) and self.is_directory(path.rpartition(b"/")[0])

    def apply(self, operation: str, path: bytes, other: bytes, text: bytes) -> None:
        """Do an operation if a file system allows it, and note the command."""
        getattr(self, operation)(path, other, text)

    def make_file(self, path: bytes, _: bytes, text: bytes) -> None:
        if self.is_free(path):
            with open(self.at(path), "wb") as file:
                file.write(text)
            self.commands += [send.make_file(path), send.write(path, text)]

    def make_directory(self, path: bytes, *_: bytes) -> None:
        if self.is_free(path):
            os.mkdir(self.at(path))
            self.commands.append(send.make_directory(path))

    def rename(self, old: bytes, new: bytes, _: bytes) -> None:
        if self.exists(old) and self.is_free(new) and not (new + b"/").startswith(old + b"/"):
            os.rename(self.at(old), self.at(new))
            self.commands.append(send.rename(old, new))

    def link(self, existing: bytes, path: bytes, _: bytes) -> None:
        if self.exists(existing) and not self.is_directory(existing) and self.is_free(path):
            os.link(self.at(existing), self.at(path))
            self.commands.append(send.link(path, existing))

    def remove(self, path: bytes, *_: bytes) -> None:
        if self.is_directory(path):
            for name in os.listdir(self.at(path)):
                self.remove(path + b"/" + name)
            os.rmdir(self.at(path))
            self.commands.append(send.remove_directory(path))
        elif self.exists(path):
            os.unlink(self.at(path))
            self.commands.append(send.unlink(path))

    def clone(self, path: bytes, origin: bytes, _: bytes) -> None:
        if all(self.exists(one) and not self.is_directory(one) for one in (path, origin)):
            with open(self.at(origin), "rb") as file:
                data = file.read()
            with open(self.at(path), "r+b") as file:
                file.write(data)
            command = send.clone(path, origin, send.OWN_UUID, at=0, origin_at=0, size=len(data))
            self.commands.append(command)


PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(b"/".join)
OPERATIONS = st.tuples(
    st.sampled_from(["make_file", "make_directory", "rename", "rename", "remove", "clone"]),
    PATHS,
    PATHS,
    st.binary(min_size=1, max_size=3),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(OPERATIONS, max_size=12), st.lists(OPERATIONS, max_size=12))
def test_staging_holds_what_the_source_holds_less_the_excluded_whatever_happened(
    before: list[tuple[str, bytes, bytes, bytes]], operations: list[tuple[str, bytes, bytes, bytes]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        source, root = Path(directory, "source"), Path(directory, "root")
        source.mkdir()
        model = Model(source)
        for operation in before:
            model.apply(*operation)
        shutil.copytree(source, root, ignore=_excluded_below(source))
        model.commands.clear()
        for operation in operations:
            model.apply(*operation)
        replay = Replay(str(root), Listener())
        replay.apply([send.begin(), *model.commands], checkpoint=lambda: None)
        for path in sorted(replay.deferred):
            _copy(os.fsencode(source) + b"/" + path, os.fsencode(root) + b"/" + path)
        expected = Path(directory, "expected")
        shutil.copytree(source, expected, ignore=_excluded_below(source))
        assert tree_of(root) == tree_of(expected)


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
def test_a_file_that_stays_open_is_what_it_would_be_otherwise(
    operations: list[tuple[str, str, str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        source, root = Path(directory, "source"), Path(directory, "root")
        source.mkdir()
        root.mkdir()
        plain = PlainFiles(source)
        for operation in operations:
            plain.do(*operation)
        Replay(str(root), Listener()).apply(
            [send.begin(), *plain.commands], checkpoint=lambda: None
        )
        timed = {path.name for path in source.iterdir() if path.stat().st_mtime < 1000}
        assert PlainFiles(root).facts(times=timed) == plain.facts(times=timed)


@pytest.mark.parametrize(
    "path",
    [
        b"../escaped",
        b"a/../../escaped",
        b"..",
        b"a\0b",
        b"",
        b"/a",
        b"a/",
        b"a//b",
        b"./.snap",
        b".",
    ],
)
def test_a_path_that_leads_out_of_the_tree_is_no_send_stream(world: World, path: bytes) -> None:
    with pytest.raises(StreamCorrupt, match="is no path below the snapshot"):
        world.replay(send.make_file(path))
    assert not (world.root.parent / "escaped").exists()


def test_a_change_by_a_name_that_nobody_follows_is_told_by_inode_if_there_are_other_names(
    world: World,
) -> None:
    (world.root / ".alone").touch()
    (world.root / "a").touch()
    (world.root / ".h").hardlink_to(world.root / "a")
    inode = (world.root / ".h").stat().st_ino
    world.listener.unfollowed = {b".h", b".alone"}
    world.replay(send.write(b".alone", b"x"), send.write(b".h", b"x"))
    told = [event for event in world.events if event[0] == "link_group_changed"]
    assert told == [("link_group_changed", b"%d" % inode)]


def test_what_changes_outside_the_border_is_remembered(world: World) -> None:
    replay = Replay(str(world.root), world.listener)
    commands = [send.begin(), send.write(b"HEAD", b"x"), send.make_file(b"inside")]
    replay.apply(commands, checkpoint=lambda: None)
    assert replay.changed_outside == {b"HEAD"}


def _excluded_below(root: Path) -> Callable[[str, list[str]], set[str]]:
    def ignore(directory: str, names: list[str]) -> set[str]:
        if directory != str(root):
            return set()
        return {name for name in names if is_excluded_name(os.fsencode(name))}

    return ignore


def _copy(source: bytes, target: bytes) -> None:
    if os.path.isdir(source):
        shutil.copytree(os.fsdecode(source), os.fsdecode(target), dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def tree_of(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in root.rglob("*")
    }
