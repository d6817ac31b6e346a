"""One of the two trees that the verifier compares: reads, and nothing else.

Directories are reached one component at a time and never through a symbolic link, so no depth is
too deep and no link leads out. Access times stay as they are.

Leaving errors: SourceUnreadable or TargetUnwritable and its kin, as the side was told.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from dsgmigd.descriptors import Directories
from dsgmigd.hashing import hash_file
from dsgmigd.verify.compare import printable

Translate = Callable[[OSError, str], Exception]

# btrfs: the root of a subvolume, and what a snapshot has in the place of a subvolume in it.
_SUBVOLUME_INODE = 256
_NO_SUBVOLUME_INODE = 2
_NO_DIRECTORY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Side:
    """The tree below `root`; `translate` makes the error to raise of an OSError and an action.

    With `reads_holes` what the file system calls a hole is read all the same.
    """

    def __init__(self, root: str, translate: Translate, *, reads_holes: bool = False) -> None:
        self._translate = translate
        self._reads_holes = reads_holes
        with self._errors("opening", root):
            self._directories = Directories(root)
            self.root_status = os.fstat(self._directories.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._directories.close()

    def open(self, path: str) -> int:
        """Return a descriptor of the directory `path`, good until the next but one is opened."""
        with self._errors("opening", path):
            return self._directories.open(os.fsencode(path))

    def has_directory(self, path: str) -> bool:
        """Say whether `path` is a directory, and all on the way to it are."""
        try:
            self._directories.open(os.fsencode(path))
        except OSError as error:
            if error.errno in _NO_DIRECTORY:
                return False
            raise self._translate(error, f"opening {printable(path)!r}") from error
        return True

    def names(self, path: str) -> list[str]:
        """Return the names in the directory `path`."""
        with self._errors("listing", path):
            return self._directories.names(os.fsencode(path))

    def statuses(self, path: str, names: list[str]) -> list[os.stat_result | None]:
        """Return the status of each name in the directory `path`; None where nothing is."""
        with self._errors("reading the names in", path):
            directory = self._directories.open(os.fsencode(path))
            with suppress(FileNotFoundError):  # by far the most: all of them are there
                return [os.lstat(name, dir_fd=directory) for name in names]
            return [_status(name, directory) for name in names]

    def is_border(self, status: os.stat_result) -> bool:
        """Say whether another file system, or another subvolume, begins there."""
        if status.st_dev != self.root_status.st_dev:
            return True
        is_stub = status.st_ino == _NO_SUBVOLUME_INODE and stat.S_ISDIR(status.st_mode)
        return is_stub and self.root_status.st_ino == _SUBVOLUME_INODE

    def reference(self, path: str, name: str, directory: int) -> str:
        """Return where the symbolic link `name`, whole `path`, points to."""
        with self._errors("reading the link", path):
            return os.readlink(name, dir_fd=directory)

    def xattrs(self, path: str, name: str, directory: int) -> dict[str, bytes]:
        """Return the extended attributes of `name`, whole `path`, ACLs among them."""
        through = f"/proc/self/fd/{directory}/{name}"
        with self._errors("reading the attributes of", path):
            keys = os.listxattr(through, follow_symlinks=False)
            return {key: os.getxattr(through, key, follow_symlinks=False) for key in keys}

    def digest(
        self, path: str, name: str, directory: int, status: os.stat_result
    ) -> tuple[str, int]:
        """Return the content hash of the file `name`, whole `path`, and how much was read."""
        with self._errors("reading", path):
            return hash_file(
                directory, os.fsencode(name), status=status, reads_holes=self._reads_holes
            )

    @contextmanager
    def _errors(self, action: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._translate(error, f"{action} {printable(path or '.')!r}") from error


def _status(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return None
