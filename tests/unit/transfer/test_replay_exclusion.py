"""Replays that touch what is excluded, what is deferred, and nested subvolumes."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsgmigd.errors import (
    TargetUnwritable,
)
from dsgmigd.exclusion import is_excluded_name
from dsgmigd.source.send_stream import Command, Kind
from tests.unit import send_commands as send
from tests.unit.transfer.replay_world import Listener, World, replay_onto, tree_of


def test_nested_subvolumes_are_removed_and_deferred_and_renamed_with_their_directories(
    world: World,
) -> None:
    (world.root / "a/nested").mkdir(parents=True)
    replay = world.replay(send.rename(b"a", b"b"), nested=[b"a/nested"])
    assert replay.deferred == {b"b/nested"}
    assert os.listdir(world.root / "b") == []


def test_a_nested_subvolume_whose_directory_is_not_empty_is_not_removed(world: World) -> None:
    (world.root / "nested/data").mkdir(parents=True)
    with pytest.raises(TargetUnwritable, match="not empty"):
        world.replay(nested=[b"nested"])
    assert (world.root / "nested/data").is_dir()


def test_what_is_excluded_is_not_created_and_not_reported(world: World) -> None:
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


def test_what_is_renamed_into_the_excluded_part_is_removed_with_everything_below_it(
    world: World,
) -> None:
    (world.root / "d" / "e").mkdir(parents=True)
    (world.root / "d" / "e" / "f").touch()
    (world.root / "g").touch()
    replay = world.replay(send.rename(b"d", b".snap"), send.rename(b"g", b".snap/g"))
    assert os.listdir(world.root) == []
    assert world.events == [("removed", b"d"), ("removed", b"g")]
    assert replay.deferred == frozenset()


def test_a_directory_of_any_depth_can_be_renamed_into_the_excluded_part(world: World) -> None:
    path = b"/".join([b"d"] * 1900)
    world.replay(*(send.make_directory(path[:end]) for end in range(1, len(path) + 1, 2)))
    world.replay(
        send.make_file(path + b"/f"), send.make_symlink(b"d/l", b"d"), send.rename(b"d", b".snap")
    )
    assert os.listdir(world.root) == []


def test_a_hard_link_in_the_excluded_part_removes_nothing(world: World) -> None:
    (world.root / "f").touch()
    replay = world.replay(send.link(b"HEAD", b"f"))
    assert os.listdir(world.root) == ["f"]
    assert (world.events, replay.deferred) == ([], frozenset())


def test_what_is_renamed_out_of_the_excluded_part_is_deferred_and_not_created(world: World) -> None:
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


def test_a_clone_from_an_excluded_file_defers_the_file_that_was_there(world: World) -> None:
    (world.root / "f").write_bytes(b"old")
    replay = world.replay(send.clone(b"f", b"HEAD", send.OWN_UUID, at=0, origin_at=0, size=1))
    assert replay.deferred == {b"f"}
    assert os.listdir(world.root) == []
    assert world.events == [("removed", b"f")]


def test_commands_for_a_file_that_was_just_deferred_are_skipped(world: World) -> None:
    replay = world.replay(
        send.make_file(b"f"),
        send.write(b"f", b"old"),
        send.clone(b"f", b"HEAD", send.OWN_UUID, at=0, origin_at=0, size=1),
        send.write(b"f", b"new"),
        send.set_times(b"f", atime=1, mtime=2),
    )
    assert replay.deferred == {b"f"}
    assert os.listdir(world.root) == []
    assert world.listener.contents == {}


def test_a_clone_from_the_excluded_part_of_the_parent_is_read_there(world: World) -> None:
    (world.root / "f").write_bytes(b"old")
    (world.parent / "HEAD").write_bytes(b"new")
    replay = world.replay(send.clone(b"f", b"HEAD", send.PARENT_UUID, at=0, origin_at=0, size=3))
    assert (world.root / "f").read_bytes() == b"new"
    assert replay.deferred == frozenset()


def test_a_deferred_path_is_renamed_along_with_its_directory(world: World) -> None:
    (world.root / "d").mkdir()
    replay = world.replay(send.rename(b"HEAD", b"d/f"), send.rename(b"d", b"e"))
    assert replay.deferred == {b"e/f"}


def test_a_deferred_path_is_forgotten_when_it_is_removed_or_excluded_again(world: World) -> None:
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


def test_what_is_renamed_out_of_a_deferred_directory_is_deferred_itself(
    world: World,
) -> None:
    replay = world.replay(send.rename(b".snap", b"d"), send.rename(b"d/f", b"g"))
    assert replay.deferred == {b"d", b"g"}


NAMES = [b"a", b"b", b"HEAD", b".snap", b"d"]


class Model:
    """A source in which operations are done, and the commands that describe them."""

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
def test_after_any_operations_staging_equals_the_source_without_what_is_excluded(
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
        replay = replay_onto(root, Listener(), *model.commands)
        for path in sorted(replay.deferred):
            _copy(os.fsencode(source) + b"/" + path, os.fsencode(root) + b"/" + path)
        expected = Path(directory, "expected")
        shutil.copytree(source, expected, ignore=_excluded_below(source))
        assert tree_of(root) == tree_of(expected)


def test_the_absent_paths_that_a_stream_changed_are_known(world: World) -> None:
    replay = world.replay(send.write(b"HEAD", b"x"), send.make_file(b"inside"))
    assert replay.changed_absent == {b"HEAD"}


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
