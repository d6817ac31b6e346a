"""Snapshots that are mounted to be read, by mount(2): no dataset is made for it, no transaction.

Nothing in such a mount can be written or run, no device in it opened. It is made in the mount
namespace of this process, where datasets are mounted, too.

Raises: TargetMissing, TargetBusy, and the others of `zfs_errors.error_of`.
"""

import os

from dsgmigd.host.syscalls import (
    MOUNT_NODEV,
    MOUNT_NOEXEC,
    MOUNT_NOSUID,
    MOUNT_READ_ONLY,
    mount_file_system,
    unmount_file_system,
)
from dsgmigd.target.mounts import zfs_mounts
from dsgmigd.target.zfs_errors import error_of

_FLAGS = MOUNT_READ_ONLY | MOUNT_NOSUID | MOUNT_NODEV | MOUNT_NOEXEC
_MODE = 0o700


class SnapshotMounts:
    """Mounts and unmounts snapshots on a host with the kernel's ZFS."""

    def mount(self, snapshot: str, directory: str) -> None:
        """Mount `snapshot` at `directory`, which is made if it does not exist."""
        try:
            if not os.path.isdir(directory):
                os.mkdir(directory, _MODE)
            mount_file_system(snapshot, directory, "zfs", _FLAGS)
        except OSError as error:
            raise error_of(error, f"mounting {snapshot} at {directory}") from error

    def unmount(self, directory: str) -> None:
        """Unmount the snapshot that is mounted at `directory`; the directory stays."""
        try:
            unmount_file_system(directory)
        except OSError as error:
            raise error_of(error, f"unmounting {directory}") from error

    def mounted_in(self, directory: str) -> dict[str, str]:
        """Return the datasets and snapshots that are mounted directly in `directory`, by place."""
        try:
            mounts = zfs_mounts()
        except OSError as error:
            raise error_of(error, "reading what is mounted") from error
        return {
            one.mountpoint: one.dataset
            for one in mounts
            if os.path.dirname(one.mountpoint) == directory
        }
