"""What a target file system can hold, and what would be lost: pure rules.

A *loss* is something that the source has, the target cannot hold, and a request may allow to lose.
What cannot be held and must not be lost (an owner, a name) is an *obstacle*.
"""

import stat
import unicodedata
from dataclasses import dataclass
from typing import Literal

from dsgmigd.request import Loss

Obstacle = Literal["owner", "device", "name encoding", "name twins", "name length", "path length"]
Shortfall = Loss | Obstacle

NANOSECONDS = 1_000_000_000
HIGHEST_ID = 2**32 - 2
LONGEST_NAME_BYTES = 255
# Far beyond what any file system or calendar of ours can say, in seconds since the epoch.
FARTHEST_SECONDS = 2**40

_ACLS = frozenset({"system.posix_acl_access", "system.posix_acl_default"})
# How btrfs stores a file, not what is in it: no other file system takes these.
STORAGE_XATTRS = "btrfs."


@dataclass(frozen=True)
class Abilities:
    """What the target can hold. `earliest_mtime` and `latest_mtime` are seconds since the epoch.

    Names that differ only by what `normalizes_names` or `folds_case` makes equal cannot stand in
    one directory.
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
        """Say whether there are names that a Linux file system has and the target refuses."""
        return (
            self.utf8_names_only
            or self.normalizes_names
            or self.folds_case
            or self.longest_name_bytes < LONGEST_NAME_BYTES
        )

    def xattr_loss(self, name: str) -> Loss | None:
        """Return which loss it is if an object loses its extended attribute `name`; None if none.

        See `is_carried_xattr` for those that are no data.
        """
        if name in _ACLS:
            return None if self.acls else "acl"
        return None if self.xattrs else "xattr"

    def mtime_loss(self, mtime_ns: int) -> Loss | None:
        """Return which loss it is to give an object the mtime `mtime_ns`; None if none."""
        earliest, latest = self.earliest_mtime * NANOSECONDS, self.latest_mtime * NANOSECONDS
        if not earliest <= mtime_ns <= latest:
            return "mtime_range"
        if not self.subsecond_mtime and mtime_ns % NANOSECONDS:
            return "subsecond_mtime"
        return None

    def shortfalls(self, mode: int, uid: int, gid: int, mtime_ns: int) -> list[Shortfall]:
        """Return what of an object with this status the target cannot hold."""
        found: list[Shortfall] = []
        if max(uid, gid) > self.highest_id:
            found.append("owner")
        if not self.devices and (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            found.append("device")
        loss = self.mtime_loss(mtime_ns)
        return [*found, loss] if loss else found

    def name_obstacles(self, name: bytes) -> list[Obstacle]:
        """Return why the target cannot hold an object called `name`, whatever else is there."""
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
        """Return the mtime nearest to `mtime_ns` that the target holds; fractions are cut."""
        earliest, latest = self.earliest_mtime * NANOSECONDS, self.latest_mtime * NANOSECONDS
        if not earliest <= mtime_ns <= latest:
            return min(max(mtime_ns, earliest), latest)
        return mtime_ns if self.subsecond_mtime else mtime_ns - mtime_ns % NANOSECONDS

    def name_key(self, name: str) -> str:
        """Return what two names have in common that the target takes for one."""
        if self.normalizes_names:
            name = unicodedata.normalize("NFC", name)
        return name.casefold() if self.folds_case else name


def is_carried_xattr(name: str) -> bool:
    """Say whether the extended attribute `name` is data, and not how btrfs stores the file."""
    return not name.startswith(STORAGE_XATTRS)
