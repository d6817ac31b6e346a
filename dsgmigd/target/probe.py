"""Find out, by trying, what a target file system can hold.

Leaving errors: TargetFull, TargetUnwritable.
"""

import errno
import os
import stat
import struct
import tempfile
from collections.abc import Callable

from dsgmigd.abilities import (
    FARTHEST_SECONDS,
    HIGHEST_ID,
    LONGEST_NAME_BYTES,
    NANOSECONDS,
    Abilities,
)
from dsgmigd.file_errors import status_of, target_error

PROBE_PREFIX = ".probe-"

_PROBE_TIME_NS = 1_000_000_000_123_456_789
_REFUSALS = frozenset(
    {errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL, errno.EOVERFLOW, errno.EILSEQ, errno.ENAMETOOLONG}
)
# linux/posix_acl_xattr.h: version 2, then tag, permissions and id of each entry. A named user makes
# it more than a mode can say.
_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, 6, number)
    for tag, number in ((1, 2**32 - 1), (2, 12), (4, 2**32 - 1), (16, 2**32 - 1), (32, 2**32 - 1))
)
_COMPOSED, _DECOMPOSED = "\u00e9", "e\u0301"


def probe_abilities(directory: str) -> Abilities:
    """Find out what the file system at `directory` can hold, in a place that is removed again."""
    try:
        place = tempfile.mkdtemp(dir=directory, prefix=PROBE_PREFIX)
        try:
            return _probe(place)
        finally:
            remove_probe(place)
    except OSError as error:
        raise target_error(error, f"probing {directory}") from error


def _probe(place: str) -> Abilities:
    file = os.path.join(place, "file")
    _make(file)
    return Abilities(
        xattrs=_is_taken(lambda: os.setxattr(file, b"user.dsgmigd", b"1")),
        acls=_is_taken(lambda: os.setxattr(file, b"system.posix_acl_access", _ACL)),
        subsecond_mtime=_holds_time(file, _PROBE_TIME_NS),
        earliest_mtime=-_highest(
            FARTHEST_SECONDS, lambda seconds: _holds_time(file, -seconds * NANOSECONDS)
        ),
        latest_mtime=_highest(
            FARTHEST_SECONDS, lambda seconds: _holds_time(file, seconds * NANOSECONDS)
        ),
        highest_id=_highest(HIGHEST_ID, lambda number: _holds_owner(file, number)),
        devices=_is_taken(
            lambda: os.mknod(os.path.join(place, "device"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
        ),
        utf8_names_only=not _is_taken(lambda: _make(os.path.join(os.fsencode(place), b"\xff"))),
        normalizes_names=_takes_for_one(place, _COMPOSED, _DECOMPOSED),
        folds_case=_takes_for_one(place, "case", "CASE"),
        longest_name_bytes=_highest(
            LONGEST_NAME_BYTES,
            lambda length: _is_taken(lambda: _make(os.path.join(place, "n" * length))),
        ),
    )


def is_probe(path: str) -> bool:
    """Say whether `path` is a place like those that probes are made in: nothing in it is data."""
    try:
        with os.scandir(path) as entries:
            return all(_is_trial(entry.stat(follow_symlinks=False)) for entry in entries)
    except NotADirectoryError:
        return False


def _is_trial(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or (stat.S_ISREG(status.st_mode) and not status.st_size)


def remove_probe(path: str) -> None:
    """Remove the place of a probe; a directory in it is none of ours, and stays."""
    for name in os.listdir(path):
        os.unlink(os.path.join(path, name))
    os.rmdir(path)


def _make(path: str | bytes) -> None:
    with open(path, "wb"):
        pass


def _is_taken(action: Callable[[], None]) -> bool:
    """Say whether the file system takes it; what went wrong otherwise is an error."""
    try:
        action()
    except OSError as error:
        if error.errno in _REFUSALS:
            return False
        raise
    return True


def _holds_time(path: str, nanoseconds: int) -> bool:
    return (
        _is_taken(lambda: os.utime(path, ns=(0, nanoseconds)))
        and os.stat(path).st_mtime_ns == nanoseconds
    )


def _holds_owner(path: str, number: int) -> bool:
    if os.geteuid() != 0:
        return True  # only root can try; who is not root changes no owner anyway
    if not _is_taken(lambda: os.chown(path, number, number)):
        return False
    status = os.stat(path)
    return (status.st_uid, status.st_gid) == (number, number)


def _takes_for_one(place: str, name: str, other: str) -> bool:
    _make(os.path.join(place, name))
    return status_of(os.path.join(place, other)) is not None


def _highest(limit: int, is_held: Callable[[int], bool]) -> int:
    """Return the highest number up to `limit` that is held; with every number, all below are."""
    if is_held(limit):
        return limit
    low, high = 0, limit - 1
    while low < high:
        middle = (low + high + 1) // 2
        if is_held(middle):
            low = middle
        else:
            high = middle - 1
    return low
