"""The error class of each message of zfs(8): pure rules.

The integration tests provoke each message on a real pool.
"""

from dsgmigd.errors import (
    CommandFailed,
    DsgmigdError,
    TargetBusy,
    TargetChanged,
    TargetExists,
    TargetFull,
    TargetMissing,
    TargetUnavailable,
)

_MISSING_HINT = "check the name with: zfs list -t all"
_FULL_HINT = "free space in the pool or raise the quota"
_CLONES_HINT = "destroy the clones (zfs list -r -o name,origin POOL), or wait until they are gone"
_CHILDREN_HINT = "look at what is below it: zfs list -r -t all; dsgmigd destroys only its own"
_BUSY_HINT = "see what keeps it open: fuser -vm MOUNTPOINT"

_KINDS: tuple[tuple[str, type[DsgmigdError], str], ...] = (
    ("does not exist", TargetMissing, _MISSING_HINT),
    ("could not find any snapshots", TargetMissing, _MISSING_HINT),
    ("no such pool", TargetUnavailable, "import the pool with: zpool import"),
    ("currently suspended", TargetUnavailable, "see what the pool needs: zpool status -v"),
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


def typed_error(error: CommandFailed) -> DsgmigdError:
    """Return the error for what zfs(8) printed; `error` itself if no rule knows the message."""
    for words, kind, hint in _KINDS:
        if words in error.stderr:
            return kind(error.stderr.strip(), hint=hint)
    return error
