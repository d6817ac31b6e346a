"""Files that are whole on disk, or not there.

Leaving error: OSError.
"""

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from typing import Any

READ_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def open_safely(path: str | bytes, flags: int, *, dir_fd: int | None = None) -> int:
    """Open a file for reading: a symbolic link is not followed, and a pipe is empty at once."""
    return os.open(path, flags | READ_SAFELY, dir_fd=dir_fd)


def open_regular(path: str) -> int:
    """Open a regular file for reading; anything else is as good as absent: FileNotFoundError.

    So is a file that its owner holds by a lease (fcntl(2)): opening it would wait for him.
    """
    try:
        descriptor = os.open(path, READ_SAFELY)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EAGAIN}:
            raise FileNotFoundError(errno.ENOENT, "not a regular file", path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a regular file", path)
    return descriptor


def write_durably(path: str, content: bytes, mode: int) -> None:
    """Write a new file and wait until it is on disk; an older one of that name is removed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    descriptor = os.open(path, _NEW, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def reserve(path: str, size_bytes: int, mode: int) -> None:
    """Make a file that holds the space for `write_reserved`; an older one of that name is removed.

    On a file system that never writes in place (btrfs, ZFS) that is a good try only.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with open(os.open(path, _NEW, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        os.posix_fallocate(file.fileno(), 0, size_bytes)


def write_reserved(path: str, content: bytes, mode: int) -> None:
    """Write a file into the space that is reserved under its name, if any; wait for the disk."""
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
    write_durably(path, content, mode)  # a crash left it: it has another name, as a result


def copy_durably(source: int, name: bytes, target: int, new_name: bytes) -> None:
    """Copy what `name` is in the open directory `source`, and wait until it is on disk.

    `target` is an open directory in which `new_name` does not exist. A directory is copied with
    all that is in it, a link as a link; content, owner, mode and times are kept.
    """
    status = os.lstat(name, dir_fd=source)
    if stat.S_ISREG(status.st_mode):
        with (
            open(os.open(name, READ_SAFELY, dir_fd=source), "rb") as old,
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
    """Open the directory `name` in an open one; a link is not followed."""
    descriptor = os.open(name, READ_SAFELY | os.O_DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync_directory(path: str) -> None:
    """Wait until the names in a directory are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: str) -> None:
    """Wait until a file is on disk, under its name of now."""
    descriptor = os.open(path, READ_SAFELY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: str) -> dict[str, Any] | None:
    """Return the JSON object in a regular file; None if there is no such thing at `path`."""
    try:
        with open(open_regular(path), "rb") as file:
            document = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None
