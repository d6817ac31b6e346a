"""System calls that Python's os module lacks."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


def rename_noreplace(old: str, new: str) -> None:
    """Rename `old` to `new` atomically; raise FileExistsError if `new` exists (renameat2(2))."""
    status = _libc.renameat2(
        _AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), _RENAME_NOREPLACE
    )
    if status:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), old, None, new)
