"""The error class of each message of zfs(8), and of each error number of OpenZFS: pure rules.

The integration tests provoke each of them on a real pool.
"""

import errno

from dsgmigd.errors import (
    CommandFailed,
    DsgmigdError,
    TargetBusy,
    TargetChanged,
    TargetExists,
    TargetFull,
    TargetMissing,
    TargetUnavailable,
    TargetUnwritable,
)

_MISSING_HINT = "check the name with: zfs list -t all"
_FULL_HINT = "free space in the pool or raise the quota"
_CLONES_HINT = "destroy the clones (zfs list -r -o name,origin POOL), or wait until they are gone"
_CHILDREN_HINT = "look at what is below it: zfs list -r -t all; dsgmigd destroys only its own"
_SUSPENDED_HINT = "see what the pool needs: zpool status -v"
_BUSY_HINT = "see what keeps it open: fuser -vm MOUNTPOINT"

_HELD = "a hold keeps"
_LASTING = ("dependent clones", _HELD)

_KINDS: tuple[tuple[str, type[DsgmigdError], str], ...] = (
    ("does not exist", TargetMissing, _MISSING_HINT),
    ("could not find any snapshots", TargetMissing, _MISSING_HINT),
    ("no such pool", TargetUnavailable, "import the pool with: zpool import"),
    ("currently suspended", TargetUnavailable, _SUSPENDED_HINT),
    ("already exists", TargetExists, "look at it with: zfs list -t all -r"),
    ("out of space", TargetFull, _FULL_HINT),
    ("No space left", TargetFull, _FULL_HINT),
    ("quota exceeded", TargetFull, "raise the quota"),
    ("has dependent clones", TargetBusy, _CLONES_HINT),
    ("has children", TargetChanged, _CHILDREN_HINT),
    ("is busy", TargetBusy, _BUSY_HINT),
    ("resource busy", TargetBusy, _BUSY_HINT),
    # zfs-fuse ended or was never started, or it drops a connection because a client was killed.
    ("Connection reset by peer", TargetUnavailable, "see whether zfs-fuse runs: zpool list"),
    ("initialize ZFS library", TargetUnavailable, "start ZFS; zpool list says what is missing"),
    # OpenZFS without its kernel modules.
    ("ZFS modules", TargetUnavailable, "load the kernel module: modprobe zfs"),
    # Another instance mounts the same new dataset at the same time.
    ("create mountpoint: File exists", TargetBusy, "look at what is at the mountpoint"),
)

_NUMBERS: dict[int, tuple[type[DsgmigdError], str]] = {
    errno.ENOENT: (TargetMissing, _MISSING_HINT),
    errno.EEXIST: (TargetExists, "look at it with: zfs list -t all -r"),
    errno.ENOSPC: (TargetFull, _FULL_HINT),
    errno.EDQUOT: (TargetFull, "raise the quota"),
    errno.EBUSY: (TargetBusy, _BUSY_HINT),
    # What every call says while the pool is suspended.
    errno.EAGAIN: (TargetUnavailable, _SUSPENDED_HINT),
    errno.EIO: (TargetUnwritable, "check the pool: zpool status -v"),
    errno.EBADE: (TargetUnwritable, "check the pool: zpool status -v"),  # a wrong checksum
    errno.EROFS: (TargetUnwritable, "find out why the pool is read-only: zpool get readonly"),
}


def error_of(error: OSError, action: str) -> DsgmigdError:
    """Return the error for what OpenZFS said of `action`; one with its number if no rule has it."""
    number = error.errno or 0
    if number in _NUMBERS:
        kind, hint = _NUMBERS[number]
        return kind(f"{action}: {error.strerror}", hint=hint)
    return CommandFailed((action,), status=number, stderr=f"{error.strerror} (errno {number})")


def typed_error(error: CommandFailed) -> DsgmigdError:
    """Return the error for what zfs(8) printed; `error` itself if no rule knows the message."""
    for words, kind, hint in _KINDS:
        if words in error.stderr:
            return kind(error.stderr.strip(), hint=hint)
    return error


def held(snapshot: str) -> TargetBusy:
    """Return the error for a snapshot that a hold keeps; ZFS only says that it is busy."""
    return TargetBusy(
        f"{_HELD} {snapshot}",
        hint=f"see its tag: zfs holds {snapshot}; remove it: zfs release TAG {snapshot}",
    )


def is_lasting(error: TargetBusy) -> bool:
    """Say whether something keeps the dataset busy for longer than some seconds."""
    return any(words in error.message for words in _LASTING)
