"""Find the file that a program could not read: `btrfs send` does not report its name.

Raises: SourceUnreadable, HostExhausted, and the errors of the checkpoint.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator

from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import source_error
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.source.tree_search import Inode, Search

_CHUNK_BYTES = 1024 * 1024
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME


def raise_unreadable(held: HeldSnapshot, since: int, checkpoint: Callable[[], None]) -> None:
    """Read the files of `held` that changed since transaction `since`; raise if one cannot be read.

    With 0 all files are read. These are the files that should have been copied, so this takes no
    longer than the copy. If the source cannot even be searched, this returns: the error of the
    program itself is the best there is.
    """
    with contextlib.suppress(OSError), Directories(held.path) as source:
        files = _changed_files(held.path, since) if held.subvolume else _all_files(source)
        for path in files:
            _read(source, path, checkpoint)


def _changed_files(root: str, since: int) -> Iterator[bytes]:
    with Search(root) as search:
        for item in search.changes(since):
            if isinstance(item, Inode) and stat.S_ISREG(item.mode):
                yield from search.paths_of(item.number)[:1]


def _all_files(source: Directories) -> Iterator[bytes]:
    try:
        for path, status in source.walk(b""):
            if stat.S_ISREG(status.st_mode):
                yield path
    except OSError as error:
        raise source_error(error, f"reading {os.fsdecode(error.filename)!r}") from error


def _read(source: Directories, path: bytes, checkpoint: Callable[[], None]) -> None:
    parent, name = source.parent_of(path)
    position = 0
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=parent)
        try:
            # A read returns what precedes the damage; the next read starts at the damage and fails.
            while chunk := os.pread(descriptor, _CHUNK_BYTES, position):
                position += len(chunk)
                checkpoint()
        finally:
            os.close(descriptor)
    except OSError as error:
        action = f"reading {os.fsdecode(path)!r} at byte {position}"
        raise source_error(error, action) from error
