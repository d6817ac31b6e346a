"""A mount namespace for this test process, in which a zfs-fuse of its own answers.

The programs `zfs` and `zpool` reach zfs-fuse by a socket at a fixed path, and a daemon answers one
question at a time. With a private directory at each of its fixed paths, every test process has its
own daemon, and test processes can run side by side. The host's mounts and a zfs-fuse that the host
runs stay untouched; so does the host's list of the pools that a daemon imports when it starts. The
kernel unmounts the tests' file systems when the last process of the namespace ends.

On the kernel's ZFS there is no need for it, and the kernel could not mount snapshots below `.zfs`
in such a namespace.
"""

import ctypes
import os
from pathlib import Path

import bed

from dsgmigd.target import zfs_fuse

# The socket; the daemon's lock; the list of pools to import, which may be in use on the host.
_DAEMON_DIRECTORIES = ("/run/zfs", "/run/lock", "/var/lib/zfs")
_CLONE_NEWNS = 0x00020000  # unshare(2)


def enter_own_mount_namespace() -> None:
    """Move this process, and the children that it starts from now on, into a new mount namespace.

    Programs started before stay outside, and so do the process's other threads.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        number = ctypes.get_errno()
        raise OSError(number, f"unshare(CLONE_NEWNS): {os.strerror(number)}")
    # Mounts made here do not reach the host. What the host unmounts is unmounted here too; without
    # that, this namespace would keep it busy.
    bed.run("mount", "--make-rslave", "/")
    for directory in _DAEMON_DIRECTORIES:
        os.makedirs(directory, exist_ok=True)
        bed.run("mount", "-t", "tmpfs", "tmpfs", directory)
    own_lock = Path("/run/zfs", Path(zfs_fuse._LOCK).name)
    own_lock.touch(0o600)
    Path(zfs_fuse._LOCK).touch(0o600)
    bed.run("mount", "--bind", own_lock, zfs_fuse._LOCK)
