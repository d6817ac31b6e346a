"""Nested subvolumes, and other file systems that are mounted in a snapshot.

A snapshot does not contain the content of a nested subvolume: btrfs shows an empty directory in
its place, and the target gets an empty directory too. A send stream does not mention them;
preflight finds them before each step.

Raises: SourceUnreadable, TargetFull, TargetRefused, TargetUnwritable, HostExhausted.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable

from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import source_error, target_error
from dsgmigd.source.subvolume import EMPTY_SUBVOL_DIR_OBJECTID

_MODE = 0o755


def separate_nested(
    source: Directories, paths: Iterable[bytes]
) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Return the `paths` that exist in the snapshot `source`: ordinary ones, and nested ones."""
    ordinary: set[bytes] = set()
    nested: set[bytes] = set()
    device = os.fstat(source.root).st_dev
    for path in paths:
        try:
            status = source.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise source_error(error, f"reading {os.fsdecode(path)!r}") from error
        (nested if is_nested(status, device) else ordinary).add(path)
    return frozenset(ordinary), frozenset(nested)


def is_nested(status: os.stat_result, device: int) -> bool:
    """Say whether another subvolume or file system begins here in a snapshot on `device`."""
    is_empty_directory = stat.S_ISDIR(status.st_mode) and status.st_ino == EMPTY_SUBVOL_DIR_OBJECTID
    return is_empty_directory or status.st_dev != device


def make_empty_directories(
    nested: Iterable[bytes],
    source: Directories,
    staging: Directories,
    held_mtime_ns: Callable[[int], int] = lambda mtime_ns: mtime_ns,
) -> None:
    """Create the `nested` directories, and set the times of their parents back to the source's.

    `held_mtime_ns` returns the time that the target stores for a time in the source.
    """
    for path in sorted(nested):
        try:
            times = os.fstat(source.parent_of(path)[0])
        except OSError as error:
            raise source_error(error, f"reading {os.fsdecode(path)!r}") from error
        try:
            parent, name = staging.parent_of(path)
            with contextlib.suppress(FileExistsError):  # rsync created it
                os.mkdir(name, _MODE, dir_fd=parent)
            held = (held_mtime_ns(times.st_atime_ns), held_mtime_ns(times.st_mtime_ns))
            os.utime(".", ns=held, dir_fd=parent)
        except OSError as error:
            raise target_error(error, f"creating {os.fsdecode(path)!r}") from error
