"""Whether all that differs between two snapshots is among what the source calls changed."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from dsgmigd.verification.verifier import Changed
from tests.integration.comparer import is_border, read_tree


@dataclass
class InodeState:
    """What an inode is, the names that lead to it, and the names in it if it is a directory."""

    facts: tuple[object, ...]
    paths: set[bytes] = field(default_factory=set)
    links: set[tuple[int, bytes]] = field(default_factory=set)
    names: list[bytes] = field(default_factory=list)


def check_changes(before: Path, after: Path, changed: Changed) -> None:
    """Fail if anything differs between two snapshots that the source did not call changed."""
    old, new = inodes(before), inodes(after)
    for number, state in new.items():
        known = old.get(number, InodeState(()))
        if (state.facts, state.links) != (known.facts, known.links):
            assert state.paths <= changed.paths
        if state.names != known.names:
            assert state.paths <= changed.directories


def inodes(root: Path) -> dict[int, InodeState]:
    """Return every inode of a snapshot by its number."""
    found: dict[int, InodeState] = {}
    for path, entry in read_tree(root, frozenset()).items():
        full = os.path.join(os.fsencode(root), path)
        status = os.lstat(full)
        if path == b"." or is_border(status, os.lstat(root)):
            continue
        state = found.setdefault(
            status.st_ino, InodeState((entry.facts, entry.xattrs, entry.digest))
        )
        state.paths.add(b"" if path == b"." else path)
        if path != b".":
            state.links.add((os.lstat(os.path.dirname(full)).st_ino, os.path.basename(path)))
        if stat.S_ISDIR(status.st_mode):
            state.names = sorted(os.listdir(full))
    return found
