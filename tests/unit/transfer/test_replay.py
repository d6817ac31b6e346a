"""Replay of a send stream: clones, losses, corrupt commands, errors, stops and reports."""

import os
import zlib

import pytest

from dsgmigd.errors import (
    InterruptedByStop,
    LossNotAllowed,
    SourceUnreadable,
    StreamCorrupt,
    TargetUnwritable,
)
from dsgmigd.source.send_stream import Command, Field, Kind
from dsgmigd.target.capabilities import Capabilities
from tests.unit import send_commands as send
from tests.unit.transfer.replay_world import World


def test_many_writes_to_one_file_are_one_change_of_content(world: World) -> None:
    (world.root / "f").touch()
    world.replay(*(send.write(b"f", b"x", offset) for offset in range(5)))
    assert world.events == [("content_changed", b"f")]


def test_an_unknown_fallocate_mode_is_corrupt(world: World) -> None:
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


def test_a_long_clone_can_be_stopped(world: World) -> None:
    (world.parent / "g").write_bytes(b"x" * 3_000_000)
    calls = []
    world.replay(
        send.make_file(b"f"),
        send.clone(b"f", b"g", send.PARENT_UUID, at=0, origin_at=0, size=3_000_000),
        checkpoint=lambda: calls.append(1),
    )
    assert len(calls) > 4


def test_a_clone_beyond_the_end_of_its_source_is_corrupt(world: World) -> None:
    (world.parent / "g").write_bytes(b"short")
    with pytest.raises(StreamCorrupt, match="beyond the end"):
        world.replay(
            send.make_file(b"f"),
            send.clone(b"f", b"g", send.PARENT_UUID, at=0, origin_at=0, size=6),
        )


def test_a_clone_from_a_snapshot_that_is_not_the_parent_is_corrupt(world: World) -> None:
    with pytest.raises(StreamCorrupt, match="not the parent"):
        world.replay(
            send.make_file(b"f"),
            send.clone(b"f", b"g", send.PARENT_UUID, at=0, origin_at=0, size=1),
            has_parent=False,
        )


def test_a_clone_from_a_third_snapshot_is_corrupt(world: World) -> None:
    (world.parent / "g").write_bytes(b"of the parent")
    with pytest.raises(StreamCorrupt, match="not the parent"):
        world.replay(
            send.make_file(b"f"),
            send.clone(b"f", b"g", b"a third one     ", at=0, origin_at=0, size=1),
        )


@pytest.mark.parametrize(
    ("transaction", "content"),
    [(send.OWN_TRANSACTION, b"own"), (send.PARENT_TRANSACTION, b"old")],
)
def test_snapshots_of_one_received_subvolume_are_told_apart_by_their_transactions(
    world: World, transaction: int, content: bytes
) -> None:
    """Their streams name the UUID of what was received, not their own."""
    (world.root / "g").write_bytes(b"own")
    (world.parent / "g").write_bytes(b"old")
    uuid = b"what was sent   "
    world.replay(
        send.make_file(b"f"),
        send.clone(b"f", b"g", uuid, at=0, origin_at=0, size=3, transaction=transaction),
        first=send.begin(uuid, uuid),
    )
    assert (world.root / "f").read_bytes() == content


def test_a_file_of_the_parent_that_cannot_be_opened_is_an_error_of_the_source(
    world: World,
) -> None:
    with pytest.raises(SourceUnreadable, match="'g' in the parent snapshot"):
        world.replay(
            send.make_file(b"f"),
            send.clone(b"f", b"g", send.PARENT_UUID, at=0, origin_at=0, size=1),
        )


def test_a_second_snapshot_in_one_stream_is_corrupt(world: World) -> None:
    with pytest.raises(StreamCorrupt, match="command 2: SNAPSHOT begins a second snapshot"):
        world.replay(send.begin())


def test_a_command_before_the_first_snapshot_is_corrupt(world: World) -> None:
    with pytest.raises(StreamCorrupt, match="command 1: MKFILE comes before"):
        world.replay(first=send.make_file(b"f"))
    assert not (world.root / "f").exists()


def test_extended_attributes_that_the_target_cannot_hold_end_the_replay(world: World) -> None:
    (world.root / "f").touch()
    with pytest.raises(LossNotAllowed, match=r"'f' has user\.a, which the target cannot hold"):
        world.replay(send.set_xattr(b"f", b"user.a", b"1"), capabilities=Capabilities(xattrs=False))


def test_extended_attributes_may_be_lost_when_that_is_allowed(world: World) -> None:
    (world.root / "f").touch()
    world.replay(
        send.set_xattr(b"f", b"user.a", b"1"),
        send.remove_xattr(b"f", b"user.a"),
        capabilities=Capabilities(xattrs=False),
        allowed=["xattr"],
    )
    assert os.listxattr(world.root / "f") == []


def test_an_acl_is_a_loss_of_its_own(world: World) -> None:
    (world.root / "f").touch()
    set_acl = send.set_xattr(b"f", b"system.posix_acl_access", b"1")
    with pytest.raises(LossNotAllowed, match=r"system\.posix_acl_access") as caught:
        world.replay(set_acl, capabilities=Capabilities(acls=False), allowed=["xattr"])
    assert '"allow_loss": ["acl"]' in caught.value.hint
    world.replay(set_acl, capabilities=Capabilities(acls=False), allowed=["acl"])


def test_btrfs_storage_attributes_are_not_carried_over(world: World) -> None:
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
        capabilities=Capabilities(earliest_mtime=0, latest_mtime=4000),
        allowed=["mtime_range"],
    )
    assert (world.root / "f").stat().st_mtime_ns == 4000 * 10**9


def test_times_out_of_range_without_an_allowed_loss_end_the_replay(world: World) -> None:
    (world.root / "f").touch()
    with pytest.raises(LossNotAllowed, match="time out of range"):
        world.replay(
            send.set_times(b"f", atime=0, mtime=10**9 * 5000),
            capabilities=Capabilities(latest_mtime=4000),
        )


def test_a_part_of_a_compressed_extent_is_written_where_it_belongs(world: World) -> None:
    (world.root / "f").write_bytes(b"-" * 20)
    data = zlib.compress(b"0123456789")
    world.replay(
        send.write_encoded(b"f", data, compression=1, length=4096, start=3, size=5, file_offset=8)
    )
    assert (world.root / "f").read_bytes() == b"-" * 8 + b"34567" + b"-" * 7
    assert world.events == [("content_changed", b"f")]


def test_an_inline_extent_stands_for_a_whole_sector(world: World) -> None:
    (world.root / "f").write_bytes(b"-" * 9000)
    data = zlib.compress(b"x" * 1500)
    world.replay(send.write_encoded(b"f", data, compression=1, length=1500))
    assert (world.root / "f").read_bytes() == (b"x" * 1500).ljust(4096, b"\0") + b"-" * 4904


def test_an_inline_extent_does_not_make_its_file_longer(world: World) -> None:
    (world.root / "f").touch()
    data = zlib.compress(b"x" * 1500)
    world.replay(send.write_encoded(b"f", data, compression=1, length=1500))
    assert (world.root / "f").read_bytes() == b"x" * 1500


def test_the_attributes_of_a_write_that_is_not_compressed_may_be_missing(world: World) -> None:
    (world.root / "f").touch()
    kind, attributes = send.write_encoded(b"f", b"data", compression=0, length=4)
    del attributes[Field.COMPRESSION]
    world.replay((kind, attributes))
    assert (world.root / "f").read_bytes() == b"data"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encryption": 1}, "ENCODED_WRITE has encrypted data for b'f'"),
        ({"start": 1, "size": 4}, "of b'f' writes beyond the end of its extent"),
        ({"compression": 9}, "cannot be applied: compression 9 is unknown"),
        ({"compression": 1}, "cannot be applied: the zlib stream is invalid"),
        ({"length": 1 << 40}, "extent of 1099511627776 bytes is longer"),
    ],
)
def test_an_encoded_write_that_cannot_be_right_is_corrupt(
    world: World, options: dict[str, int], words: str
) -> None:
    (world.root / "f").write_bytes(b"kept")
    with pytest.raises(StreamCorrupt, match=words):
        world.replay(
            send.write_encoded(b"f", b"data", **{"compression": 0, "length": 4, **options})
        )
    assert (world.root / "f").read_bytes() == b"kept"


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
def test_a_value_that_no_system_call_accepts_is_corrupt(world: World, command: Command) -> None:
    (world.root / "f").write_bytes(b"kept")
    with pytest.raises(StreamCorrupt, match="cannot be applied"):
        world.replay(command)
    assert (world.root / "f").read_bytes() == b"kept"


def test_a_command_that_lacks_an_attribute_is_corrupt(world: World) -> None:
    with pytest.raises(StreamCorrupt, match="RENAME lacks the attribute PATH_TO"):
        world.replay(send.command(Kind.RENAME, b"f"))


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
def test_a_path_that_leads_out_of_the_tree_is_corrupt(world: World, path: bytes) -> None:
    with pytest.raises(StreamCorrupt, match="is not below the snapshot"):
        world.replay(send.make_file(path))
    assert not (world.root.parent / "escaped").exists()


def test_a_change_through_an_untracked_name_is_reported_by_inode_if_the_file_has_other_names(
    world: World,
) -> None:
    (world.root / ".alone").touch()
    (world.root / "a").touch()
    (world.root / ".h").hardlink_to(world.root / "a")
    inode = (world.root / ".h").stat().st_ino
    world.listener.untracked = {b".h", b".alone"}
    world.replay(send.write(b".alone", b"x"), send.write(b".h", b"x"))
    told = [event for event in world.events if event[0] == "link_group_changed"]
    assert told == [("link_group_changed", b"%d" % inode)]
