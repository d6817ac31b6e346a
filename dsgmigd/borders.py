"""Where other subvolumes begin in a snapshot: empty directories there, and in the target.

A send stream tells nothing of them. They turn up in the survey before a step, and what is copied
by their path comes from the source itself.

Leaving error: SourceUnreadable.
"""

import os
import stat
from collections.abc import Iterable

from dsgmigd.descriptors import Directories
from dsgmigd.file_errors import source_error

# btrfs: what a snapshot has in the place of a subvolume in its origin.
_NO_SUBVOLUME_INODE = 2


def existing_paths(root: str, paths: Iterable[bytes]) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Return which of `paths` are there below `root`, and which of these are borders."""
    there, borders = set(), set()
    with Directories(root) as tree:
        for path in paths:
            try:
                parent, name = tree.parent_of(path)
                status = os.lstat(name, dir_fd=parent)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise source_error(error, f"reading {os.fsdecode(path)!r}") from error
            there.add(path)
            if status.st_ino == _NO_SUBVOLUME_INODE and stat.S_ISDIR(status.st_mode):
                borders.add(path)
    return frozenset(there), frozenset(borders)
