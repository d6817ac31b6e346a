"""Two faults of zfs-fuse 0.7 that a caller can work around; the kernel's ZFS has neither.

It hands each new mount to its own threads in several unguarded writes to a pipe. Two mounts at the
same time mix these writes up, and the daemon never answers again. So `mounting` allows one mount at
a time on the host.

It learns from poll(2) which file system has a request, and reads the request with a blocking
descriptor while it holds the one lock of all its threads. If the process that made the request is
killed in between, the kernel withdraws the request, and the daemon serves no file system until a
new request arrives for that very one. So `wake_zfs_fuse` makes a request to each of them. It cannot
use a path, because each step of a path lookup is a request to a file system that is not served;
ustat(2) takes a device number.

Raises: TargetBusy if the lock for mounting cannot be acquired.
"""

import contextlib
import ctypes
import fcntl
import os
import platform
import threading
from collections.abc import Iterator

from dsgmigd.errors import TargetBusy
from dsgmigd.target.mounts import zfs_mounts

_KERNEL_DEVICE = "/dev/zfs"
_LOCK = "/run/dsgmigd-zfs-fuse.lock"
# linux/arch/x86/entry/syscalls/syscall_64.tbl; newer architectures do not have it.
_USTAT = {"x86_64": 136}
_USTAT_BYTES = 32

_libc = ctypes.CDLL(None)


def has_kernel_zfs() -> bool:
    """Say whether this host has the kernel's ZFS: then zfs-fuse is not asked."""
    return os.path.exists(_KERNEL_DEVICE)


@contextlib.contextmanager
def mounting() -> Iterator[tuple[int, ...]]:
    """Hold the host's mount lock; without effect on a host with the kernel's ZFS.

    Yields the descriptors that the program that mounts must inherit: if this process is killed,
    that program still holds the lock.
    """
    if has_kernel_zfs():
        yield ()
        return
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(_LOCK, flags, 0o600)
    except PermissionError:  # a user who may not write there may not mount either
        yield ()
        return
    except OSError as error:
        raise _lock_error(error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise _lock_error(error) from error
        yield (descriptor,)
    finally:
        os.close(descriptor)


def _lock_error(error: OSError) -> TargetBusy:
    return TargetBusy(
        f"cannot acquire the mount lock {_LOCK}: {error.strerror}",
        hint="zfs-fuse needs this lock for each mount: /run must be writable and have free space",
    )


def wake_zfs_fuse() -> None:
    """Make one request to each file system of zfs-fuse, without waiting for the answers."""
    number = _USTAT.get(platform.machine())
    if number is None or has_kernel_zfs():
        return
    # Without a free descriptor or thread nothing is asked; the next call tries again.
    with contextlib.suppress(OSError, RuntimeError):
        for device in _devices():
            # One thread each: no request is answered before the right file system has one.
            threading.Thread(target=_ask, args=(number, device), daemon=True).start()


def _devices() -> list[int]:
    return sorted({mount.device for mount in zfs_mounts() if mount.is_fuse})


def _ask(number: int, device: int) -> None:
    _libc.syscall(number, ctypes.c_uint(device), ctypes.create_string_buffer(_USTAT_BYTES))
