"""Free zfs-fuse from waiting for a request that nobody makes any more.

zfs-fuse 0.7 learns from poll(2) which file system is asked something, and reads the request with a
descriptor that blocks, under the one lock of all its threads. If whoever asked is killed between
the two, the kernel takes the request back, and the daemon serves no file system until that very one
is asked again. That cannot be done by a path, since each step of it is a request to a file system
that is not served; ustat(2) asks by the device.

The kernel's ZFS needs none of this.
"""

import contextlib
import ctypes
import os
import platform
import threading

from dsgmigd.zfs.mounts import zfs_mounts

_KERNEL_DEVICE = "/dev/zfs"
# linux/arch/x86/entry/syscalls/syscall_64.tbl; newer architectures do not have it.
_USTAT = {"x86_64": 136}
_USTAT_BYTES = 32

_libc = ctypes.CDLL(None)


def wake_zfs_fuse() -> None:
    """Ask every file system of zfs-fuse something, and do not wait for the answers."""
    number = _USTAT.get(platform.machine())
    if number is None or os.path.exists(_KERNEL_DEVICE):
        return
    with contextlib.suppress(OSError, RuntimeError):  # no file or thread is left; nothing is lost
        for device in _devices():
            # Each in a thread of its own: the others get no answer before the right one is asked.
            threading.Thread(target=_ask, args=(number, device), daemon=True).start()


def _devices() -> list[int]:
    return sorted({mount.device for mount in zfs_mounts() if mount.is_fuse})


def _ask(number: int, device: int) -> None:
    _libc.syscall(number, ctypes.c_uint(device), ctypes.create_string_buffer(_USTAT_BYTES))
