"""The names of files that have several, as a tree of directories that are renamed at once.

A change is reported by one name and concerns all of them. Only names that a manifest lists are
here; paths are bytes.

Raises: nothing.
"""

from collections.abc import Iterator

from dsgmigd.dsg.stale import Staleness


class LinkName:
    """One name of the file `inode`; `staleness` is what was reported by it and not read yet."""

    __slots__ = ("inode", "name", "parent", "staleness")

    def __init__(self, parent: "_Directory", name: bytes, inode: int) -> None:
        self.parent = parent
        self.name = name
        self.inode = inode
        self.staleness = Staleness.FRESH

    @property
    def path(self) -> bytes:
        """The path at which the name is now."""
        names = [self.name]
        directory = self.parent
        while directory.parent is not None:
            names.append(directory.name)
            directory = directory.parent
        return b"/".join(reversed(names))


class _Directory:
    __slots__ = ("children", "name", "parent")

    def __init__(self, parent: "_Directory | None", name: bytes) -> None:
        self.parent = parent
        self.name = name
        self.children: dict[bytes, LinkName | _Directory] = {}


class LinkNames:
    """All known names of files that have several."""

    def __init__(self) -> None:
        self._root = _Directory(None, b"")
        self._groups: dict[int, set[LinkName]] = {}

    def join(self, path: bytes, inode: int) -> None:
        """Record that `path` is a name of the file `inode`."""
        known = self.find(path)
        if known is None or known.inode != inode:
            self.remove(path)
            *parts, name = path.split(b"/")
            directory = self._make(parts)
            link = directory.children[name] = LinkName(directory, name, inode)
            self._groups.setdefault(inode, set()).add(link)

    def find(self, path: bytes) -> LinkName | None:
        """Return the name at `path`, if that is one of several."""
        found = self._at(path)
        return found if isinstance(found, LinkName) else None

    def names_of(self, inode: int) -> list[LinkName]:
        """Return all names of the file `inode`."""
        return list(self._groups.get(inode, ()))

    def remove(self, path: bytes) -> list[LinkName]:
        """Forget the names at and below `path`, and return them."""
        found = self._at(path)
        if found is None or found.parent is None:
            return []
        del found.parent.children[found.name]
        links = list(_links_at(found))
        for link in links:
            group = self._groups[link.inode]
            group.discard(link)
            if not group:
                del self._groups[link.inode]
        return links

    def rename(self, old: bytes, new: bytes) -> None:
        """Move the names at and below `old` to `new`, where there are none."""
        found = self._at(old)
        if found is None or found.parent is None:
            return
        del found.parent.children[found.name]
        *parts, name = new.split(b"/")
        directory = self._make(parts)
        found.parent, found.name = directory, name
        directory.children[name] = found

    def _at(self, path: bytes) -> LinkName | _Directory | None:
        if not self._root.children:
            return None
        node: LinkName | _Directory | None = self._root
        for part in path.split(b"/"):
            if not isinstance(node, _Directory):
                return None
            node = node.children.get(part)
        return node

    def _make(self, parts: list[bytes]) -> _Directory:
        directory = self._root
        for part in parts:
            child = directory.children.get(part)
            if not isinstance(child, _Directory):
                child = directory.children[part] = _Directory(directory, part)
            directory = child
        return directory


def _links_at(node: LinkName | _Directory) -> Iterator[LinkName]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, LinkName):
            yield node
        else:
            waiting += node.children.values()
