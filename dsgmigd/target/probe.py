"""Find out by trials what a target file system can hold.

Raises: TargetFull, TargetUnwritable.
"""

import errno
import os
import stat
import struct
import tempfile
from collections.abc import Callable

from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import status_of, target_error
from dsgmigd.target.capabilities import (
    FARTHEST_SECONDS,
    HIGHEST_ID,
    LONGEST_NAME_BYTES,
    NANOSECONDS,
    Capabilities,
)

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


def probe_capabilities(directory: str) -> Capabilities:
    """Find out what the file system at `directory` can hold, in a directory that is removed."""
    try:
        probe = tempfile.mkdtemp(dir=directory, prefix=PROBE_PREFIX)
        try:
            return _probe(probe)
        finally:
            remove_probe(probe)
    except OSError as error:
        raise target_error(error, f"probing {directory}") from error


def _probe(probe: str) -> Capabilities:
    file = os.path.join(probe, "file")
    _make(file)
    return Capabilities(
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
            lambda: os.mknod(os.path.join(probe, "device"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
        ),
        utf8_names_only=not _is_taken(lambda: _make(os.path.join(os.fsencode(probe), b"\xff"))),
        normalizes_names=_names_collide(probe, _COMPOSED, _DECOMPOSED),
        folds_case=_names_collide(probe, "case", "CASE"),
        longest_name_bytes=_highest(
            LONGEST_NAME_BYTES,
            lambda length: _is_taken(lambda: _make(os.path.join(probe, "n" * length))),
        ),
    )


def is_probe(path: str) -> bool:
    """Say whether `path` is a directory like those of probes: nothing in it is data.

    Raises FileNotFoundError if `path` does not exist. A symbolic link is not followed.
    """
    with Directories(os.path.dirname(path)) as tree:
        found = tree.walk(os.fsencode(os.path.basename(path)))
        top = next(found, None)
        if top is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return stat.S_ISDIR(top[1].st_mode) and all(_is_trial(status) for _, status in found)


def _is_trial(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or (stat.S_ISREG(status.st_mode) and not status.st_size)


def remove_probe(path: str) -> None:
    """Remove the directory of a probe; with a subdirectory it is not a probe, and stays."""
    name = os.fsencode(os.path.basename(path))
    with Directories(os.path.dirname(path)) as tree:
        for trial in tree.names(name):
            os.unlink(trial, dir_fd=tree.open(name))
        tree.forget(name)
        os.rmdir(name, dir_fd=tree.root)


def _make(path: str | bytes) -> None:
    with open(path, "wb"):
        pass


def _is_taken(action: Callable[[], None]) -> bool:
    """Say whether the file system accepts it; raise any error other than a refusal."""
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
        return True  # only root can try, and only root changes owners
    if not _is_taken(lambda: os.chown(path, number, number)):
        return False
    status = os.stat(path)
    return (status.st_uid, status.st_gid) == (number, number)


def _names_collide(probe: str, name: str, other: str) -> bool:
    _make(os.path.join(probe, name))
    return status_of(os.path.join(probe, other)) is not None


def _highest(limit: int, is_held: Callable[[int], bool]) -> int:
    """Return the highest number up to `limit` that is held; every lower number is held, too."""
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
