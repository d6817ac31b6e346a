"""The entries of one snapshot as a tree that follows the changes of a replay.

A `Manifest` receives every change of the staging directory (it is a replay's listener) and records
which entries are stale. `refresh` then reads only the files of stale entries and settles each. The
cost of a step is proportional to what changed; renaming a directory costs what is in it.

Paths are bytes. A name that no manifest lists (a hidden one, for example) is not in the tree.
Unchanged entries keep their bytes, and with them the user who pushed them. An entry is changed if
its path, its content or its link target changed.

Raises: ValueError, for an entry that is not valid.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dsgmigd.dsg.entry import (
    describe,
    file_entry,
    is_listed_link,
    link_entry,
    path_in_json,
    to_json,
)
from dsgmigd.dsg.entry_tree import (
    EntryTree,
    Folder,
    Leaf,
    Staleness,
    Written,
    leaves_below,
    path_of,
)
from dsgmigd.dsg.lines import Lines

_SETTLED_AT_ONCE = 10_000
# If more paths change, all lines are rendered again: that takes less memory than the paths.
_REMEMBERED_PATHS = 100_000


@dataclass(frozen=True, slots=True)
class StaleEntry:
    """An entry to settle; without `needs_content`, its digest is still valid."""

    path: bytes
    leaf: Leaf
    needs_content: bool


class Manifest:
    """The entries of one snapshot, and which of them are stale."""

    def __init__(self) -> None:
        self._tree = EntryTree()
        self._stale: dict[Leaf, None] = {}
        self._before: dict[bytes, bytes] = {}
        self._linked: dict[int, set[Leaf]] = {}
        self._inodes: dict[Leaf, int] = {}
        # How stale all names of an inode are at least: it is marked once, however many go.
        self._group_staleness: dict[int, Staleness] = {}
        self._lines: Lines | None = None
        self._touched: set[bytes] = set()

    # Called by a replay.

    def created(self, path: bytes) -> None:
        """Add a new file at `path`."""
        leaf = Leaf(None, b"")
        if self._tree.put(path, leaf):
            self._mark(leaf, Staleness.CONTENT)

    def written(self, path: bytes, digest: str, size: int, mtime_ns: int) -> None:
        """Record what a new file has: settling it needs nothing else unless it changes again."""
        node = self._tree.find(path)
        if isinstance(node, Leaf):
            node.written = Written(digest, size, mtime_ns).pack()

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
        self._tree.put(path, Folder(None, b""))

    def removed(self, path: bytes) -> None:
        """Remove what is at `path`."""
        node = self._tree.take(path)
        if node is not None:
            for leaf_path, leaf in leaves_below(node, path):
                self._remember(leaf_path, leaf)
                self._drop(leaf)

    def renamed(self, old: bytes, new: bytes) -> None:
        """Move what is at `old` to `new`, replacing what is at `new`."""
        self.removed(new)
        node = self._tree.take(old)
        if node is None:
            self.created(new)
            return
        is_kept = self._tree.put(new, node)
        for leaf_path, leaf in leaves_below(node, old):
            self._remember(leaf_path, leaf)
            if is_kept:
                self._mark(leaf, Staleness.ATTRIBUTES)
            else:
                self._drop(leaf)

    def content_changed(self, path: bytes) -> bool:
        """Mark the content of the file at `path` as stale; False if the path is not listed."""
        return self._mark_at(path, Staleness.CONTENT)

    def times_changed(self, path: bytes) -> bool:
        """Mark the times at `path` as stale; False if the path is not listed."""
        return self._mark_at(path, Staleness.ATTRIBUTES)

    def link_group_changed(self, inode: int) -> None:
        """Mark all names of a file as stale that changed through a name that is not listed."""
        self.mark_link_group(inode, Staleness.CONTENT)

    # Called by the reader of files.

    def has_stale(self) -> bool:
        """Say whether any entry is stale."""
        return bool(self._stale)

    def take_stale(self) -> list[StaleEntry]:
        """Return the latest stale entries, by path; there may be more, and settling adds some.

        The latest come first, so that few wait at any time while new directories are found.
        """
        count = min(len(self._stale), _SETTLED_AT_ONCE)
        leaves = [self._stale.popitem()[0] for _ in range(count)]
        stale = sorted((path_of(leaf), id(leaf), leaf) for leaf in leaves)
        return [
            StaleEntry(path, leaf, leaf.staleness is Staleness.CONTENT or leaf.entry is None)
            for path, _, leaf in stale
        ]

    def settle_file(
        self, stale: StaleEntry, *, user: str, size: int, mtime: float, digest: str | None
    ) -> None:
        """Make the entry of a regular file; without `digest`, its digest is still valid."""
        leaf = stale.leaf
        if digest is None:
            digest = describe(leaf.entry).digest if leaf.entry else None
        if digest is None:
            raise ValueError(f"no digest for {stale.path!r}")
        before = self._entry_before(stale)
        described = describe(before) if before else None
        if described and described.digest == digest:
            user = described.user
        entry = file_entry(stale.path, user=user, size=size, mtime=mtime, digest=digest)
        self._settle(stale, entry, before)

    def settle_link(self, stale: StaleEntry, *, user: str, reference: bytes) -> None:
        """Make the entry of a symbolic link, if it may be listed."""
        if not is_listed_link(stale.path, reference):
            self.settle_unlisted(stale)
            return
        text = reference.decode()
        before = self._entry_before(stale)
        described = describe(before) if before else None
        if described and described.reference == text:
            user = described.user
        self._settle(stale, link_entry(stale.path, user=user, reference=text), before)

    def settle_unlisted(self, stale: StaleEntry) -> None:
        """Record that the path has no entry: it is a device, for example."""
        self._settle(stale, None, None)

    def settle_directory(self, stale: StaleEntry, names: list[bytes]) -> None:
        """Replace a leaf that is a directory; its `names` become stale."""
        self.created_directory(stale.path)
        for name in names:
            self.appeared(stale.path + b"/" + name)

    def join_link_group(self, leaf: Leaf, inode: int) -> None:
        """Record that `leaf` is one of several hard links to `inode`."""
        self._linked.setdefault(inode, set()).add(leaf)
        self._inodes[leaf] = inode
        self._group_staleness.pop(inode, None)

    def mark_link_group(self, inode: int, staleness: Staleness) -> None:
        """Mark all known hard links to `inode` as stale."""
        if self._group_staleness.get(inode, Staleness.FRESH) >= staleness:
            return
        self._group_staleness[inode] = staleness
        for leaf in self._linked.get(inode, ()):
            self._mark(leaf, staleness)

    def finish_step(self) -> None:
        """Forget the entries of before this step."""
        self._before.clear()

    def load(self, path: bytes, entry: bytes) -> Leaf:
        """Add an entry of an existing manifest."""
        leaf = Leaf(None, b"", entry)
        if not self._tree.put(path, leaf):
            raise ValueError(f"no manifest lists {path!r}")
        self._lines = None
        return leaf

    def load_link(self, path: bytes, inode: int) -> None:
        """Record that the file at `path` is one of several hard links, if it has an entry."""
        node = self._tree.find(path)
        if isinstance(node, Leaf):
            self.join_link_group(node, inode)

    def remember_entries(self, before: "Manifest") -> None:
        """Use the entries of another manifest as those of before this step."""
        for path, leaf in before.leaves():
            self._remember(path, leaf)

    def leaves(self) -> Iterator[tuple[bytes, Leaf]]:
        """Yield every path that is not a directory."""
        return self._tree.leaves()

    def entries(self) -> Iterator[bytes]:
        """Yield all entries, sorted bytewise by path."""
        return self._tree.entries()

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the document in blocks; only changed lines are rendered again."""
        if self._lines is None:
            self._lines = Lines(self.entries())
        else:
            self._lines.change((path, self._tree.entry_at(path)) for path in sorted(self._touched))
        self._touched.clear()
        return self._lines.blocks()

    def _mark_at(self, path: bytes, staleness: Staleness) -> bool:
        node = self._tree.find(path)
        if isinstance(node, Leaf):
            self._mark(node, staleness)
        return node is not None

    def _mark(self, leaf: Leaf, staleness: Staleness) -> None:
        leaf.staleness = max(leaf.staleness, staleness)
        leaf.written = None
        self._stale[leaf] = None

    def _touch(self, path: bytes) -> None:
        """Record that the line of `path` may have changed, or may be gone."""
        if self._lines is not None:
            self._touched.add(path)
            if len(self._touched) > _REMEMBERED_PATHS:
                self._lines = None
                self._touched.clear()

    def _settle(self, stale: StaleEntry, entry: bytes | None, before: bytes | None) -> None:
        self._touch(stale.path)
        # An unchanged entry stays one object: all may be read again while the old ones are kept.
        stale.leaf.entry = before if entry == before else entry
        stale.leaf.staleness = Staleness.FRESH
        stale.leaf.written = None
        inode = self._inodes.get(stale.leaf)
        if inode is not None:
            self._group_staleness.pop(inode, None)

    def _remember(self, path: bytes, leaf: Leaf) -> None:
        self._touch(path)
        if leaf.entry is not None and path not in self._before:
            self._before[path] = leaf.entry

    def _drop(self, leaf: Leaf) -> None:
        self._stale.pop(leaf, None)
        inode = self._inodes.pop(leaf, None)
        if inode is None:
            return
        self._linked[inode].discard(leaf)
        if leaf.staleness is not Staleness.FRESH:
            # The change that was reported by this name must reach the names that stay.
            self.mark_link_group(inode, leaf.staleness)

    def _entry_before(self, stale: StaleEntry) -> bytes | None:
        """Return the entry of this path before the step."""
        entry = self._before.get(stale.path) or stale.leaf.entry
        if entry is None or path_in_json(entry) != to_json(stale.path.decode()):
            return None
        return entry
