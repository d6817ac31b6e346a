"""What a target file system can hold, and what would be lost: pure rules.

A *loss* is something that the source has and the target cannot hold; a request may allow it. An
*obstacle* is something that the target cannot hold and that must not be lost: an owner, a name.
"""

import stat
import unicodedata
from dataclasses import dataclass
from typing import Literal

from dsgmigd.request import Loss

Obstacle = Literal[
    "owner",
    "device",
    "holes",
    "name encoding",
    "name twins",
    "name change",
    "name length",
    "path length",
]
Shortfall = Loss | Obstacle

NANOSECONDS = 1_000_000_000
HIGHEST_ID = 2**32 - 2
LONGEST_NAME_BYTES = 255
# In seconds since the epoch, and far later than any supported file system can record.
FARTHEST_SECONDS = 2**40

_ACLS = frozenset({"system.posix_acl_access", "system.posix_acl_default"})
# They say how btrfs stores a file, not what is in it; no other file system has them.
STORAGE_XATTRS = "btrfs."


@dataclass(frozen=True)
class Capabilities:
    """What the target can hold. `earliest_mtime` and `latest_mtime` are seconds since the epoch.

    With `normalizes_names` or `folds_case`, names that differ in nothing else cannot be in one
    directory.
    """

    xattrs: bool = True
    acls: bool = True
    subsecond_mtime: bool = True
    earliest_mtime: int = -FARTHEST_SECONDS
    latest_mtime: int = FARTHEST_SECONDS
    highest_id: int = HIGHEST_ID
    devices: bool = True
    utf8_names_only: bool = False
    normalizes_names: bool = False
    folds_case: bool = False
    longest_name_bytes: int = LONGEST_NAME_BYTES

    @property
    def has_name_rules(self) -> bool:
        """Say whether the target refuses names that other Linux file systems accept."""
        return (
            self.utf8_names_only
            or self.has_name_twins
            or self.longest_name_bytes < LONGEST_NAME_BYTES
        )

    @property
    def has_name_twins(self) -> bool:
        """Say whether the target takes some names for one that differ."""
        return self.normalizes_names or self.folds_case

    @property
    def has_time_limits(self) -> bool:
        """Say whether there are times that the target cannot hold, not even nearly."""
        limits = (self.earliest_mtime, self.latest_mtime)
        return limits != (-FARTHEST_SECONDS, FARTHEST_SECONDS)

    def xattr_loss(self, name: str) -> Loss | None:
        """Return the loss if an object has the extended attribute `name`; None if there is none.

        See `is_carried_xattr` for attributes that are not data.
        """
        if name in _ACLS:
            return None if self.acls else "acl"
        return None if self.xattrs else "xattr"

    def mtime_loss(self, mtime_ns: int) -> Loss | None:
        """Return the loss if an object has the mtime `mtime_ns`; None if there is none."""
        earliest, latest = self.earliest_mtime * NANOSECONDS, self.latest_mtime * NANOSECONDS
        if not earliest <= mtime_ns <= latest:
            return "mtime_range"
        if not self.subsecond_mtime and mtime_ns % NANOSECONDS:
            return "subsecond_mtime"
        return None

    def shortfalls(self, mode: int, uid: int, gid: int, mtime_ns: int) -> list[Shortfall]:
        """Return which properties of an object with this status the target cannot hold."""
        found: list[Shortfall] = []
        if max(uid, gid) > self.highest_id:
            found.append("owner")
        if not self.devices and (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            found.append("device")
        loss = self.mtime_loss(mtime_ns)
        return [*found, loss] if loss else found

    def name_obstacles(self, name: bytes) -> list[Obstacle]:
        """Return why the target cannot hold `name` in any directory."""
        found: list[Obstacle] = []
        if len(name) > self.longest_name_bytes:
            found.append("name length")
        if self.utf8_names_only:
            try:
                name.decode("utf-8")
            except UnicodeDecodeError:
                found.append("name encoding")
        return found

    def held_mtime_ns(self, mtime_ns: int) -> int:
        """Return the nearest mtime that the target holds; fractions of a second are cut off."""
        earliest, latest = self.earliest_mtime * NANOSECONDS, self.latest_mtime * NANOSECONDS
        if not earliest <= mtime_ns <= latest:
            return min(max(mtime_ns, earliest), latest)
        return mtime_ns if self.subsecond_mtime else mtime_ns - mtime_ns % NANOSECONDS

    def name_key(self, name: str) -> str:
        """Return a key that is equal for names that collide on the target."""
        if self.normalizes_names:
            name = unicodedata.normalize("NFC", name)
        return name.casefold() if self.folds_case else name


def is_carried_xattr(name: str) -> bool:
    """Say whether the extended attribute `name` is data, rather than how btrfs stores a file."""
    return not name.startswith(STORAGE_XATTRS)
