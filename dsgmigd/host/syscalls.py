"""System calls that Python's os module does not have.

Raises: OSError.
"""

import ctypes
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
# linux/falloc.h
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
_AT_SYMLINK_NOFOLLOW = 0x100
# linux/mount.h
MOUNT_READ_ONLY = 1
MOUNT_NOSUID = 2
MOUNT_NODEV = 4
MOUNT_NOEXEC = 8
_UMOUNT_NOFOLLOW = 8
_MOUNT_ATTR = struct.Struct("=QQQQ")
# More than any struct statfs needs.
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
    """Make a hole of `length` bytes at `offset`, which read as zeros (fallocate(2)).

    The file keeps its size. Raises OSError EOPNOTSUPP if the file system does not support holes.
    """
    mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
    if _libc.fallocate(descriptor, mode, ctypes.c_int64(offset), ctypes.c_int64(length)):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def reserve_space(descriptor: int, offset: int, length: int) -> None:
    """Reserve space for `length` bytes at `offset`, also beyond the end of the file (fallocate(2)).

    The file keeps its size. Raises OSError EOPNOTSUPP if the file system cannot.
    """
    mode = _FALLOC_FL_KEEP_SIZE
    if _libc.fallocate(descriptor, mode, ctypes.c_int64(offset), ctypes.c_int64(length)):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def current_umask() -> int:
    """Return the umask of this process (proc(5)); umask(2) would change it."""
    with open("/proc/self/status", "rb") as file:
        (words,) = (line.split() for line in file if line.startswith(b"Umask:"))
    return int(words[1], 8)


def file_system_magic(path: str) -> int:
    """Return the type of the file system that contains `path` (statfs(2), linux/magic.h).

    The type is the first field of the struct, in the machine's word size.
    """
    buffer = (ctypes.c_ulong * _STATFS_WORDS)()
    if _libc.statfs(os.fsencode(path), buffer):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), path)
    return int(buffer[0]) & 0xFFFFFFFF


def add_mount_flags(mountpoint: str, flags: int) -> None:
    """Add flags, for instance MOUNT_NOSUID, to the mount at `mountpoint` (mount_setattr(2)).

    All other flags stay. Neither other mounts of the file system nor the copies of this one in
    other mount namespaces change.
    """
    attributes = _MOUNT_ATTR.pack(flags, 0, 0, 0)
    size = ctypes.c_size_t(_MOUNT_ATTR.size)
    path = os.fsencode(mountpoint)
    if _libc.mount_setattr(_AT_FDCWD, path, _AT_SYMLINK_NOFOLLOW, attributes, size):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), mountpoint)


def mount_file_system(source: str, mountpoint: str, kind: str, flags: int) -> None:
    """Mount `source`, a file system of the type `kind`, at `mountpoint` (mount(2))."""
    words = (os.fsencode(source), os.fsencode(mountpoint), kind.encode())
    if _libc.mount(*words, ctypes.c_ulong(flags), None):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), source, None, mountpoint)


def unmount_file_system(mountpoint: str) -> None:
    """Unmount what is mounted at `mountpoint`, last if there are several (umount2(2)).

    Raises OSError EBUSY while anything in it is in use, EINVAL if nothing is mounted there.
    """
    if _libc.umount2(os.fsencode(mountpoint), _UMOUNT_NOFOLLOW):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), mountpoint)
