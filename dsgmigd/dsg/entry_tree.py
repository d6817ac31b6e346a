"""The records of a snapshot's files and links, by path, as a tree that is changed path by path.

All records are kept as compressed lines, sorted by path (see `lines`). Changes are kept apart as a
tree of directories, until they are merged into the lines. So a change costs what it takes to find
its path; the rename or removal of a directory costs no more, however much is in it; and the merge
costs what changed, which for a renamed directory is all that is in it.

A directory in memory has an origin: the directory in the lines whose records show through wherever
nothing is in memory. That is its own path at first, and still the old one after a rename.

Paths are bytes. A name that no manifest lists (a hidden one, for example) is never in the tree. A
directory is known while something in it was, or since it was created.

Raises: nothing.
"""

from collections.abc import Iterator
from typing import Any

from dsgmigd.dsg.entry import is_listed_name
from dsgmigd.dsg.lines import Edit, Lines, Record, end_of, record_at
from dsgmigd.dsg.stale import STALE, Staleness, is_stale, marked

_CHANGES_IN_MEMORY = 50_000
# The record in memory of what is in the lines, and not in the tree.
_GONE = b""


class _Directory:
    """What is in memory of a directory; `origin` is None if nothing in the lines shows through.

    The names of `directories` end in a slash, so that all names together sort as the lines do. A
    directory that is not `known` hides what is in the lines.
    """

    __slots__ = ("directories", "known", "origin", "records")

    def __init__(self, origin: bytes | None, *, known: bool = True) -> None:
        self.origin = origin
        self.known = known
        self.records: dict[bytes, bytes] = {}
        self.directories: dict[bytes, _Directory] = {}

    def origin_of(self, name: bytes) -> bytes | None:
        return None if self.origin is None else self.origin + name


class EntryTree:
    """All files and links with a listed path, below one root directory."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._root = _Directory(b"")
        # The directory in memory that was changed last, and its path with a slash. What is removed
        # or moved is in it.
        self._latest = b"", self._root
        self._changes = 0

    def get(self, path: bytes) -> bytes | None:
        """Return the record at `path`; None for a directory, and if there is nothing."""
        directory, rest = self._nearest(path)
        record = directory.records.get(rest)
        if record is None and directory.origin is not None:
            record = self._lines.find(directory.origin + rest)
        return record_at(path, record) if record else None

    def has_directory(self, path: bytes) -> bool:
        """Say whether a directory is known at `path`."""
        directory, rest = self._nearest(path + b"/")
        if not rest:
            return directory.known
        return directory.origin is not None and self._lines.has_below(directory.origin + rest)

    def put(self, path: bytes, record: bytes) -> bool:
        """Set the record at `path`; False if no manifest lists the path."""
        name = _name_in(path)
        return is_listed_name(name) and self._set(path, name, record)

    def replace(self, path: bytes, record: bytes) -> None:
        """Set the record at `path`, which is known as listed."""
        self._set(path, _name_in(path), record)

    def _set(self, path: bytes, name: bytes, record: bytes) -> bool:
        directory = self._make(path)
        if directory is None:
            return False
        if name not in directory.records:
            self._changes += 1
        directory.records[name] = record
        return True

    def make_directory(self, path: bytes) -> None:
        """Add an empty directory, if a manifest may list what is in it."""
        name = _name_in(path)
        directory = self._make(path) if is_listed_name(name) else None
        if directory is not None:
            directory.directories[name + b"/"] = _Directory(None)
            self._changes += 1

    def forget(self, path: bytes) -> None:
        """Remove the record at `path`, and nothing below it."""
        if self.get(path) is not None and (directory := self._make(path)):
            self._hide_record(directory, _name_in(path))

    def remove(self, path: bytes) -> None:
        """Remove what is at and below `path`."""
        self._take(path)

    def rename(self, old: bytes, new: bytes) -> bool:
        """Move what is at and below `old` to the listed path `new`; False if there is nothing.

        All records that are moved become stale. If there are any below a directory, it gets one
        itself: what has no record there may be listed at its new path, and must be looked for.
        """
        record, moved = self._take(old)
        if moved is not None:
            parent = self._make(new)
            if parent is not None:
                parent.directories[_name_in(new) + b"/"] = moved
            if moved.origin is not None:
                record = STALE
        if record is not None:
            self.put(new, marked(record, Staleness.ATTRIBUTES))
        return record is not None or moved is not None

    def stale_in_memory(self) -> list[bytes]:
        """Return the paths of stale records that are not in lines, sorted."""
        if self._has_moved():
            self.merge()
        return sorted(
            prefix + name
            for prefix, directory in self._in_memory()
            for name, record in directory.records.items()
            if is_stale(record)
        )

    def stale_in_lines(self, count: int) -> list[bytes]:
        """Return about `count` paths of stale records that are in lines, sorted, or all if fewer.

        There is no other stale record before them.
        """
        if not self._lines.has_stale():
            return []
        self.merge()
        return self._lines.stale_paths(count)

    def merge_if_many(self) -> None:
        """Merge the changes into the lines if they take much memory."""
        if self._changes > _CHANGES_IN_MEMORY:
            self.merge()

    def merge(self) -> Lines:
        """Merge all changes into the lines, and return these."""
        if self._changes:
            self._lines = self._lines.changed(_flat(self._edits_in(b"", self._root)))
            self._root = _Directory(b"")
            self._latest = b"", self._root
            self._changes = 0
        return self._lines

    # Places in memory.

    def _nearest(self, path: bytes) -> tuple[_Directory, bytes]:
        """Return the deepest directory in memory above `path`, and the rest of the path."""
        end = path.rfind(b"/") + 1
        if path[:end] == self._latest[0]:
            return self._latest[1], path[end:]
        directory = self._root
        start = 0
        while (end := path.find(b"/", start) + 1) and (
            child := directory.directories.get(path[start:end])
        ) is not None:
            directory, start = child, end
        return directory, path[start:]

    def _make(self, path: bytes) -> _Directory | None:
        """Return the directory that contains `path`, in memory; None if it cannot be listed."""
        parent = path[: path.rfind(b"/") + 1]
        if parent == self._latest[0]:
            return self._latest[1]
        directory = self._root
        start = 0
        while end := path.find(b"/", start) + 1:
            name = path[start:end]
            child = directory.directories.get(name)
            if child is None:
                if not is_listed_name(name[:-1]):
                    return None
                child = directory.directories[name] = _Directory(directory.origin_of(name))
            child.known = True
            directory, start = child, end
        self._latest = parent, directory
        return directory

    def _take(self, path: bytes) -> tuple[bytes | None, _Directory | None]:
        """Remove and return what is at `path`: its record, and a directory."""
        found, rest = self._nearest(path + b"/")
        moved = found if not rest else _Directory(found.origin_of(rest))
        if rest and (moved.origin is None or not self._lines.has_below(moved.origin)):
            moved.known = False
        record = self.get(path)
        parent = self._make(path) if record is not None or moved.known else None
        if parent is None:
            return None, None
        self._changes += 1
        name = _name_in(path)
        if record is not None:
            self._hide_record(parent, name)
        if moved.known:
            hidden = parent.origin_of(name + b"/")
            parent.directories.pop(name + b"/", None)
            if hidden is not None and self._lines.has_below(hidden):
                parent.directories[name + b"/"] = _Directory(None, known=False)
        return record, moved if moved.known else None

    def _hide_record(self, directory: _Directory, name: bytes) -> None:
        origin = directory.origin_of(name)
        self._changes += 1
        if origin is not None and self._lines.find(origin) is not None:
            directory.records[name] = _GONE
        else:
            directory.records.pop(name, None)

    # What is in memory, as changes of the lines.

    def _in_memory(self) -> Iterator[tuple[bytes, _Directory]]:
        """Yield all directories in memory with their paths, which end in a slash."""
        waiting = [(b"", self._root)]
        while waiting:
            path, directory = waiting.pop()
            yield path, directory
            waiting += [(path + name, child) for name, child in directory.directories.items()]

    def _has_moved(self) -> bool:
        return any(
            directory.origin is not None and directory.origin != path
            for path, directory in self._in_memory()
        )

    def _edits_in(self, path: bytes, directory: _Directory) -> "Iterator[Edit | Iterator[Any]]":
        """Yield what becomes of the lines of a directory, or the edits of one in it."""
        for name in sorted([*directory.records, *directory.directories]):
            here = path + name
            if (record := directory.records.get(name)) is not None:
                yield here, end_of(here), [(here, record)] if record else []
                continue
            child = directory.directories[name]
            if child.origin == here and self._lines.has_below(here):
                yield self._edits_in(here, child)
            else:
                yield here, end_of(here), _flat(self._contents(here, child))

    def _contents(self, path: bytes, directory: _Directory) -> "Iterator[Record | Iterator[Any]]":
        """Yield all that is in a directory, sorted by path, or the contents of one in it."""
        origin = directory.origin
        if origin is not None and not self._lines.has_below(origin):
            origin = None
        low = origin or b""
        for name in sorted([*directory.records, *directory.directories]):
            if origin is not None:
                yield from self._moved(origin, path, low, origin + name)
                low = end_of(origin + name)
            if name.endswith(b"/"):
                yield self._contents(path + name, directory.directories[name])
            elif record := directory.records[name]:
                yield path + name, record
        if origin is not None:
            yield from self._moved(origin, path, low, end_of(origin))

    def _moved(self, origin: bytes, path: bytes, low: bytes, high: bytes) -> Iterator[Record]:
        """Yield the records in the lines from `low` to `high`, with `path` in place of `origin`."""
        for old, record in self._lines.between(low, high):
            yield path + old[len(origin) :], record


def _name_in(path: bytes) -> bytes:
    return path[path.rfind(b"/") + 1 :]


def _flat(items: Iterator[Any]) -> Iterator[Any]:
    """Yield all items, and those of iterators among them: directories may be nested deeply."""
    nested = [items]
    while nested:
        item = next(nested[-1], None)
        if item is None:
            nested.pop()
        elif isinstance(item, tuple):
            yield item
        else:
            nested.append(item)
