"""Where other subvolumes begin in a snapshot: empty directories there, and in the target.

A send stream tells nothing of them. They turn up in the survey before a step.

Leaving errors: SourceUnreadable, TargetUnwritable and its kin.
"""

import contextlib
import os
import stat
from collections.abc import Iterable

from dsgmigd.descriptors import Directories
from dsgmigd.file_errors import source_error, source_errors, target_error, target_errors

# btrfs: what a snapshot has in the place of a subvolume in its origin.
_NO_SUBVOLUME_INODE = 2
_MODE = 0o755


def split_paths(root: str, paths: Iterable[bytes]) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Return which of `paths` are there below `root` and no borders, and which are borders."""
    others: set[bytes] = set()
    borders: set[bytes] = set()
    with source_errors(f"opening {root}"), Directories(root) as tree:
        device = os.fstat(tree.root).st_dev
        for path in paths:
            try:
                parent, name = tree.parent_of(path)
                status = os.lstat(name, dir_fd=parent)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise source_error(error, f"reading {os.fsdecode(path)!r}") from error
            is_stub = status.st_ino == _NO_SUBVOLUME_INODE and stat.S_ISDIR(status.st_mode)
            (borders if is_stub or status.st_dev != device else others).add(path)
    return frozenset(others), frozenset(borders)


def make_borders(borders: Iterable[bytes], source_root: str, target_root: str) -> None:
    """Make empty directories at `borders`, and give those around them their times back."""
    with (
        source_errors(f"opening {source_root}"),
        Directories(source_root) as source,
        target_errors(f"opening {target_root}"),
        Directories(target_root) as target,
    ):
        for path in sorted(borders):
            try:
                parent, name = source.parent_of(path)
                times = os.fstat(parent)
            except OSError as error:
                raise source_error(error, f"reading {os.fsdecode(path)!r}") from error
            try:
                parent, name = target.parent_of(path)
                with contextlib.suppress(FileExistsError):  # rsync made it
                    os.mkdir(name, _MODE, dir_fd=parent)
                os.utime(".", ns=(times.st_atime_ns, times.st_mtime_ns), dir_fd=parent)
            except OSError as error:
                raise target_error(error, f"making {os.fsdecode(path)!r}") from error
