"""Read the metadata of a btrfs subvolume directly from its tree; if wanted, only what changed.

The tree search ioctl returns the items in the leaves of the tree. Every leaf and every inode
records the transaction in which it was last written. Whatever changed since a transaction is
therefore found without reading the rest, and without relying on a send stream.

Format: Linux `include/uapi/linux/btrfs.h` (BTRFS_IOC_TREE_SEARCH_V2, needs CAP_SYS_ADMIN) and
`btrfs_tree.h` (btrfs_inode_item, btrfs_dir_item, btrfs_inode_ref, btrfs_inode_extref).

Raises: OSError, as the kernel gave it; PermissionError without CAP_SYS_ADMIN.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from dsgmigd.source.subvolume import FIRST_FREE_OBJECTID

_TREE_SEARCH_V2 = 0xC0709411  # _IOWR(0x94, 17, 112 bytes)
_KEY = struct.Struct("<7Q4L4Q")
_BUFFER_SIZE = struct.Struct("<Q")
_ITEMS_FOUND = struct.Struct("<L")
_ITEMS_FOUND_OFFSET = 64
_ITEM = struct.Struct("<3Q2L")
_BUFFER_BYTES = 256 * 1024
_ANY = 2**64 - 1
_ANY_COUNT = 2**32 - 1

_INODE_ITEM, _INODE_REF, _INODE_EXTREF, _XATTR_ITEM, _DIR_INDEX = 1, 12, 13, 24, 96
_CHANGE_KINDS = frozenset({_INODE_ITEM, _XATTR_ITEM, _DIR_INDEX})
_NAME_KINDS = frozenset({_INODE_REF, _INODE_EXTREF})
_ROOT_ITEM = 132
# generation, transid, size, nbytes, block_group, nlink, uid, gid, mode, rdev, flags, sequence,
# reserved[4], then four times (seconds, nanoseconds): atime, ctime, mtime, otime.
_INODE = struct.Struct("<5Q4LQ2Q4Q" + "qL" * 4)
_TRANSID, _SIZE, _STORED, _UID, _GID, _MODE, _MTIME = 1, 2, 3, 6, 7, 8, 20
# The key of the target (objectid, type, offset), transid, data_len, name_len, type.
_DIRECTORY_ITEM = struct.Struct("<QBQQHHB")
_REFERENCE = struct.Struct("<QH")
_EXTENDED_REFERENCE = struct.Struct("<QQH")
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Inode:
    """An inode that changed; `mtime_ns` in nanoseconds since the epoch.

    `hole_bytes` is how much of a regular file's size no extent stores.
    """

    number: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    hole_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Xattr:
    """An extended attribute of an inode that changed."""

    inode: int
    name: str


@dataclass(frozen=True, slots=True)
class Nested:
    """A nested subvolume; a snapshot has an empty directory in its place."""

    directory: int
    name: bytes


class Search:
    """The metadata of the subvolume at `path`."""

    def __init__(self, path: str) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOATIME
        self._descriptor = os.open(path, flags)
        self._paths: dict[int, bytes] = {FIRST_FREE_OBJECTID: b""}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def changes(self, since: int) -> Iterator[Inode | Xattr | Nested]:
        """Yield what was written in transaction `since` or later; with 0, everything.

        An inode comes before its extended attributes. Everything that changed is yielded, and some
        of what did not: whole leaves are written at a time.
        """
        changed = -1
        for number, kind, _, data in self._items(_CHANGE_KINDS, since=since):
            if kind == _INODE_ITEM:
                fields = _INODE.unpack_from(data)
                if fields[_TRANSID] >= since:
                    changed = number
                    yield _inode(number, fields)
            elif kind == _XATTR_ITEM and number == changed:
                for _, name in _directory_items(data):
                    yield Xattr(number, os.fsdecode(name))
            elif kind == _DIR_INDEX:
                for target_type, name in _directory_items(data):
                    if target_type == _ROOT_ITEM:
                        yield Nested(number, name)

    def paths_of(self, inode: int) -> list[bytes]:
        """Return every path of the inode with this number; b"" is the root of the subvolume."""
        if inode == FIRST_FREE_OBJECTID:
            return [b""]
        return [self.path_in(parent, name) for parent, name in self._names_of(inode)]

    def path_in(self, directory: int, name: bytes) -> bytes:
        """Return the path of `name` in the directory with the inode number `directory`."""
        climbed: list[tuple[int, bytes]] = []
        while directory not in self._paths:
            parent, own_name = next(self._names_of(directory))
            climbed.append((directory, own_name))
            directory = parent
        path = self._paths[directory]
        for number, own_name in reversed(climbed):
            path = _join(path, own_name)
            self._paths[number] = path
        return _join(path, name)

    def _names_of(self, inode: int) -> Iterator[tuple[int, bytes]]:
        for _, kind, offset, data in self._items(_NAME_KINDS, inode=inode):
            if kind == _INODE_REF:
                for name in _names(data, _REFERENCE):
                    yield offset, name[1]
            elif kind == _INODE_EXTREF:
                for name in _names(data, _EXTENDED_REFERENCE):
                    yield name

    def _items(
        self, kinds: frozenset[int], *, since: int = 0, inode: int | None = None
    ) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield inode number, type, offset and data of the items of these kinds."""
        first, last = (0, _ANY) if inode is None else (inode, inode)
        most = max(kinds)
        key = (first, min(kinds), 0)
        buffer = bytearray(_KEY.size + _BUFFER_SIZE.size + _BUFFER_BYTES)
        while True:
            number, kind, offset = key
            _KEY.pack_into(
                *(buffer, 0, 0, number, last, offset, _ANY, since, _ANY),
                *(kind, most, _ANY_COUNT, 0, 0, 0, 0, 0),
            )
            _BUFFER_SIZE.pack_into(buffer, _KEY.size, _BUFFER_BYTES)
            fcntl.ioctl(self._descriptor, _TREE_SEARCH_V2, buffer)
            (count,) = _ITEMS_FOUND.unpack_from(buffer, _ITEMS_FOUND_OFFSET)
            if not count:
                return
            position = _KEY.size + _BUFFER_SIZE.size
            for _ in range(count):
                _, number, offset, kind, length = _ITEM.unpack_from(buffer, position)
                position += _ITEM.size
                if kind in kinds:
                    yield number, kind, offset, bytes(buffer[position : position + length])
                position += length
            key = _after(number, kind, offset)


def _after(number: int, kind: int, offset: int) -> tuple[int, int, int]:
    if offset < _ANY:
        return number, kind, offset + 1
    return number, kind + 1, 0


def _inode(number: int, fields: tuple[int, ...]) -> Inode:
    return Inode(
        number=number,
        mode=fields[_MODE],
        uid=fields[_UID],
        gid=fields[_GID],
        mtime_ns=fields[_MTIME] * _NANOSECONDS + fields[_MTIME + 1],
        hole_bytes=max(0, fields[_SIZE] - fields[_STORED]),
    )


def _directory_items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each name in an item with the type of its target; an item may hold several."""
    position = 0
    while position < len(data):
        _, target_type, _, _, data_length, name_length, _ = _DIRECTORY_ITEM.unpack_from(
            data, position
        )
        position += _DIRECTORY_ITEM.size
        yield target_type, data[position : position + name_length]
        position += name_length + data_length


def _names(data: bytes, header: struct.Struct) -> Iterator[tuple[int, bytes]]:
    """Yield the first number of each header, and the name after it."""
    position = 0
    while position < len(data):
        first, *_, length = header.unpack_from(data, position)
        position += header.size
        yield first, data[position : position + length]
        position += length


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name
