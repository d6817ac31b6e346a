"""Replay of a send stream: corrupt commands, errors and stops."""

import os

import pytest

from dsgmigd.errors import (
    InterruptedByStop,
    StreamCorrupt,
    TargetUnwritable,
)
from dsgmigd.source.send_stream import Command, Kind
from tests.unit import send_commands as send
from tests.unit.transfer.replay_world import World


def test_a_second_snapshot_in_one_stream_is_corrupt(world: World) -> None:
    with pytest.raises(StreamCorrupt, match="command 2: SNAPSHOT begins a second snapshot"):
        world.replay(send.begin())


def test_a_command_before_the_first_snapshot_is_corrupt(world: World) -> None:
    with pytest.raises(StreamCorrupt, match="command 1: MKFILE comes before"):
        world.replay(first=send.make_file(b"f"))
    assert not (world.root / "f").exists()


def test_the_table_of_commands_is_complete(world: World) -> None:
    elsewhere = {Kind.SUBVOL, Kind.SNAPSHOT, Kind.RENAME, Kind.UPDATE_EXTENT, Kind.END}
    counted = {Kind.FILEATTR, Kind.ENABLE_VERITY}
    assert world.replay()._handlers.keys() == set(Kind) - elsewhere - counted


def test_a_stream_without_data_is_refused_and_says_how_it_was_made(world: World) -> None:
    (world.root / "f").write_bytes(b"kept")
    with pytest.raises(StreamCorrupt, match=r"UPDATE_EXTENT has no data: .* --no-data"):
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
    with pytest.raises(StreamCorrupt, match="has the path b'', which is not below"):
        world.replay(send.change_mode(b"", 0o755), command)
    assert (world.root / "f").read_bytes() == b"kept"


def test_a_failure_of_the_target_names_command_and_path(world: World) -> None:
    with pytest.raises(TargetUnwritable, match="unlink of 'absent' failed on the target"):
        world.replay(send.unlink(b"absent"))


def test_what_no_target_gets_is_counted(world: World) -> None:
    (world.root / "f").touch()
    replay = world.replay(
        send.command(Kind.FILEATTR, b"", fileattr=1),
        send.command(Kind.FILEATTR, b"f", fileattr=1),
        send.command(Kind.ENABLE_VERITY, b"f", verity_algorithm=b"\1", verity_block_size=4096),
        send.command(Kind.FILEATTR, b"HEAD", fileattr=1),
    )
    assert replay.not_carried == {"chattr flags": 2, "fs-verity": 1}
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
