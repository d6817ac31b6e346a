"""Compare what two file systems say of one path: pure rules."""

import os
import stat
from dataclasses import dataclass
from typing import Any

from dsgmigd.abilities import Abilities


@dataclass(frozen=True)
class Discrepancy:
    """One difference: `attribute` of `path` (as text, undecodable bytes escaped)."""

    path: str
    attribute: str
    source: str
    target: str

    def to_json(self) -> dict[str, Any]:
        """Return the discrepancy as it stands in a result."""
        return {
            "path": self.path,
            "attribute": self.attribute,
            "source": self.source,
            "target": self.target,
        }

    def __str__(self) -> str:
        return f"{self.path}: {self.attribute} is {self.target}, expected {self.source}"


def printable(path: str) -> str:
    """Return a path from the file system as text that any output can hold."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_same_file(source: os.stat_result, target: os.stat_result, abilities: Abilities) -> bool:
    """Say whether two regular files agree in all that `compare_status` compares."""
    return (
        source.st_mode == target.st_mode
        and source.st_uid == target.st_uid
        and source.st_gid == target.st_gid
        and source.st_size == target.st_size
        and abilities.held_mtime_ns(source.st_mtime_ns) == target.st_mtime_ns
        and stat.S_ISREG(source.st_mode)
    )


def compare_status(
    path: str, source: os.stat_result, target: os.stat_result, abilities: Abilities
) -> list[Discrepancy]:
    """Return where two lstat results differ that must agree."""
    if stat.S_IFMT(source.st_mode) != stat.S_IFMT(target.st_mode):
        return [_differ(path, "type", _type(source), _type(target))]
    found = []
    if source.st_mode != target.st_mode:
        found.append(_differ(path, "mode", f"{source.st_mode:o}", f"{target.st_mode:o}"))
    if source.st_uid != target.st_uid:
        found.append(_differ(path, "uid", source.st_uid, target.st_uid))
    if source.st_gid != target.st_gid:
        found.append(_differ(path, "gid", source.st_gid, target.st_gid))
    if abilities.held_mtime_ns(source.st_mtime_ns) != target.st_mtime_ns:
        found.append(_differ(path, "mtime", source.st_mtime_ns, target.st_mtime_ns))
    if stat.S_ISREG(source.st_mode) and source.st_size != target.st_size:
        found.append(_differ(path, "size", source.st_size, target.st_size))
    if _is_device(source) and source.st_rdev != target.st_rdev:
        found.append(_differ(path, "device", source.st_rdev, target.st_rdev))
    return found


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)


def _type(status: os.stat_result) -> str:
    return stat.filemode(status.st_mode)[0]


def _differ(path: str, attribute: str, source: object, target: object) -> Discrepancy:
    return Discrepancy(printable(path), attribute, str(source), str(target))
