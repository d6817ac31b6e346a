"""Which paths of a source snapshot stay out of the dataset.

One rule serves replay, rsync, manifest and verifier. It looks at the first component of a path
only: a `HEAD` or a `lost+found` deeper down is data. Paths are bytes, relative to the snapshot's
root, without a leading slash.
"""

DSG_DIRECTORY = b".dsg"

_NAMES = frozenset({b".snap", b".zfs", b"HEAD", b"lost+found"})
_TRASH_PREFIX = b".Trash-"


def is_excluded_name(name: bytes) -> bool:
    """Say whether an entry `name` of a snapshot's root stays out of the dataset."""
    return name in _NAMES or name.startswith(_TRASH_PREFIX)


def is_excluded(path: bytes) -> bool:
    """Say whether `path` is, or lies below, an entry that stays out of the dataset."""
    return is_excluded_name(path.partition(b"/")[0])


def rsync_filters() -> tuple[str, ...]:
    """Return the rule as rsync options; a leading slash anchors a pattern at the root."""
    names = sorted(name.decode("ascii") for name in (*_NAMES, DSG_DIRECTORY))
    patterns = [*names, _TRASH_PREFIX.decode("ascii") + "*"]
    return tuple(f"--exclude=/{pattern}" for pattern in patterns)
