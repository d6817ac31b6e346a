"""Reach files below one directory without ever following a symbolic link.

Every path is opened component by component with O_NOFOLLOW, so that a link planted in a tree cannot
lead out of it, and no path is too long: PATH_MAX limits one call, and each call has one name. Up to
256 directories stay open, so that the next path in the same directory costs one call. They are
opened with O_PATH, which asks the file system once where a full open asks three times. An open
descriptor keeps a dataset busy: use `Directories` as a context manager, and leave the block before
unmounting.

Raises: OSError from the kernel.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

_OPEN_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NOATIME: reading must not change the access time.
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOATIME
_KEPT_OPEN = 256


class Directories:
    """Opens directories below `root`; paths are bytes relative to it, and b"" is the root."""

    def __init__(self, root: str | bytes) -> None:
        self.root = os.open(root, _OPEN_DIRECTORY)
        self._open: dict[bytes, int] = {}
        self._latest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every descriptor."""
        self.forget_all()
        os.close(self.root)

    def parent_of(self, path: bytes) -> tuple[int, bytes]:
        """Return a descriptor of the directory that contains `path`, and the name in it."""
        parent, _, name = path.rpartition(b"/")
        return self.open(parent), name or b"."

    def open(self, path: bytes) -> int:
        """Return a descriptor of the directory `path`, to be used as `dir_fd` only (O_PATH).

        This object owns it, and keeps it open while one more path is opened: a rename needs two.
        """
        return self._open_by(path, _OPEN_DIRECTORY)

    def _open_by(self, path: bytes, flags: int) -> int:
        """Return a descriptor of the directory `path`; these `flags` if it is not open yet."""
        before, self._latest = self._latest, path
        missing: list[bytes] = []
        known = path
        while known and known not in self._open:
            known, _, name = known.rpartition(b"/")
            missing.append(name)
        descriptor = self.root
        if known:
            descriptor = self._open[known] = self._open.pop(
                known
            )  # keeps the most recently used last
        for name in reversed(missing):
            known = known + b"/" + name if known else name
            by = flags if known == path else _OPEN_DIRECTORY
            descriptor = os.open(name, by, dir_fd=descriptor)
            self._open[known] = descriptor
            if len(self._open) > _KEPT_OPEN:
                oldest = next(one for one in self._open if one != before)
                os.close(self._open.pop(oldest))
        return descriptor

    @contextmanager
    def readable(self, path: bytes) -> Iterator[int]:
        """Give a descriptor of the directory `path` with which it can be listed and changed."""
        descriptor = os.open(b".", _READ_DIRECTORY, dir_fd=self.open(path))
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def names(self, path: bytes) -> list[str]:
        """Return the names in the directory `path`."""
        if not path or path in self._open:
            with self.readable(path) as descriptor:
                return os.listdir(descriptor)
        # A directory that is about to be read is opened once, not twice.
        return os.listdir(self._open_by(path, _READ_DIRECTORY | os.O_NOFOLLOW))

    def lstat(self, path: bytes) -> os.stat_result:
        """Return the status of `path`; of a symbolic link, its own."""
        parent, name = self.parent_of(path)
        return os.lstat(name, dir_fd=parent)

    def walk(self, top: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        """Yield `top` and every path below it with its status, a directory before its contents.

        Yields nothing if `top` does not exist; a path that is removed during the walk is left out.
        Raises OSError with the whole path as its `filename`.
        """
        waiting = [top]
        while waiting:
            path = waiting.pop()
            try:
                status = self.lstat(path)
                names = self.names(path) if stat.S_ISDIR(status.st_mode) else []
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                error.filename = path
                raise
            yield path, status
            prefix = path + b"/" if path else b""
            waiting += [prefix + os.fsencode(name) for name in names]

    def forget(self, path: bytes) -> None:
        """Close the descriptors at and below `path`, which is about to be renamed or removed."""
        below = path + b"/"
        for known in [known for known in self._open if known == path or known.startswith(below)]:
            os.close(self._open.pop(known))

    def forget_all(self) -> None:
        """Close every descriptor except that of the root."""
        while self._open:
            os.close(self._open.popitem()[1])
