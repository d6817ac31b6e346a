"""The entries of one snapshot as a tree that follows the changes of a replay.

A `Manifest` hears what happens to the staging directory (it is a replay's listener) and remembers
which entries are stale. Whoever can read files then looks at the stale ones only and settles each.
A step therefore costs what changed, and a renamed directory costs what is in it.

Paths are bytes. Names that no manifest lists (hidden ones, say) are not in the tree at all.
Unchanged entries keep their bytes, and so the user who pushed them; an entry counts as changed when
its path, content or link target did.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from dsgmigd.dsg.entry import (
    describe,
    file_entry,
    is_listed_link,
    is_listed_name,
    link_entry,
    path_in_json,
    to_json,
)
from dsgmigd.dsg.lines import Lines

_SETTLED_AT_ONCE = 10_000
# Where more changed, all lines are made anew, which takes less than to remember the paths.
_REMEMBERED_PATHS = 100_000


class Staleness(IntEnum):
    """How much of an entry has to be looked at again."""

    FRESH = 0
    ATTRIBUTES = 1
    CONTENT = 2


class Leaf:
    """Anything but a directory; `entry` is None while unknown and for what no manifest lists."""

    __slots__ = ("entry", "name", "parent", "staleness")

    def __init__(self, parent: "Folder | None", name: bytes, entry: bytes | None = None) -> None:
        self.parent = parent
        self.name = name
        self.entry = entry
        self.staleness = Staleness.FRESH


class Folder:
    """A directory of listed name."""

    __slots__ = ("children", "name", "parent")

    def __init__(self, parent: "Folder | None", name: bytes) -> None:
        self.parent = parent
        self.name = name
        self.children: dict[bytes, Leaf | Folder] = {}


Node = Leaf | Folder


@dataclass(frozen=True, slots=True)
class StaleEntry:
    """An entry to settle; without `needs_content` the digest that it has still holds."""

    path: bytes
    leaf: Leaf
    needs_content: bool


class Manifest:
    """The tree of entries."""

    def __init__(self) -> None:
        self._root = Folder(None, b"")
        self._stale: dict[Leaf, None] = {}
        self._before: dict[bytes, bytes] = {}
        self._linked: dict[int, set[Leaf]] = {}
        self._lines: Lines | None = None
        self._touched: set[bytes] = set()

    # What a replay tells.

    def created(self, path: bytes) -> None:
        """Take in a new leaf at `path`."""
        self._put(path, Leaf(None, b""))
        self.content_changed(path)

    def linked(self, existing: bytes, path: bytes) -> None:
        """Take in a hard link; both names are read, to find out that they are one file.

        The content may change by the new name next, and that one may be or become unlisted.
        """
        self.created(path)
        self.content_changed(existing)

    def appeared(self, path: bytes) -> None:
        """Take in whatever is at `path` now; settling finds out that it is a directory."""
        self.removed(path)
        self.created(path)

    def created_directory(self, path: bytes) -> None:
        """Take in a new directory at `path`."""
        self._put(path, Folder(None, b""))

    def removed(self, path: bytes) -> None:
        """Drop what is at `path`."""
        node = self._take(path)
        if node is not None:
            for leaf_path, leaf in _leaves(node, path):
                self._remember(leaf_path, leaf)
                self._drop(leaf)

    def renamed(self, old: bytes, new: bytes) -> None:
        """Move what is at `old` to `new`, over what is there."""
        self.removed(new)
        node = self._take(old)
        if node is None:
            self.created(new)
            return
        is_kept = self._put(new, node)
        for leaf_path, leaf in _leaves(node, old):
            self._remember(leaf_path, leaf)
            if is_kept:
                self._mark(leaf, Staleness.ATTRIBUTES)
            else:
                self._drop(leaf)

    def content_changed(self, path: bytes) -> bool:
        """Note that the file at `path` has to be read again; False if it is not listed."""
        return self._mark_at(path, Staleness.CONTENT)

    def times_changed(self, path: bytes) -> bool:
        """Note that the times at `path` have to be read again; False if it is not listed."""
        return self._mark_at(path, Staleness.ATTRIBUTES)

    def link_group_changed(self, inode: int) -> None:
        """Note that a file changed by a name that is not listed; other names of it may be."""
        self.mark_link_group(inode, Staleness.CONTENT)

    # What the reader of files asks and tells.

    def has_stale(self) -> bool:
        """Say whether entries wait to be settled."""
        return bool(self._stale)

    def take_stale(self) -> list[StaleEntry]:
        """Return the latest entries to settle, by path; there may be more, and settling adds some.

        The latest first, so that few wait at any time when directories turn up one by one.
        """
        count = min(len(self._stale), _SETTLED_AT_ONCE)
        leaves = [self._stale.popitem()[0] for _ in range(count)]
        stale = sorted((_path_of(leaf), id(leaf), leaf) for leaf in leaves)
        return [
            StaleEntry(path, leaf, leaf.staleness is Staleness.CONTENT or leaf.entry is None)
            for path, _, leaf in stale
        ]

    def settle_file(
        self, stale: StaleEntry, *, user: str, size: int, mtime: float, digest: str | None
    ) -> None:
        """Make the entry of a regular file; no `digest` means that the one it has still holds."""
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
        """Make the entry of a symbolic link, if it gets one."""
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
        """Note that what is there gets no entry: a device, say."""
        self._settle(stale, None, None)

    def settle_directory(self, stale: StaleEntry, names: list[bytes]) -> None:
        """Make a directory of what turned out to be one; its `names` are stale now."""
        self.created_directory(stale.path)
        for name in names:
            self.appeared(stale.path + b"/" + name)

    def join_link_group(self, leaf: Leaf, inode: int) -> None:
        """Note that `leaf` is one of several hard links to `inode`."""
        self._linked.setdefault(inode, set()).add(leaf)

    def mark_link_group(self, inode: int, staleness: Staleness) -> None:
        """Note that what all known hard links to `inode` share changed."""
        group = {leaf for leaf in self._linked.get(inode, ()) if leaf.parent is not None}
        for leaf in group:
            self._mark(leaf, staleness)

    def finish_step(self) -> None:
        """Forget what entries were before this step."""
        self._before.clear()

    def load(self, path: bytes, entry: bytes) -> Leaf:
        """Take in an entry of an existing manifest."""
        folder, name = self._folder_of(path, creating=True)
        if folder is None or not is_listed_name(name):
            raise ValueError(f"no manifest lists {path!r}")
        leaf = Leaf(folder, name, entry)
        folder.children[name] = leaf
        self._lines = None
        return leaf

    def remember_entries(self, before: "Manifest") -> None:
        """Let the entries of another manifest count as what was here before this step."""
        for path, leaf in before.leaves():
            self._remember(path, leaf)

    def leaves(self) -> Iterator[tuple[bytes, Leaf]]:
        """Yield every path that is not a directory."""
        for name, node in self._root.children.items():
            yield from _leaves(node, name)

    def entries(self) -> Iterator[bytes]:
        """Yield all entries, sorted bytewise by path."""
        yield from _sorted_entries(self._root)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the document, in blocks: those of before, and what changed since."""
        if self._lines is None:
            self._lines = Lines(self.entries())
        else:
            self._lines.change((path, self._entry_at(path)) for path in sorted(self._touched))
        self._touched.clear()
        return self._lines.blocks()

    # The tree.

    def _put(self, path: bytes, node: Node) -> bool:
        """Hang `node` at `path`; False if no manifest lists that path."""
        folder, name = self._folder_of(path, creating=True)
        if folder is None or not is_listed_name(name):
            return False
        node.parent, node.name = folder, name
        folder.children[name] = node
        return True

    def _take(self, path: bytes) -> Node | None:
        folder, name = self._folder_of(path)
        return folder.children.pop(name, None) if folder else None

    def _find(self, path: bytes) -> Node | None:
        folder, name = self._folder_of(path)
        return folder.children.get(name) if folder else None

    def _folder_of(self, path: bytes, *, creating: bool = False) -> tuple[Folder | None, bytes]:
        *parts, name = path.split(b"/")
        folder = self._root
        for part in parts:
            child = folder.children.get(part)
            if child is None and creating and is_listed_name(part):
                child = Folder(folder, part)
                folder.children[part] = child
            if not isinstance(child, Folder):
                return None, name
            folder = child
        return folder, name

    def _mark_at(self, path: bytes, staleness: Staleness) -> bool:
        node = self._find(path)
        if isinstance(node, Leaf):
            self._mark(node, staleness)
        return node is not None

    def _mark(self, leaf: Leaf, staleness: Staleness) -> None:
        leaf.staleness = max(leaf.staleness, staleness)
        self._stale[leaf] = None

    def _touch(self, path: bytes) -> None:
        """Note that another line, or none, may stand at `path` now."""
        if self._lines is not None:
            self._touched.add(path)
            if len(self._touched) > _REMEMBERED_PATHS:
                self._lines = None
                self._touched.clear()

    def _settle(self, stale: StaleEntry, entry: bytes | None, before: bytes | None) -> None:
        self._touch(stale.path)
        # What did not change stays one object: all may be read anew, and what was is still held.
        stale.leaf.entry = before if entry == before else entry
        stale.leaf.staleness = Staleness.FRESH

    def _remember(self, path: bytes, leaf: Leaf) -> None:
        self._touch(path)
        if leaf.entry is not None and path not in self._before:
            self._before[path] = leaf.entry

    def _drop(self, leaf: Leaf) -> None:
        leaf.parent = None  # its link group finds it gone by this
        self._stale.pop(leaf, None)

    def _entry_at(self, path: bytes) -> bytes | None:
        node = self._find(path)
        return node.entry if isinstance(node, Leaf) else None

    def _entry_before(self, stale: StaleEntry) -> bytes | None:
        """Return what stood at this path before the step."""
        entry = self._before.get(stale.path) or stale.leaf.entry
        if entry is None or path_in_json(entry) != to_json(stale.path.decode()):
            return None
        return entry


def _path_of(node: Node) -> bytes:
    names = [node.name]
    while node.parent is not None and node.parent.parent is not None:
        node = node.parent
        names.append(node.name)
    return b"/".join(reversed(names))


def _leaves(node: Node, path: bytes) -> Iterator[tuple[bytes, Leaf]]:
    stack: list[tuple[bytes, Node]] = [(path, node)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, Leaf):
            yield path, node
        else:
            stack += [(path + b"/" + name, child) for name, child in node.children.items()]


def _sorted_entries(folder: Folder) -> Iterator[bytes]:
    # A directory sorts as if its name ended in a slash: "a.b" comes before "a/b".
    def sort_key(item: tuple[bytes, Node]) -> bytes:
        return item[0] + b"/" if isinstance(item[1], Folder) else item[0]

    stack = sorted(folder.children.items(), key=sort_key, reverse=True)
    while stack:
        _, node = stack.pop()
        if isinstance(node, Leaf):
            if node.entry is not None:
                yield node.entry
        else:
            stack += sorted(node.children.items(), key=sort_key, reverse=True)
