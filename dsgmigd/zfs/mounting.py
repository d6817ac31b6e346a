"""One mount at a time, where the file system daemon needs that.

zfs-fuse 0.7 hands each new mount to its own threads in several unguarded writes to a pipe. Two
mounts at the same moment mix them up, and the daemon never answers again. The kernel's ZFS needs
none of this.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

_KERNEL_DEVICE = "/dev/zfs"
_LOCK = "/run/dsgmigd-zfs-fuse.lock"


@contextlib.contextmanager
def mounting() -> Iterator[tuple[int, ...]]:
    """Hold, on a host without the kernel's ZFS, the host's turn to mount.

    The program that mounts must inherit the descriptors that this gives: if we are killed, the turn
    is still its own.
    """
    if os.path.exists(_KERNEL_DEVICE):
        yield ()
        return
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(_LOCK, flags, 0o600)
    except PermissionError:  # whoever may not write there may not mount either
        yield ()
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield (descriptor,)
    finally:
        os.close(descriptor)
