"""Write files so that, after a crash, each is either complete on disk or does not exist.

Raises: OSError.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator

from dsgmigd.host.regular import READ_SAFELY, open_regular
from dsgmigd.host.syscalls import reserve_space

_BLOCK_BYTES = 512  # stat(2), st_blocks

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_durably(path: str, content: bytes, mode: int) -> None:
    """Write a new file and sync it to disk; an existing file of that name is removed first."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    descriptor = os.open(path, _NEW, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def reserve(path: str, size_bytes: int, mode: int) -> None:
    """Create a file that reserves space for `write_reserved`; an existing one is removed first.

    A file system that never writes in place (btrfs, ZFS) does not guarantee the space.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with open(os.open(path, _NEW, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        os.posix_fallocate(file.fileno(), 0, size_bytes)


def write_reserved(path: str, content: bytes, mode: int) -> None:
    """Write a file into the space that is reserved under its name, if any, and sync it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        write_durably(path, content, mode)
        return
    with open(descriptor, "wb") as file:
        if os.fstat(descriptor).st_nlink == 1:
            file.write(content)
            file.truncate()
            os.fsync(descriptor)
            return
    # After a crash, the file may have a second name already, as a result: do not write into it.
    write_durably(path, content, mode)


def reserve_beyond_end(descriptor: int, size_bytes: int) -> None:
    """Let an open file have room for `size_bytes` more, or for half of them if it had that much.

    A file system that never writes in place (btrfs, ZFS) does not guarantee the space.
    """
    status = os.fstat(descriptor)
    if status.st_blocks * _BLOCK_BYTES >= status.st_size + size_bytes // 2:
        return
    try:
        reserve_space(descriptor, status.st_size, size_bytes)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise


def append_durably(descriptor: int, content: bytes) -> None:
    """Append to a file that is open with O_APPEND, and sync it.

    If that fails, the file is cut to what it was: the kernel may have dropped what it could not
    write, and would say of the next fsync that all is well. After a crash, and if the cut fails
    too, it may end with a part of `content`.
    """
    size = os.fstat(descriptor).st_size
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def copy_durably(source: int, name: bytes, target: int, new_name: bytes) -> None:
    """Copy `name` in the open directory `source` to disk, and sync the copy.

    `target` is an open directory in which `new_name` does not exist. A directory is copied with its
    contents, a link as a link. Content, owner, mode and times are kept.
    """
    status = os.lstat(name, dir_fd=source)
    if stat.S_ISREG(status.st_mode):
        with (
            open(open_regular(name, dir_fd=source), "rb") as old,
            open(os.open(new_name, _NEW, 0o600, dir_fd=target), "wb") as new,
        ):
            shutil.copyfileobj(old, new)
            new.flush()
            _finish_copy(new.fileno(), status)
    elif stat.S_ISDIR(status.st_mode):
        os.mkdir(new_name, 0o700, dir_fd=target)
        with open_directory(name, source) as old_directory, open_directory(new_name, target) as new:
            for one in map(os.fsencode, os.listdir(old_directory)):
                copy_durably(old_directory, one, new, one)
            _finish_copy(new, status)
    else:
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), new_name, dir_fd=target)
        else:
            os.mknod(new_name, status.st_mode, status.st_rdev, dir_fd=target)
        os.chown(new_name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    os.fsync(target)


def _finish_copy(descriptor: int, status: os.stat_result) -> None:
    os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.fsync(descriptor)


@contextlib.contextmanager
def open_directory(name: bytes, parent: int) -> Iterator[int]:
    """Open the directory `name` in the open directory `parent`; a link is not followed."""
    descriptor = os.open(name, READ_SAFELY | os.O_DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync_directory(path: str) -> None:
    """Sync the names in a directory to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: str) -> None:
    """Sync a file to disk by its current name."""
    descriptor = os.open(path, READ_SAFELY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
