"""System calls that Python's os module lacks."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
# linux/falloc.h
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
# More than any struct statfs has.
_STATFS_WORDS = 64


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


def current_umask() -> int:
    """Return the umask of this process (proc(5)); asking by umask(2) would change it."""
    with open("/proc/self/status", "rb") as file:
        (words,) = (line.split() for line in file if line.startswith(b"Umask:"))
    return int(words[1], 8)


def file_system_magic(path: str) -> int:
    """Return the type of the file system that `path` lies on (statfs(2), linux/magic.h).

    It is the first field of the struct, of the machine's word size.
    """
    buffer = (ctypes.c_ulong * _STATFS_WORDS)()
    if _libc.statfs(os.fsencode(path), buffer):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), path)
    return int(buffer[0]) & 0xFFFFFFFF
