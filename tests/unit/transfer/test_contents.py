"""One step of staging: replayed or copied, and what is copied after a replay."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsgmigd.errors import CommandFailed, SourceUnreadable
from dsgmigd.host.command import Commands
from dsgmigd.host.directories import Directories
from dsgmigd.names import SnapshotName
from dsgmigd.source import btrfs_send
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.transfer import contents, nested_subvolumes
from dsgmigd.transfer.contents import ContentWriter, OpenStep, Transfer
from dsgmigd.transfer.rsync import Rsync
from tests.unit.send_streams import Pieces, stream_bytes
from tests.unit.transfer.replay_world import Listener, tree_of

pytestmark = pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")

SNAPSHOT: tuple[int, Pieces] = (
    2,
    {15: b"s2", 1: bytes(16), 2: bytes(8), 20: bytes(16), 21: bytes(8)},
)
RENAME_TO_ORPHAN: tuple[int, Pieces] = (9, {15: b"d", 16: b"o257-14365-0"})
RENAME_FROM_HEAD: tuple[int, Pieces] = (9, {15: b"HEAD", 16: b"main"})
WRITE_TO_HEAD: tuple[int, Pieces] = (15, {15: b"HEAD", 18: bytes(8), 19: b"new"})
CHATTR: tuple[int, Pieces] = (24, {15: b"", 26: bytes(8)})
END: tuple[int, Pieces] = (21, {})


@dataclass
class Counted:
    """Counts checkpoints and bytes."""

    bytes_written: int = 0
    checkpoints: int = 0

    def checkpoint(self) -> None:
        """Count."""
        self.checkpoints += 1


class World:
    """Two snapshots in plain directories, and staging, which holds the first one."""

    def __init__(self, top: Path, opened: ExitStack) -> None:
        self.top = top
        self.listener = Listener()
        self.progress = Counted()
        for name in ("s1", "s2", "staging"):
            (top / name).mkdir()
        self.step = OpenStep(
            self.held(2),
            self.held(1),
            opened.enter_context(Directories(str(top / "s2"))),
            opened.enter_context(Directories(str(top / "staging"))),
            str(top / "staging"),
        )
        self.writer = ContentWriter(
            Commands(),
            Capabilities(acls=False, xattrs=False),
            allowed=(),
            send_protocol=1,
            progress=self.progress,
        )

    def held(self, number: int) -> HeldSnapshot:
        path = str(self.top / f"s{number}")
        return HeldSnapshot(
            SnapshotName(number), path, "uuid", 1, 0.0, is_sendable=True, is_pinned=True
        )

    def send(self, monkeypatch: pytest.MonkeyPatch, *commands: tuple[int, Pieces]) -> None:
        """Let `btrfs send` write these commands."""
        (self.top / "stream").write_bytes(stream_bytes([SNAPSHOT, *commands, END]))
        argv = ["cat", str(self.top / "stream")]
        monkeypatch.setattr(btrfs_send, "send_command", lambda *_: argv)

    def write(self, *, is_sent: bool = True, nested: frozenset[bytes] = frozenset()) -> Transfer:
        return self.writer.write(self.step, self.listener, nested, is_sent=is_sent)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as opened:
        yield World(tmp_path, opened)


def test_a_snapshot_that_is_not_sent_is_copied_by_rsync_and_not_reported(world: World) -> None:
    (world.top / "s2/f").write_text("new")
    (world.top / "staging/old").touch()
    world.write(is_sent=False)
    assert tree_of(world.top / "staging") == {"f": b"new"}
    assert world.listener.events == []


def test_bytes_and_checkpoints_of_a_replay_are_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.top / "staging/f").touch()
    world.progress.bytes_written = 100
    world.send(monkeypatch, (15, {15: b"f", 18: bytes(8), 19: b"12345"}))
    world.write()
    assert world.progress.bytes_written == 105
    assert world.progress.checkpoints == 3  # before each command, and at the end


def test_a_step_says_how_it_was_taken_and_what_no_target_gets(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(monkeypatch, CHATTR)
    assert world.write() == Transfer(1, Counter({"chattr flags": 1}))
    assert world.write(is_sent=False) == Transfer()


def test_a_deferred_path_is_copied_and_reported(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.top / "s2/main").write_text("came out of HEAD")
    world.send(monkeypatch, RENAME_FROM_HEAD)
    world.write()
    assert tree_of(world.top / "staging") == {"main": b"came out of HEAD"}
    assert world.listener.events == [("appeared", b"main")]


def test_a_file_that_changed_through_an_excluded_name_is_copied_by_its_migrated_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.top / "s2/HEAD").write_text("new")
    (world.top / "s2/f").hardlink_to(world.top / "s2/HEAD")
    (world.top / "staging/f").write_text("old")
    world.send(monkeypatch, WRITE_TO_HEAD)
    world.write()
    assert tree_of(world.top / "staging") == {"f": b"new"}
    assert world.listener.events == [("appeared", b"f")]


def test_a_directory_that_rsync_replaced_is_not_reached_through_an_old_descriptor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rsync is free to replace what the replay has opened before."""
    (world.top / "staging/d").mkdir()
    (world.top / "s2/d").mkdir()
    (world.top / "s2/main").touch()

    def copy_paths(*_: object) -> None:
        (world.top / "staging/d").rename(world.top / "replaced")
        (world.top / "staging/d").mkdir()

    monkeypatch.setattr(Rsync, "copy_paths", copy_paths)
    world.send(monkeypatch, (3, {15: b"d/f"}), (11, {15: b"d/f"}), RENAME_FROM_HEAD)
    world.write()
    assert world.step.staging.lstat(b"d").st_ino == (world.top / "staging/d").stat().st_ino
    descriptor = world.step.staging.open(b"d")
    assert os.fstat(descriptor).st_ino == (world.top / "staging/d").stat().st_ino


def test_nested_subvolumes_become_empty_directories_and_stay_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.top / "s2/nested").mkdir()
    number = (world.top / "s2/nested").stat().st_ino
    monkeypatch.setattr(nested_subvolumes, "EMPTY_SUBVOL_DIR_OBJECTID", number)
    world.send(monkeypatch)
    world.write(nested=frozenset({b"nested", b"gone"}))
    assert tree_of(world.top / "staging") == {"nested": None}
    world.write()
    assert tree_of(world.top / "staging") == {"nested": None}


def test_nested_subvolumes_of_an_earlier_run_are_renamed_with_their_directories(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.top / "staging/d/nested").mkdir(parents=True)
    (world.top / "s2/e").mkdir()
    world.writer.set_nested(["d/nested"])
    world.send(monkeypatch, (9, {15: b"d", 16: b"e"}))
    world.write()
    assert tree_of(world.top / "staging") == {"e": None}


def test_a_directory_that_the_stream_renames_away_and_does_not_remove_is_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel does so if a nested subvolume was deleted together with its directory."""
    (world.top / "staging/d/nested").mkdir(parents=True)
    (world.top / "staging/d/f").touch()
    world.writer.set_nested(["d/nested"])
    world.send(monkeypatch, RENAME_TO_ORPHAN)
    world.write()
    assert tree_of(world.top / "staging") == {}
    assert world.listener.events[-1] == ("removed", b"o257-14365-0")


def test_a_directory_of_the_source_stays_whatever_its_name_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for directory in ("staging/d", "s2/o257-14365-0"):
        (world.top / directory).mkdir()
    (world.top / "staging/o1-1-1").mkdir()
    world.send(monkeypatch, RENAME_TO_ORPHAN)
    world.write()
    assert tree_of(world.top / "staging") == {"o257-14365-0": None, "o1-1-1": None}


def test_the_error_of_the_program_is_raised_if_every_file_can_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["sh", "-c", "echo broken >&2; exit 1"]
    monkeypatch.setattr(btrfs_send, "send_command", lambda *_: argv)
    with pytest.raises(CommandFailed, match="broken"):
        world.write()


def test_the_file_that_the_program_could_not_read_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_file(*_: object) -> None:
        raise SourceUnreadable("reading 'f' failed", hint="")

    monkeypatch.setattr(contents, "raise_unreadable", find_file)
    monkeypatch.setattr(btrfs_send, "send_command", lambda *_: ["false"])
    with pytest.raises(SourceUnreadable, match="reading 'f' failed"):
        world.write()
