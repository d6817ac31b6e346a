"""One mount at a time, where the file system daemon needs that.

zfs-fuse 0.7 hands each new mount to its own threads in several unguarded writes to a pipe. Two
mounts at the same moment mix them up, and the daemon never answers again. The kernel's ZFS needs
none of this.

Leaving error: TargetBusy, if the turn cannot be taken.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from dsgmigd.errors import TargetBusy

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
    except OSError as error:
        raise _no_turn(error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise _no_turn(error) from error
        yield (descriptor,)
    finally:
        os.close(descriptor)


def _no_turn(error: OSError) -> TargetBusy:
    return TargetBusy(
        f"no turn to mount, for {_LOCK} cannot be locked: {error.strerror}",
        hint="this host mounts by zfs-fuse: /run must be writable and have space",
    )
