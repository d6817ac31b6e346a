"""What is mounted on this host, as the kernel tells it in /proc/self/mountinfo: see proc(5).

Leaving error: OSError.
"""

import os
import re
from dataclasses import dataclass

_MOUNTS = "/proc/self/mountinfo"
_WHOLE = b"/"
_FUSE = "fuse.zfs"
_KINDS = frozenset({"zfs", _FUSE})
_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A ZFS file system that is mounted; `is_whole` unless it is only one of its directories."""

    dataset: str
    mountpoint: str
    device: int
    is_fuse: bool
    is_whole: bool


def zfs_mounts() -> list[Mount]:
    """Return the mounts of ZFS datasets that this process sees."""
    with open(_MOUNTS, "rb") as file:
        lines = [line.partition(b" - ") for line in file]
    found = []
    for mount, _, what in lines:
        kind, source = (_plain(word) for word in what.split()[:2])
        _, _, device, root, mountpoint = mount.split()[:5]
        if kind in _KINDS:
            number = os.makedev(*map(int, device.split(b":")))
            is_fuse, is_whole = kind == _FUSE, root == _WHOLE
            found.append(Mount(source, _plain(mountpoint), number, is_fuse, is_whole))
    return found


def mountpoint_of(dataset: str) -> str | None:
    """Return where a dataset is mounted; None if nowhere, or in several places."""
    found = [mount for mount in zfs_mounts() if mount.dataset == dataset and mount.is_whole]
    return found[0].mountpoint if len(found) == 1 else None


def _plain(word: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), word))
