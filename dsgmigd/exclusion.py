"""Which paths of a source snapshot are excluded from the dataset.

Replay, rsync, manifest and verifier use this one rule. It looks only at the first component of a
path: a `HEAD` or a `lost+found` deeper down is data. Paths are bytes, relative to the root of the
snapshot, without a leading slash.
"""

DSG_DIRECTORY = b".dsg"

_NAMES = frozenset({b".snap", b".zfs", b"HEAD", b"lost+found"})
_TRASH_PREFIX = b".Trash-"


def is_excluded_name(name: bytes) -> bool:
    """Say whether the entry `name` at the root of a snapshot is excluded."""
    return name in _NAMES or name.startswith(_TRASH_PREFIX)


def is_excluded(path: bytes) -> bool:
    """Say whether `path` is, or is below, an entry that is excluded."""
    return is_excluded_name(path.partition(b"/")[0])


def rsync_filters() -> tuple[str, ...]:
    """Return the rule as rsync options; a leading slash anchors a pattern at the root."""
    names = sorted(name.decode("ascii") for name in (*_NAMES, DSG_DIRECTORY))
    patterns = [*names, _TRASH_PREFIX.decode("ascii") + "*"]
    return tuple(f"--exclude=/{pattern}" for pattern in patterns)
