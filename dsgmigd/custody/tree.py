"""Reads what the evidence says of the paths in one tree: the mounted snapshot of a dataset.

Directories are opened one component at a time and never through a symbolic link. Nothing is
written, and access times do not change.

Raises: OSError, as the kernel gave it, and whatever the checkpoint raises.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Self

from dsgmigd.custody.entry import Entry, kind_of
from dsgmigd.custody.table import Row
from dsgmigd.host.directories import Directories
from dsgmigd.host.hashing import sha256_of_file

_NO_XATTRS = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})
# What a dataset with snapdir=visible shows at its root.
_NOT_OF_THE_SNAPSHOT = b".zfs"
_DEVICES = frozenset({stat.S_IFCHR, stat.S_IFBLK})


class Tree:
    """The tree below `root`; a context.

    `known` has the SHA-256 of files that were read just now, in hex digits by path. `checkpoint` is
    called for every path and every piece of a file.
    """

    def __init__(
        self,
        root: str,
        *,
        known: Mapping[bytes, str] | None = None,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        self._known = known or {}
        self._checkpoint = checkpoint
        self._directories = Directories(root)
        self._linked: dict[int, str] = {}  # what was read of files with several names

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._directories.close()

    def status(self, path: bytes) -> os.stat_result | None:
        """Return the status of `path`; of a link, its own; None if there is nothing."""
        try:
            return self._directories.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, path: bytes) -> list[bytes]:
        """Return the names in the directory `path`."""
        names = map(os.fsencode, self._directories.names(path))
        return [name for name in names if path or name != _NOT_OF_THE_SNAPSHOT]

    def walk(self, top: bytes = b"") -> Iterator[tuple[bytes, os.stat_result]]:
        """Yield `top` and every path below it with its status, sorted bytewise by path."""
        status = self.status(top)
        if status is None:
            return
        yield top, status
        waiting = [self._contents(top)] if stat.S_ISDIR(status.st_mode) else []
        while waiting:
            path = next(waiting[-1], None)
            if path is None:
                waiting.pop()
            elif path.endswith(b"/"):
                waiting.append(self._contents(path[:-1]))
            else:
                yield path, self._directories.lstat(path)

    def _contents(self, directory: bytes) -> Iterator[bytes]:
        """Return the paths in a directory; each directory among them once more, with a slash.

        What is in it comes there, behind the names that sort between it and its contents.
        """
        found: list[bytes] = []
        with self._directories.readable(directory) as descriptor, os.scandir(descriptor) as listed:
            for one in listed:
                name = os.fsencode(one.name)
                if directory or name != _NOT_OF_THE_SNAPSHOT:
                    found += [name, name + b"/"] if one.is_dir(follow_symlinks=False) else [name]
        prefix = directory + b"/" if directory else b""
        return (prefix + name for name in sorted(found))

    def row(self, path: bytes, status: os.stat_result) -> Row:
        """Read all that the evidence says of `path`, which has this status."""
        self._checkpoint()
        parent, name = self._directories.parent_of(path)
        kind = stat.S_IFMT(status.st_mode)
        is_file = kind == stat.S_IFREG
        device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        entry = Entry(
            path,
            kind=kind_of(status.st_mode),
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=status.st_mtime_ns,
            links=None if kind == stat.S_IFDIR else status.st_nlink,
            size=status.st_size if is_file else None,
            sha256=self._sha256(path, parent, name, status) if is_file else None,
            target=os.readlink(name, dir_fd=parent) if kind == stat.S_IFLNK else None,
            device=device if kind in _DEVICES else None,
            xattrs=_xattrs(parent, name),
        )
        return Row(path, entry.line(), status.st_ino, status.st_ctime_ns, entry.size)

    def _sha256(self, path: bytes, parent: int, name: bytes, status: os.stat_result) -> str:
        digest = self._known.get(path) or self._linked.get(status.st_ino)
        if digest is None:
            digest = sha256_of_file(parent, name, status, checkpoint=self._checkpoint)
        if status.st_nlink > 1:
            self._linked[status.st_ino] = digest
        return digest

    def is_known(self, path: bytes) -> bool:
        """Say whether somebody read the file at `path` just now."""
        return path in self._known


def _xattrs(parent: int, name: bytes) -> dict[str, bytes]:
    through = b"/proc/self/fd/%d/%s" % (parent, name)
    try:
        keys = os.listxattr(through, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return {}
        raise
    return {key: os.getxattr(through, key, follow_symlinks=False) for key in keys}
