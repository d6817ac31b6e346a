"""Items of a btrfs tree, packed as the kernel returns them, for tests without a btrfs."""

import fcntl
import struct

import pytest

# linux/btrfs_tree.h
INODE_ITEM, INODE_REF, INODE_EXTREF, XATTR_ITEM, DIR_INDEX = 1, 12, 13, 24, 96
ROOT_ITEM = 132
# The kernel returns a few items at a time: fewer here, so that every search takes several calls.
ITEMS_PER_CALL = 2

Item = tuple[int, int, int, bytes]


def inode(
    number: int,
    transid: int,
    mode: int,
    mtime: tuple[int, int] = (7, 8),
    *,
    size: int = 0,
    stored: int = 0,
) -> Item:
    owned = (0, 1, 10, 20, mode)
    fields = struct.pack("<5Q4LQ2Q4Q", 1, transid, size, stored, *owned, 0, 0, 0, 0, 0, 0, 0)
    times = b"".join(struct.pack("<qL", *one) for one in ((1, 2), (3, 4), mtime, (5, 6)))
    return number, INODE_ITEM, 0, fields + times


def name(number: int, parent: int, text: bytes) -> Item:
    return number, INODE_REF, parent, struct.pack("<QH", 2, len(text)) + text


def extended_name(number: int, parent: int, text: bytes) -> Item:
    data = struct.pack("<QQH", parent, 2, len(text)) + text
    return number, INODE_EXTREF, 12345, data


def directory_item(kind: int, number: int, target: int, *texts: bytes, value: bytes = b"") -> Item:
    pieces = [
        struct.pack("<QBQQHHB", 300, target, 0, 9, len(value), len(text), 1) + text + value
        for text in texts
    ]
    return number, kind, len(texts[0]), b"".join(pieces)  # a key of its own


def answer_searches(monkeypatch: pytest.MonkeyPatch, *items: Item) -> None:
    """Let the kernel answer every tree search with these items, whatever is searched."""
    ordered = sorted(items)

    def ioctl(_: int, request: int, buffer: bytearray) -> int:
        assert request == 0xC0709411
        keys = struct.unpack_from("<7Q4L4Q", buffer)
        low, high, low_offset, low_kind, high_kind = keys[1], keys[2], keys[3], keys[7], keys[8]
        first, last = (low, low_kind, low_offset), (high, high_kind, 2**64 - 1)
        found = [item for item in ordered if first <= item[:3] <= last][:ITEMS_PER_CALL]
        struct.pack_into("<L", buffer, 64, len(found))
        position = 112
        for number, kind, offset, data in found:
            struct.pack_into("<3Q2L", buffer, position, 9, number, offset, kind, len(data))
            position += 32
            buffer[position : position + len(data)] = data
            position += len(data)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
