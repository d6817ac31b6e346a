"""Names and attributes in the tree below a descriptor, as a replay changes them."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.errors import (
    DsgmigdError,
    StreamCorrupt,
    TargetUnwritable,
)
from dsgmigd.source.send_stream import Command, Kind
from tests.unit import send_commands as send
from tests.unit.transfer.replay_world import World, mode_of, tree_of


def test_a_file_is_made_empty_and_for_its_owner_only(world: World) -> None:
    world.replay(send.make_file(b"f"))
    assert (world.root / "f").read_bytes() == b""
    assert mode_of(world.root / "f") == 0o600
    assert world.events == [("created", b"f")]


def test_a_directory_is_made_for_its_owner_only(world: World) -> None:
    world.replay(send.make_directory(b"d"), send.make_file(b"d/f"))
    assert mode_of(world.root / "d") == 0o700
    assert world.events == [("created_directory", b"d"), ("created", b"d/f")]


def test_a_file_replaces_what_has_its_last_name(world: World) -> None:
    (world.root / "f").write_bytes(b"old")
    world.replay(send.make_file(b"o1-1-0"), send.rename(b"o1-1-0", b"f"), send.write(b"f", b"new"))
    assert tree_of(world.root) == {"f": b"new"}


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
def test_fifos_sockets_and_nodes_are_created_with_their_type(
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


def test_two_directories_can_exchange_their_names(world: World) -> None:
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


def test_names_may_be_any_bytes(world: World) -> None:
    for name in (b"a b", b"new\nline", b"latin-\xe9", b"-rf", "ünï".encode(), b"n" * 255):
        world.replay(send.make_directory(name), send.make_file(name + b"/" + name))
        assert os.listdir(os.fsencode(world.root) + b"/" + name) == [name]


def test_a_mode_is_set_with_all_its_twelve_bits(world: World) -> None:
    (world.root / "f").touch()
    world.replay(send.change_mode(b"f", 0o106755))
    assert mode_of(world.root / "f") == 0o6755


def test_the_owner_of_a_link_is_changed_and_not_its_targets(world: World) -> None:
    (world.outside / "f").touch()
    (world.root / "l").symlink_to(world.outside / "f")
    before = (world.outside / "f").stat().st_ctime_ns
    world.replay(send.change_owner(b"l", os.getuid(), os.getgid()))
    assert (world.outside / "f").stat().st_ctime_ns == before


@pytest.mark.parametrize("kind", ["directory", "file", "pipe"])
def test_a_change_of_owner_keeps_the_set_id_bits(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """zfs-fuse clears them on a directory too; other file systems on anything else."""
    path = world.root / "x"
    make: dict[str, Callable[[], object]] = {
        "directory": path.mkdir,
        "file": path.touch,
        "pipe": lambda: os.mkfifo(path),
    }
    make[kind]()
    path.chmod(0o2755)
    chown = os.chown

    def chown_as_zfs_fuse(name: bytes, *ids: int, **options: Any) -> None:
        chown(name, *ids, **options)
        path.chmod(0o755)

    monkeypatch.setattr(os, "chown", chown_as_zfs_fuse)
    world.replay(send.change_owner(b"x", os.getuid(), os.getgid()))
    assert mode_of(path) == 0o2755


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


def test_extended_attributes_are_set_and_removed_or_the_error_names_the_target(
    world: World,
) -> None:
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
    """A FIFO without a reader would block; the device, /dev/null, would accept the data."""
    for place in (world.root, world.parent):
        make_other(place / "other", kind)
    (world.root / "f").write_bytes(b"kept")
    with pytest.raises(StreamCorrupt, match="b'other' is not a regular file"):
        world.replay(command)
    assert (world.root / "f").read_bytes() == b"kept"


def make_other(path: Path, kind: int) -> None:
    if kind == stat.S_IFDIR:
        path.mkdir()
    elif kind == stat.S_IFCHR and os.geteuid():
        pytest.skip("only root makes devices")
    else:
        os.mknod(path, kind | 0o600, os.makedev(1, 3))


def test_a_file_that_exists_is_not_made_again(world: World) -> None:
    (world.root / "f").write_bytes(b"kept")
    with pytest.raises(TargetUnwritable, match="File exists"):
        world.replay(send.make_file(b"f"))
    assert (world.root / "f").read_bytes() == b"kept"
