"""The directories that a send stream renames out of the way.

The kernel renames a directory to oINODE-GENERATION-NUMBER at the root, until it can remove it
(gen_unique_name in fs/btrfs/send.c). It leaves a directory whose nested subvolume was deleted with
it: the stream does not mention the subvolume, and the kernel takes the directory for one that is
not empty.

Raises: SourceUnreadable, HostExhausted.
"""

import os
import re

from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import source_errors

_NAME = re.compile(rb"o\d+-\d+-\d+")


class Orphans:
    """The names of this kind that one stream gave."""

    def __init__(self) -> None:
        self._paths: set[bytes] = set()

    def note(self, path: bytes) -> None:
        """Note `path`, which something was renamed to, if it is such a name."""
        if _NAME.fullmatch(path):
            self._paths.add(path)

    def left_in(self, source: Directories) -> list[bytes]:
        """Return the names that the snapshot `source` does not have: they must be removed."""
        left = []
        for path in sorted(self._paths):
            with source_errors(f"looking for {os.fsdecode(path)!r}"):
                if not any(source.walk(path)):
                    left.append(path)
        return left
