"""The mounted ZFS file systems of this host, from /proc/self/mountinfo: see proc(5).

Raises: OSError.
"""

import os
import re
from dataclasses import dataclass

_MOUNTS = "/proc/self/mountinfo"
_HOST_MOUNTS = "/proc/1/mountinfo"
_WHOLE = b"/"
_FUSE = "fuse.zfs"
_KINDS = frozenset({"zfs", _FUSE})
_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted ZFS file system; not `is_whole` if it is a bind mount of one of its directories.

    `flags` are those of this mount, for instance `nosuid`.
    """

    dataset: str
    mountpoint: str
    device: int
    is_fuse: bool
    is_whole: bool
    flags: frozenset[str] = frozenset()


def zfs_mounts() -> list[Mount]:
    """Return the mounts of ZFS datasets that this process sees."""
    return _read(_MOUNTS)


def zfs_mounts_of_host() -> list[Mount]:
    """Return the mounts of ZFS datasets that process 1 sees; none if they cannot be read.

    They differ if this process has a mount namespace of its own.
    """
    try:
        return _read(_HOST_MOUNTS)
    except OSError:
        return []


def _read(mountinfo: str) -> list[Mount]:
    with open(mountinfo, "rb") as file:
        lines = [line.partition(b" - ") for line in file]
    found = []
    for mount, _, what in lines:
        kind, source = (_plain(word) for word in what.split()[:2])
        _, _, device, root, mountpoint, flags = mount.split()[:6]
        if kind in _KINDS:
            number = os.makedev(*map(int, device.split(b":")))
            is_fuse, is_whole = kind == _FUSE, root == _WHOLE
            of_mount = frozenset(flags.decode().split(","))
            found.append(Mount(source, _plain(mountpoint), number, is_fuse, is_whole, of_mount))
    return found


def mountpoint_of(dataset: str) -> str | None:
    """Return where a dataset is mounted; None if it is mounted nowhere or more than once."""
    found = [mount for mount in zfs_mounts() if mount.dataset == dataset and mount.is_whole]
    return found[0].mountpoint if len(found) == 1 else None


def _plain(word: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), word))
