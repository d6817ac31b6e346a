"""The tree of a manifest's entries: directories, and the files and links in them.

Owns the paths and the order of the document. Which entries are stale is the business of `manifest`.

Paths are bytes. A name that no manifest may list (a hidden one, for example) is never in the tree.

Raises: nothing.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from dsgmigd.dsg.entry import is_listed_name


class Staleness(IntEnum):
    """How much of an entry must be read again."""

    FRESH = 0
    ATTRIBUTES = 1
    CONTENT = 2


class Written(NamedTuple):
    """What is known of a file that was written whole: hash and size of its content, its time."""

    digest: str
    size: int
    mtime_ns: int

    def pack(self) -> bytes:
        """Return it as one object of 80 bytes: millions may wait for their entries."""
        return b"%b %d %d" % (self.digest.encode(), self.size, self.mtime_ns)


def unpack(packed: bytes) -> Written:
    """Return what `Written.pack` packed."""
    digest, size, mtime_ns = packed.split()
    return Written(digest.decode(), int(size), int(mtime_ns))


class Leaf:
    """Anything but a directory; `entry` is None while unknown, and for what is never listed.

    While it is stale, `written` may have all that its entry needs, as `Written.pack` packs it.
    """

    __slots__ = ("entry", "name", "parent", "staleness", "written")

    def __init__(self, parent: "Folder | None", name: bytes, entry: bytes | None = None) -> None:
        self.parent = parent
        self.name = name
        self.entry = entry
        self.staleness = Staleness.FRESH
        self.written: bytes | None = None


class Folder:
    """A directory whose name may be listed."""

    __slots__ = ("children", "name", "parent")

    def __init__(self, parent: "Folder | None", name: bytes) -> None:
        self.parent = parent
        self.name = name
        self.children: dict[bytes, Leaf | Folder] = {}


Node = Leaf | Folder


class EntryTree:
    """All files and links with a listed path, below one root directory."""

    def __init__(self) -> None:
        self._root = Folder(None, b"")

    def put(self, path: bytes, node: Node) -> bool:
        """Insert `node` at `path`, in place of any other; False if no manifest lists the path."""
        folder, name = self._folder_of(path, creating=True)
        if folder is None or not is_listed_name(name):
            return False
        node.parent, node.name = folder, name
        folder.children[name] = node
        return True

    def take(self, path: bytes) -> Node | None:
        """Remove what is at `path` from the tree and return it."""
        folder, name = self._folder_of(path)
        return folder.children.pop(name, None) if folder else None

    def find(self, path: bytes) -> Node | None:
        """Return what is at `path`."""
        folder, name = self._folder_of(path)
        return folder.children.get(name) if folder else None

    def entry_at(self, path: bytes) -> bytes | None:
        """Return the entry of the file or link at `path`, if it has one."""
        node = self.find(path)
        return node.entry if isinstance(node, Leaf) else None

    def leaves(self) -> Iterator[tuple[bytes, Leaf]]:
        """Yield every path that is not a directory."""
        for name, node in self._root.children.items():
            yield from leaves_below(node, name)

    def entries(self) -> Iterator[bytes]:
        """Yield all entries, sorted bytewise by path."""
        stack = _sorted_children(self._root)
        while stack:
            _, node = stack.pop()
            if isinstance(node, Folder):
                stack += _sorted_children(node)
            elif node.entry is not None:
                yield node.entry

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


def path_of(node: Node) -> bytes:
    """Return the path of a node that is in a tree."""
    names = [node.name]
    while node.parent is not None and node.parent.parent is not None:
        node = node.parent
        names.append(node.name)
    return b"/".join(reversed(names))


def leaves_below(node: Node, path: bytes) -> Iterator[tuple[bytes, Leaf]]:
    """Yield the files and links at and below `node`, whose path is `path`."""
    stack: list[tuple[bytes, Node]] = [(path, node)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, Leaf):
            yield path, node
        else:
            stack += [(path + b"/" + name, child) for name, child in node.children.items()]


def _sorted_children(folder: Folder) -> list[tuple[bytes, Node]]:
    """Return the children of a directory in the reverse order of the document."""

    # A directory sorts as if its name ended in a slash: "a.b" comes before "a/b".
    def sort_key(item: tuple[bytes, Node]) -> bytes:
        return item[0] + b"/" if isinstance(item[1], Folder) else item[0]

    return sorted(folder.children.items(), key=sort_key, reverse=True)
