"""Find the file that a program could not read: `btrfs send` does not tell its name.

Leaving errors: SourceUnreadable, whatever the checkpoint raises.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator

from dsgmigd.btrfs.search import Inode, Search
from dsgmigd.descriptors import Directories
from dsgmigd.file_errors import source_error
from dsgmigd.source import HeldSnapshot

_CHUNK_BYTES = 1024 * 1024
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME


def raise_unreadable(held: HeldSnapshot, since: int, checkpoint: Callable[[], None]) -> None:
    """Read what changed in `held` since transaction `since`, all with 0; raise where that fails.

    What was to be copied is what is read, so this takes no longer than copying it. Where it cannot
    even look, it finds nothing: the program's own words stand.
    """
    with contextlib.suppress(OSError):
        files = _changed_files(held.path, since) if held.subvolume else _all_files(held.path)
        with Directories(held.path) as directories:
            for path in files:
                _read(directories, path, checkpoint)


def _changed_files(root: str, since: int) -> Iterator[bytes]:
    with Search(root) as search:
        for item in search.changes(since):
            if isinstance(item, Inode) and stat.S_ISREG(item.mode):
                yield from search.paths_of(item.number)[:1]


def _all_files(root: str) -> Iterator[bytes]:
    top = os.fsencode(root)
    for directory, _, names in os.walk(top):
        for path in (os.path.join(directory, name) for name in names):
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield os.path.relpath(path, top)


def _read(directories: Directories, path: bytes, checkpoint: Callable[[], None]) -> None:
    parent, name = directories.parent_of(path)
    position = 0
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=parent)
        try:
            # What can be read before the damage is given first, so the next read begins with it.
            while chunk := os.pread(descriptor, _CHUNK_BYTES, position):
                position += len(chunk)
                checkpoint()
        finally:
            os.close(descriptor)
    except OSError as error:
        action = f"reading {os.fsdecode(path)!r} at byte {position}"
        raise source_error(error, action) from error
