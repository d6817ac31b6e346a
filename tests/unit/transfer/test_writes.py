"""Clones, compressed extents and allocations of a replay."""

import os
import zlib

import pytest

from dsgmigd.errors import (
    SourceUnreadable,
    StreamCorrupt,
)
from dsgmigd.source.send_stream import Field
from tests.unit import send_commands as send
from tests.unit.transfer.replay_world import World


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
    assert world.events == [("created", b"f")]
    assert world.listener.contents == {}


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
