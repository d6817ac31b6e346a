"""The entries of one snapshot, which follow the changes of a replay.

A `Manifest` receives every change of the staging directory (it is a replay's listener) and records
which entries are stale. `refresh` then reads only the files of stale entries and settles each. The
cost of a step is proportional to what changed; renaming a directory costs what is in it. The memory
it takes is that of the compressed lines, of those that changed also as they were before the step,
and of a limited number of changes.

Paths are bytes. A name that no manifest lists (a hidden one, for example) is never recorded, and
what has no entry is forgotten when it is settled. Unchanged entries keep their bytes, and with them
the user who pushed them. An entry is changed if its path, its content or its link target changed.

A step is all changes, then all reading, then `finish_step`.

Raises: ValueError, for an entry that is not valid.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dsgmigd.dsg.entry import (
    describe,
    file_entry,
    is_listed,
    is_listed_link,
    is_listed_name,
    link_entry,
    user_of,
)
from dsgmigd.dsg.entry_tree import EntryTree
from dsgmigd.dsg.lines import Lines
from dsgmigd.dsg.link_names import LinkNames
from dsgmigd.dsg.stale import (
    STALE,
    Staleness,
    Written,
    digest_in,
    is_stale,
    marked,
    written_in,
)

# Few: each may be a directory whose names wait until it is finished.
_SETTLED_AT_ONCE = 100
_READ_FROM_LINES = 10_000


@dataclass(frozen=True, slots=True)
class StaleEntry:
    """An entry to settle, with what is still known of it."""

    path: bytes
    digest: str | None = None
    written: Written | None = None

    @property
    def needs_content(self) -> bool:
        """Whether the content must be read: its hash is not valid."""
        return self.digest is None


class Manifest:
    """The entries of one snapshot, and which of them are stale."""

    def __init__(self) -> None:
        self._tree = EntryTree()
        self._before = Lines()
        self._links = LinkNames()
        # How stale all names of an inode are at least: it is marked once, however many go.
        self._group_staleness: dict[int, Staleness] = {}
        # What has to be settled, the last one first: directories, and sorted names in each. None
        # until all changes of the step are known.
        self._waiting: list[tuple[bytes, list[bytes]]] | None = None

    # Called by a replay.

    def created(self, path: bytes) -> None:
        """Add a new file at `path`."""
        self._tree.put(path, STALE)
        self._tree.merge_if_many()

    def written(self, path: bytes, digest: str, size: int, mtime_ns: int) -> None:
        """Record what a new file has: settling it needs nothing else unless it changes again."""
        if self._tree.get(path) is not None:
            self._tree.replace(path, Written(digest, size, mtime_ns).record())

    def linked(self, existing: bytes, path: bytes) -> None:
        """Add a hard link; both names become stale, so that they are recognized as one file.

        The content may change through the new name next, and the new name may be unlisted.
        """
        self.created(path)
        self.content_changed(existing)

    def appeared(self, path: bytes) -> None:
        """Add whatever is at `path` now; settling finds out whether it is a directory."""
        self.removed(path)
        self.created(path)

    def created_directory(self, path: bytes) -> None:
        """Add a new directory at `path`."""
        self._tree.make_directory(path)
        self._tree.merge_if_many()

    def removed(self, path: bytes) -> None:
        """Remove what is at `path`."""
        self._tree.remove(path)
        self._tree.merge_if_many()
        for link in self._links.remove(path):
            if link.staleness is not Staleness.FRESH:
                # The change that was reported by this name must reach the names that stay.
                self.mark_link_group(link.inode, link.staleness)

    def renamed(self, old: bytes, new: bytes) -> None:
        """Move what is at `old` to `new`, replacing what is at `new`."""
        self.removed(new)
        if not is_listed(new):
            self.removed(old)
        elif self._tree.rename(old, new):
            self._links.rename(old, new)
            self._tree.merge_if_many()
        else:
            self.created(new)

    def content_changed(self, path: bytes) -> bool:
        """Mark the content of the file at `path` as stale; False if the path is not known."""
        return self._mark(path, Staleness.CONTENT) or self._tree.has_directory(path)

    def times_changed(self, path: bytes) -> bool:
        """Mark the times at `path` as stale; False if the path is not known."""
        return self._mark(path, Staleness.ATTRIBUTES) or self._tree.has_directory(path)

    def link_group_changed(self, inode: int) -> None:
        """Mark all names of a file as stale that changed through a name that is not known."""
        self.mark_link_group(inode, Staleness.CONTENT)

    # Called by the reader of files.

    def has_stale(self) -> bool:
        """Say whether any entry is stale. From now on no change of the step may come."""
        if self._waiting is None:
            self._waiting = [(b"", self._tree.stale_in_memory()[::-1])]
        while self._waiting and not self._waiting[-1][1]:
            self._waiting.pop()
        if not self._waiting and (paths := self._tree.stale_in_lines(_READ_FROM_LINES)):
            self._waiting.append((b"", paths[::-1]))
        return bool(self._waiting)

    def take_stale(self) -> list[StaleEntry]:
        """Return some stale entries, sorted by path; there may be more, and settling adds some.

        The latest come first, so that few wait at any time while new directories are found.
        """
        if not self.has_stale() or not self._waiting:
            return []
        directory, names = self._waiting[-1]
        some = [directory + name for name in names[: -_SETTLED_AT_ONCE - 1 : -1]]
        del names[-_SETTLED_AT_ONCE:]
        records = ((path, self._tree.get(path)) for path in some)
        return [
            StaleEntry(path, digest_in(record or STALE), written_in(record or STALE))
            for path, record in records
            if record is None or is_stale(record)
        ]

    def settle_file(
        self, stale: StaleEntry, *, user: str, size: int, mtime: float, digest: str | None
    ) -> None:
        """Make the entry of a regular file; without `digest`, its digest is still valid."""
        digest = digest or stale.digest
        if digest is None:
            raise ValueError(f"no digest for {stale.path!r}")
        before = self._before.find(stale.path)
        if before and digest_in(before) == digest:
            user = user_of(before)
        entry = file_entry(stale.path, user=user, size=size, mtime=mtime, digest=digest)
        self._settle(stale.path, entry)

    def settle_link(self, stale: StaleEntry, *, user: str, reference: bytes) -> None:
        """Make the entry of a symbolic link, if it may be listed."""
        if not is_listed_link(stale.path, reference):
            self.settle_unlisted(stale)
            return
        text = reference.decode()
        before = self._before.find(stale.path)
        if before and describe(before).reference == text:
            user = user_of(before)
        self._settle(stale.path, link_entry(stale.path, user=user, reference=text))

    def settle_unlisted(self, stale: StaleEntry) -> None:
        """Record that the path has no entry: it is a device, for example."""
        self._settle(stale.path, None)

    def settle_directory(self, stale: StaleEntry, names: Iterable[bytes]) -> None:
        """Record that the path is a directory; those of its `names` are stale that are unknown."""
        self._tree.forget(stale.path)
        if self._waiting is not None:
            listed = sorted(filter(is_listed_name, names), reverse=True)
            self._waiting.append((stale.path + b"/", listed))

    def join_link_group(self, path: bytes, inode: int) -> None:
        """Record that `path` is one of several hard links to `inode`."""
        self._links.join(path, inode)
        self._group_staleness.pop(inode, None)

    def mark_link_group(self, inode: int, staleness: Staleness) -> None:
        """Mark all known hard links to `inode` as stale."""
        if self._group_staleness.get(inode, Staleness.FRESH) >= staleness:
            return
        self._group_staleness[inode] = staleness
        paths = [link.path for link in self._links.names_of(inode)]
        for path in paths:
            self._mark(path, staleness)
        if self._waiting is not None:
            self._waiting.append((b"", sorted(paths, reverse=True)))

    def finish_step(self) -> None:
        """Take the entries as those of before the next step."""
        self._before = self._tree.merge()
        self._waiting = None

    def load(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Add the entries of an existing manifest, with their paths."""
        for path, entry in entries:
            if not self._tree.put(path, entry):
                raise ValueError(f"no manifest lists {path!r}")
            self._tree.merge_if_many()
        self.finish_step()

    def load_link(self, path: bytes, inode: int) -> None:
        """Record that the file at `path` is one of several hard links, if it has an entry."""
        if self._tree.get(path) is not None:
            self.join_link_group(path, inode)

    def remember_entries(self, before: "Manifest") -> None:
        """Use the entries of another manifest as those of before this step."""
        self._before = before.before()

    def before(self) -> Lines:
        """Return the lines of before this step."""
        return self._before

    def has_entry(self, path: bytes) -> bool:
        """Say whether there is an entry at `path` that is not stale."""
        record = self._tree.get(path)
        return record is not None and not is_stale(record)

    def entries(self) -> Iterator[bytes]:
        """Yield all entries, sorted bytewise by path."""
        return self._tree.merge().entries()

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the document in blocks; only changed lines are rendered again."""
        return self._tree.merge().blocks()

    def _mark(self, path: bytes, staleness: Staleness) -> bool:
        """Make the record at `path` stale; False if there is none."""
        record = self._tree.get(path)
        if record is None:
            return False
        self._tree.replace(path, marked(record, staleness))
        if link := self._links.find(path):
            link.staleness = max(link.staleness, staleness)
        self._tree.merge_if_many()
        return True

    def _settle(self, path: bytes, entry: bytes | None) -> None:
        if entry is None:
            self._tree.forget(path)
        else:
            self._tree.replace(path, entry)
        self._tree.merge_if_many()
        if link := self._links.find(path):
            link.staleness = Staleness.FRESH
            self._group_staleness.pop(link.inode, None)
