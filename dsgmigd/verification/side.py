"""One of the two trees that the verifier compares: it is only read.

Directories are opened one component at a time and never through a symbolic link, so any depth can
be reached and no link leads out of the tree. Access times do not change.

Raises: the errors that `translate` returns: those of `source_error` or of `target_error`.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from dsgmigd.host.directories import Directories
from dsgmigd.host.hashing import hash_file
from dsgmigd.host.status_table import StatusTable
from dsgmigd.source.subvolume import EMPTY_SUBVOL_DIR_OBJECTID, FIRST_FREE_OBJECTID
from dsgmigd.verification.compare import printable

Translate = Callable[[OSError, str], Exception]

# Some 100 MB.
_MOST_SHA256S = 300_000
_NO_DIRECTORY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Side:
    """The tree below `root`; `translate` returns the error to raise for an OSError and an action.

    With `reads_holes`, the holes of sparse files are read like data. `checkpoint` is called for
    every piece of a file, by whichever thread reads it; whatever it raises ends the reading.
    `sha256s` gets the SHA-256 of every file that is read, in hex digits by path, up to a limit.
    """

    def __init__(
        self,
        root: str,
        translate: Translate,
        *,
        reads_holes: bool = False,
        checkpoint: Callable[[], None] = lambda: None,
        sha256s: dict[bytes, str] | None = None,
    ) -> None:
        self._translate = translate
        self._sha256s = sha256s
        self._checkpoint = checkpoint
        self._reads_holes = reads_holes
        # The directory that was opened last: most calls are for the same again.
        self._latest = "", -1
        with self._errors("opening", root):
            self._directories = Directories(root)
            self.root_status = os.fstat(self._directories.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._directories.close()

    def open(self, path: str) -> int:
        """Return a descriptor of the directory `path`; valid while one more directory is opened."""
        # No context for the errors, here and below: that takes longer than the calls themselves.
        try:
            return self._open(path)
        except OSError as error:
            raise self._error(error, "opening", path) from error

    def _open(self, path: str) -> int:
        if path != self._latest[0] or self._latest[1] < 0:
            self._latest = "", -1  # opening another one may close it
            self._latest = path, self._directories.open(os.fsencode(path))
        return self._latest[1]

    def has_directory(self, path: str) -> bool:
        """Say whether `path` and all its parents are directories."""
        try:
            self._open(path)
        except OSError as error:
            if error.errno in _NO_DIRECTORY:
                return False
            raise self._error(error, "opening", path) from error
        return True

    def names(self, path: str) -> list[str]:
        """Return the names in the directory `path`."""
        try:
            self._latest = "", -1
            return self._directories.names(os.fsencode(path))
        except OSError as error:
            raise self._error(error, "listing", path) from error

    def statuses(self, path: str, names: list[str]) -> list[os.stat_result | None]:
        """Return the status of each name in the directory `path`; None if it does not exist."""
        with self._errors("reading the names in", path):
            directory = self._open(path)
            with suppress(FileNotFoundError):  # almost always, all of them exist
                return [os.lstat(name, dir_fd=directory) for name in names]
            return [_status(name, directory) for name in names]

    def read_statuses(self, path: str, names: list[bytes], table: StatusTable) -> None:
        """Read the status of each name in the directory `path` into `table`."""
        try:
            table.read(self._open(path), names)
        except OSError as error:
            raise self._error(error, "reading the names in", path) from error

    def has_one_file_system(self, table: StatusTable) -> bool:
        """Say whether every name in `table` exists and is on the file system of the root."""
        return table.is_on_device(self.root_status.st_dev)

    def is_nested_subvolume(self, status: os.stat_result) -> bool:
        """Say whether a path with this status is a nested subvolume or another file system."""
        if status.st_dev != self.root_status.st_dev:
            return True
        is_stub = status.st_ino == EMPTY_SUBVOL_DIR_OBJECTID and stat.S_ISDIR(status.st_mode)
        return is_stub and self.root_status.st_ino == FIRST_FREE_OBJECTID

    def reference(self, path: str, name: str, directory: int) -> str:
        """Return the target of the symbolic link `name`, whose full path is `path`."""
        with self._errors("reading the link", path):
            return os.readlink(name, dir_fd=directory)

    def xattrs(self, path: str, name: str, directory: int) -> dict[str, bytes]:
        """Return the extended attributes of `name`, with ACLs; its full path is `path`."""
        through = f"/proc/self/fd/{directory}/{name}"
        with self._errors("reading the attributes of", path):
            keys = os.listxattr(through, follow_symlinks=False)
            return {key: os.getxattr(through, key, follow_symlinks=False) for key in keys}

    def digest(
        self, path: str, name: str, directory: int, status: os.stat_result
    ) -> tuple[str, int]:
        """Return the content hash of the file `name`, at `path`, and how many bytes were read."""
        wanted = self._sha256s
        also = hashlib.sha256() if wanted is not None and len(wanted) < _MOST_SHA256S else None
        with self._errors("reading", path):
            found = hash_file(
                directory,
                os.fsencode(name),
                status=status,
                reads_holes=self._reads_holes,
                also=also,
                checkpoint=self._checkpoint,
            )
        if wanted is not None and also is not None:
            wanted[os.fsencode(path)] = also.hexdigest()
        return found

    @contextmanager
    def _errors(self, action: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(error, action, path) from error

    def _error(self, error: OSError, action: str, path: str) -> Exception:
        return self._translate(error, f"{action} {printable(path or '.')!r}")


def _status(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return None
