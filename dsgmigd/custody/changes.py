"""What changed in a tree since the table of the snapshot before: as edits of that table.

A path whose inode number, ctime and kind are the same is not read again, unless its ctime is so
close to the creation of the snapshot before that it may have changed since without a new one, or
somebody just read it because it may have changed.

Raises: those of `tree`.
"""

import bisect
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dsgmigd.custody.table import Edit, Row, Table, at, below
from dsgmigd.custody.tree import Tree
from dsgmigd.host.change_time import came_before


@dataclass(frozen=True)
class Before:
    """The snapshot before: its table, and a moment not later than its creation, in ns."""

    table: Table = field(default_factory=Table)
    created_ns: int = 0

    def has_unchanged(self, row: Row, status: os.stat_result) -> bool:
        """Say whether what is at the path of `row` now is what was there, for certain."""
        is_same = row.inode == status.st_ino and row.ctime_ns == status.st_ctime_ns
        return is_same and came_before(row.ctime_ns, self.created_ns)


def all_edits(before: Before, tree: Tree) -> Iterator[Edit]:
    """Look at every path of `tree`; yield the edits."""
    rows = before.table.rows()
    known = next(rows, None)
    for path, status in tree.walk():
        while known is not None and known.path < path:
            yield Edit(known.path, at(known.path))
            known = next(rows, None)
        old = None
        if known is not None and known.path == path:
            old, known = known, next(rows, None)
        row = _changed_row(before, tree, old, path, status)
        if row is not None:
            yield Edit(path, at(path), (row,))
    if known is not None:
        yield Edit(known.path, None)


def some_edits(
    before: Before, tree: Tree, paths: Iterable[bytes], directories: Iterable[bytes]
) -> list[Edit]:
    """Look only at `paths`, and at all that is in `directories`; return the edits.

    Whatever else is below a directory that was not there before is looked at too.
    """
    edits = _Edits(before, tree)
    candidates = set(paths)
    for directory in set(directories):
        prefix = directory + b"/" if directory else b""
        candidates.update(prefix + name for name in _names(tree, directory))
        candidates.update(prefix + name for name in known_names(before.table, directory))
    for path in sorted(candidates):
        edits.look_at(path)
    return sorted(edits.found, key=_low_of)


def known_names(table: Table, directory: bytes) -> Iterator[bytes]:
    """Yield the names in a directory, by the table."""
    high: bytes | None = None
    low: bytes | None = at(b"")
    if directory:
        low, high = below(directory)
    prefix = len(directory) + 1 if directory else 0
    while low is not None:
        following = None
        for row in table.between(low, high):
            name, slash, _ = row.path[prefix:].partition(b"/")
            if slash:  # it is in a directory, whose other contents are not looked at
                following = below(row.path[: prefix + len(name)])[1]
                break
            yield name
        low = following


class _Edits:
    """The edits of single paths, none of which is in a range that is read as a whole."""

    def __init__(self, before: Before, tree: Tree) -> None:
        self._before = before
        self._tree = tree
        self._ranges: list[tuple[bytes, bytes]] = []
        self.found: list[Edit] = []

    def look_at(self, path: bytes) -> None:
        """Add what changed at `path`; below it, if it is another directory than before, or none."""
        if self._is_done(path):
            return
        old, status = self._before.table.get(path), self._tree.status(path)
        if status is None:
            if old is not None:
                self.found.append(Edit(path, at(path)))
                self._replace_below(path, ())
            return
        row = _changed_row(self._before, self._tree, old, path, status)
        if row is not None:
            self.found.append(Edit(path, at(path), (row,)))
        is_new = old is None or old.inode != status.st_ino
        if is_new and path:
            is_directory = stat.S_ISDIR(status.st_mode)
            self._replace_below(path, self._rows_below(path) if is_directory else ())

    def _rows_below(self, path: bytes) -> Iterator[Row]:
        for one, status in self._tree.walk(path):
            if one != path:
                yield self._tree.row(one, status)

    def _replace_below(self, path: bytes, rows: Iterable[Row]) -> None:
        low, high = below(path)
        bisect.insort(self._ranges, (low, high))
        self.found.append(Edit(low, high, tuple(rows)))

    def _is_done(self, path: bytes) -> bool:
        index = bisect.bisect_right(self._ranges, (path, path)) - 1
        return index >= 0 and path < self._ranges[index][1]


def _changed_row(
    before: Before, tree: Tree, old: Row | None, path: bytes, status: os.stat_result
) -> Row | None:
    """Return the row of a path; None if it is the same as before."""
    is_certain = old is not None and before.has_unchanged(old, status)
    if is_certain and not tree.is_known(path):
        return None
    row = tree.row(path, status)
    return None if row == old else row


def _names(tree: Tree, directory: bytes) -> list[bytes]:
    status = tree.status(directory)
    return tree.names(directory) if status and stat.S_ISDIR(status.st_mode) else []


def _low_of(edit: Edit) -> bytes:
    return edit.low
