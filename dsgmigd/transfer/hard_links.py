"""Hard links between files that are migrated and files that are excluded.

A send stream changes a file through one of its names. If that name is excluded, the names that are
migrated must be found and copied again, all at once, so that they remain one file.

Raises: SourceUnreadable, HostExhausted.
"""

import os
import stat
from collections.abc import Iterable, Iterator

from dsgmigd.exclusion import is_excluded
from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import source_error


def find_migrated_names(
    source: Directories, deferred: Iterable[bytes], changed_absent: Iterable[bytes]
) -> frozenset[bytes]:
    """Return the migrated names of the files at and below `deferred` and `changed_absent`.

    Only files with several names count. If there is one, the whole snapshot `source` is walked.
    """
    inodes = {
        status.st_ino
        for top in (*deferred, *changed_absent)
        for _, status in _linked_files(source, top)
    }
    if not inodes:
        return frozenset()
    return frozenset(
        path
        for path, status in _linked_files(source, b"")
        if status.st_ino in inodes and not is_excluded(path)
    )


def _linked_files(source: Directories, top: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield every file with several names at and below `top`; nothing if that does not exist."""
    try:
        for path, status in source.walk(top):
            if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
                yield path, status
    except OSError as error:
        raise source_error(error, f"reading {os.fsdecode(error.filename)!r}") from error
