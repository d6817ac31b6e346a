"""Compare what two file systems say about one path: pure rules.

Raises: nothing. Differences are data.
"""

import os
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dsgmigd.target.capabilities import Capabilities

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - only added to, and always UTC
_NANOSECONDS = 1_000_000_000
_TYPES = {
    stat.S_IFREG: "regular file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
# How a person reads a discrepancy; for all other attributes the last one.
_SENTENCES = {
    "presence": "{0.path}: {0.target} in the target, {0.source}",
    "hard links": "{0.path}: {0.target} in the target, {0.source}",
    "manifest": "{0.path}: {0.target} in the manifest, but {0.source}",
    "files": "{0.path}: files are {0.target}, expected {0.source}",
}
_SENTENCE = "{0.path}: {0.attribute} is {0.target}, expected {0.source}"


@dataclass(frozen=True)
class Discrepancy:
    """One difference in `attribute` at `path` (as text, with undecodable bytes escaped).

    `source` is what was expected, `target` is what was found.
    """

    path: str
    attribute: str
    source: str
    target: str

    def to_json(self) -> dict[str, Any]:
        """Return the discrepancy as a result contains it."""
        return {
            "path": self.path,
            "attribute": self.attribute,
            "source": self.source,
            "target": self.target,
        }

    def __str__(self) -> str:
        return _SENTENCES.get(self.attribute, _SENTENCE).format(self)


def printable(path: str) -> str:
    """Return a path from the file system as text that every output can encode."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_same_file(
    source: os.stat_result, target: os.stat_result, capabilities: Capabilities
) -> bool:
    """Say whether two regular files agree in everything that `compare_status` compares."""
    return (
        source.st_mode == target.st_mode
        and source.st_uid == target.st_uid
        and source.st_gid == target.st_gid
        and source.st_size == target.st_size
        and capabilities.held_mtime_ns(source.st_mtime_ns) == target.st_mtime_ns
        and stat.S_ISREG(source.st_mode)
    )


def compare_status(
    path: str, source: os.stat_result, target: os.stat_result, capabilities: Capabilities
) -> list[Discrepancy]:
    """Return the differences between two lstat results that must agree."""
    if stat.S_IFMT(source.st_mode) != stat.S_IFMT(target.st_mode):
        return [_differ(path, "type", type_of(source), type_of(target))]
    found = []
    if source.st_mode != target.st_mode:
        found.append(_differ(path, "mode", f"{source.st_mode:o}", f"{target.st_mode:o}"))
    if source.st_uid != target.st_uid:
        found.append(_differ(path, "uid", source.st_uid, target.st_uid))
    if source.st_gid != target.st_gid:
        found.append(_differ(path, "gid", source.st_gid, target.st_gid))
    expected_ns = capabilities.held_mtime_ns(source.st_mtime_ns)
    if expected_ns != target.st_mtime_ns:
        times = render_time(expected_ns), render_time(target.st_mtime_ns)
        found.append(_differ(path, "mtime", *times))
    if stat.S_ISREG(source.st_mode) and source.st_size != target.st_size:
        found.append(_differ(path, "size", source.st_size, target.st_size))
    if _is_device(source) and source.st_rdev != target.st_rdev:
        found.append(_differ(path, "device", _device(source), _device(target)))
    return found


def type_of(status: os.stat_result) -> str:
    """Return the type of a file in words."""
    return _TYPES.get(stat.S_IFMT(status.st_mode), f"unknown type {status.st_mode:o}")


def render_time(time_ns: int) -> str:
    """Return nanoseconds since the epoch as a UTC date with all nine digits of the second."""
    seconds, nanoseconds = divmod(time_ns, _NANOSECONDS)
    try:
        return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()}.{nanoseconds:09d}Z"
    except OverflowError:  # before the year 1, or after the year 9999
        return f"{time_ns} ns since 1970"


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)


def _device(status: os.stat_result) -> str:
    """Return a device number as ls(1) shows it."""
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _differ(path: str, attribute: str, source: object, target: object) -> Discrepancy:
    return Discrepancy(printable(path), attribute, str(source), str(target))
