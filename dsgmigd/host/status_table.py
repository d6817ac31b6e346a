"""The statuses of many names in one directory, as records that need no Python object each.

`os.lstat` makes an object of twenty fields for each name, which takes longer than the question to
the kernel. A table lets statx(2) write all answers into one buffer, from which columns are copied
at once and single statuses are made where somebody wants to look at them.

Raises: OSError.
"""

import ctypes
import errno
import os
import struct
from itertools import compress, repeat

_statx = ctypes.CDLL(None, use_errno=True).statx
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_NO_AUTOMOUNT = 0x800
_FLAGS = _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT  # as lstat(2)
_STATX_BASIC_STATS = 0x7FF
_ALL_FLAGS, _ALL_FIELDS = repeat(_FLAGS), repeat(_STATX_BASIC_STATS)
# struct statx (linux/stat.h): the same on every architecture.
_STATX = struct.Struct("=4xI8xIIIH2xQQQ8xqI4x16xqI4xqI4xIIII112x")
_STATX_BYTES = 256
_WORD_BYTES = 8
_STATX_WORDS = _STATX_BYTES // _WORD_BYTES
# Links and owner; group and mode; inode; size; ctime; mtime; device number. Not: access time,
# allocated blocks, and what is different in every mount.
_RECORD = (2, 3, 4, 5, 12, 13, 14, 15, 16)
_DEVICE = 17
_DEVICE_PAIR = struct.Struct("=II")
_INODE, _CTIME_SECONDS, _CTIME_NANOSECONDS = 4, 12, 13
_NANOSECONDS = 1_000_000_000

RECORD_WORDS = len(_RECORD)
"""How many words of 8 bytes a record has."""
RECORD_BYTES = RECORD_WORDS * _WORD_BYTES


class StatusTable:
    """The statuses of at most `capacity` names; each `read` replaces them."""

    def __init__(self, capacity: int) -> None:
        self._buffer = ctypes.create_string_buffer(capacity * _STATX_BYTES)
        self._slots = [
            ctypes.byref(self._buffer, start)
            for start in range(0, capacity * _STATX_BYTES, _STATX_BYTES)
        ]
        self._bytes = memoryview(self._buffer).cast("B")
        self._words = self._bytes.cast("Q")
        self._signed = self._bytes.cast("q")
        self._end = 0
        self._absent: set[int] = set()

    def read(self, directory: int, names: list[bytes]) -> None:
        """Ask for the status of each name in an open directory; of a link, its own.

        Raises OSError, but not if a name does not exist; ValueError if there are too many names.
        """
        if len(names) > len(self._slots):
            raise ValueError(f"{len(names)} names in a table of {len(self._slots)}")
        self._end = len(names) * _STATX_WORDS
        self._absent = set()
        # Not a loop in Python: there may be millions of names.
        asked = map(_statx, repeat(directory), names, _ALL_FLAGS, _ALL_FIELDS, self._slots)
        results = list(asked)
        if any(results):
            for index in compress(range(len(names)), results):
                self._ask_again(directory, index, names[index])

    def _ask_again(self, directory: int, index: int, name: bytes) -> None:
        """Ask for one name that had no status: only now it is known why."""
        if not _statx(directory, name, _FLAGS, _STATX_BASIC_STATS, self._slots[index]):
            return
        error = ctypes.get_errno()
        if error != errno.ENOENT:
            raise OSError(error, os.strerror(error), name)
        self._absent.add(index)
        start = index * _STATX_BYTES
        self._bytes[start : start + _STATX_BYTES] = bytes(_STATX_BYTES)

    def status(self, index: int) -> os.stat_result | None:
        """Return the status of the name at `index`, as `os.lstat` does; None if it is absent."""
        if index in self._absent:
            return None
        found = _STATX.unpack_from(self._bytes, index * _STATX_BYTES)
        block_bytes, links, uid, gid, mode, inode, size, blocks = found[:8]
        access, change, modification = found[8:10], found[10:12], found[12:14]
        times = {
            "st_atime": _in_seconds(*access),
            "st_mtime": _in_seconds(*modification),
            "st_ctime": _in_seconds(*change),
            "st_atime_ns": _in_nanoseconds(*access),
            "st_mtime_ns": _in_nanoseconds(*modification),
            "st_ctime_ns": _in_nanoseconds(*change),
        }
        others = {
            "st_blksize": block_bytes,
            "st_blocks": blocks,
            "st_rdev": os.makedev(*found[14:16]),
        }
        device = os.makedev(*found[16:18])
        seconds = access[0], modification[0], change[0]
        visible = (mode, inode, device, links, uid, gid, size, *seconds)
        return os.stat_result(visible, times | others)

    def inode(self, index: int) -> int:
        """Return the inode number at `index`."""
        return self._words[index * _STATX_WORDS + _INODE]

    def ctime_ns(self, index: int) -> int:
        """Return the time of the last change at `index`, in nanoseconds since the epoch."""
        start = index * _STATX_WORDS
        return _in_nanoseconds(
            self._signed[start + _CTIME_SECONDS], self._signed[start + _CTIME_NANOSECONDS]
        )

    def latest_ctime(self) -> int:
        """Return the latest ctime in whole seconds since the epoch, cut."""
        return max(self._signed[_CTIME_SECONDS : self._end : _STATX_WORDS])

    def is_on_device(self, device: int) -> bool:
        """Say whether every name exists and is on the file system with this st_dev."""
        expected = _DEVICE_PAIR.pack(os.major(device), os.minor(device))
        found = self._words[_DEVICE : self._end : _STATX_WORDS].tobytes()
        return found == expected * (len(found) // _WORD_BYTES)

    def copy_records(self, records: memoryview, first: int, step: int) -> None:
        """Copy the record of each name into `records`, words of 8 bytes.

        A record is everything that lstat(2) tells but the access time, the allocated blocks and the
        device that the name is on. The first one starts at the word `first`, and each next one
        `step` words after it. The record of an absent name consists of zeros.
        """
        for offset, word in enumerate(_RECORD):
            records[first + offset :: step] = self._words[word : self._end : _STATX_WORDS]


def _in_nanoseconds(seconds: int, nanoseconds: int) -> int:
    return seconds * _NANOSECONDS + nanoseconds


def _in_seconds(seconds: int, nanoseconds: int) -> float:
    # As Python's own status does it, to the last bit.
    return seconds + 1e-9 * nanoseconds
