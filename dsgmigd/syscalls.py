"""System calls that Python's os module lacks."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
# linux/falloc.h
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2


def rename_noreplace(old: str, new: str) -> None:
    """Rename `old` to `new` atomically; raise FileExistsError if `new` exists (renameat2(2))."""
    status = _libc.renameat2(
        _AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), _RENAME_NOREPLACE
    )
    if status:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), old, None, new)


def punch_hole(descriptor: int, offset: int, length: int) -> None:
    """Let `length` bytes at `offset` read as zeros without storing them (fallocate(2)).

    The file keeps its size. Raises OSError EOPNOTSUPP where the file system knows no such thing.
    """
    mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
    if _libc.fallocate(descriptor, mode, ctypes.c_int64(offset), ctypes.c_int64(length)):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
