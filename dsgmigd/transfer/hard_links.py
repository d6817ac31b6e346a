"""Hard links between what is migrated and what stays out of the dataset.

A send stream changes a file by one of its names. When that name is excluded, the names inside have
to be found and copied anew, all in one go, so that they stay one file.

Leaving error: SourceUnreadable.
"""

import os
import stat
from collections.abc import Iterable, Iterator

from dsgmigd.descriptors import Directories
from dsgmigd.exclusion import is_excluded
from dsgmigd.file_errors import source_error, source_errors


def names_across_border(
    root: str, deferred: Iterable[bytes], changed_outside: Iterable[bytes]
) -> frozenset[bytes]:
    """Return the migrated names, below the snapshot `root`, of files that have names outside too.

    Looked at are files at and below `deferred`, and those at `changed_outside`. The whole snapshot
    is walked, but only if one of them has several names.
    """
    with source_errors(f"opening {root}"), Directories(root) as tree:
        inodes = {
            status.st_ino
            for top in (*deferred, *changed_outside)
            for _, status in _linked_files(tree, top)
        }
        if not inodes:
            return frozenset()
        return frozenset(
            path
            for path, status in _linked_files(tree, b"")
            if status.st_ino in inodes and not is_excluded(path)
        )


def _linked_files(tree: Directories, top: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield every file with several names at and below `top`, if that is there at all."""
    stack = [top]
    while stack:
        path = stack.pop()
        try:
            parent, name = tree.parent_of(path)
            status = os.lstat(name, dir_fd=parent)
            if stat.S_ISDIR(status.st_mode):
                prefix = path + b"/" if path else b""
                stack += [prefix + os.fsencode(name) for name in tree.names(path)]
            elif status.st_nlink > 1:
                yield path, status
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise source_error(error, f"reading {os.fsdecode(path)!r}") from error
