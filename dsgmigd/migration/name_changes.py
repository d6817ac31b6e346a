"""Names that changed from one snapshot to the next in a way that the target cannot follow.

Where the target takes two names for one, the new name cannot be made while the old one is there,
and a send stream may do so: it links a file to its new name before it removes the old one.

Raises: OSError, as the kernel gave it.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator

from dsgmigd.host.directories import Directories
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.source.tree_search import Inode, Search

# In the snapshot before, something else may have had the path.
_NO_DIRECTORY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def find_name_changes(
    held: HeldSnapshot, parent: HeldSnapshot, since: int, key_of: Callable[[str], str]
) -> Iterator[bytes]:
    """Yield each path of `held` that takes the place of another name of the same key in `parent`.

    `since` is the transaction up to which both had the same content.
    """
    pairs = (
        _changed_directories(held, parent, since)
        if held.is_sendable and parent.is_sendable
        else _same_directories(held)
    )
    with parent.open() as before, held.open() as now:
        for old, new in pairs:
            names = _names(before, old)
            keys = {key_of(name) for name in names}
            for name in now.names(new):
                if name not in names and key_of(name) in keys:
                    yield os.path.join(new, os.fsencode(name))


def _changed_directories(
    held: HeldSnapshot, parent: HeldSnapshot, since: int
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the path before and the path now of each directory whose names may have changed."""
    with Search(held.path) as now, Search(parent.path) as before:
        for item in now.changes(since):
            if isinstance(item, Inode) and stat.S_ISDIR(item.mode):
                for old in before.paths_of(item.number):
                    yield old, now.paths_of(item.number)[0]


def _same_directories(held: HeldSnapshot) -> Iterator[tuple[bytes, bytes]]:
    """Yield the path of each directory twice; other file systems are not entered."""
    with held.open() as tree:
        device = os.fstat(tree.root).st_dev
        for path, status in tree.walk(b""):
            if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                yield path, path


def _names(tree: Directories, path: bytes) -> frozenset[str]:
    try:
        return frozenset(tree.names(path))
    except OSError as error:
        if error.errno in _NO_DIRECTORY:
            return frozenset()
        raise
