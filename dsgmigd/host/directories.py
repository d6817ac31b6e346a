"""Reach files below one directory without ever following a symbolic link.

Every path is walked component by component with O_NOFOLLOW, so no link planted in a tree leads out
of it, and no path is too long: PATH_MAX bounds one call, and each call sees one name. Directories
stay open, up to a bound, so that neighbours cost one call each. Most of them only lead on, and are
opened as nothing else (O_PATH): that takes one question to a file system in place of three. An open
descriptor keeps a dataset busy: use as a context manager and leave the block before unmounting.

Leaving error: OSError, as the kernel gave it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

_OPEN_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NOATIME: looking must not change what is looked at.
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOATIME
_KEPT_OPEN = 256


class Directories:
    """Open directories below `root`; paths are bytes, relative to it, b"" is the root itself."""

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
        """Return a descriptor of the directory that holds `path`, and the name in it."""
        parent, _, name = path.rpartition(b"/")
        return self.open(parent), name or b"."

    def open(self, path: bytes) -> int:
        """Return a descriptor of the directory `path`, from which names in it can be reached.

        It stays this object's, and open while one further path is opened: a rename needs two.
        """
        before, self._latest = self._latest, path
        missing: list[bytes] = []
        known = path
        while known and known not in self._open:
            known, _, name = known.rpartition(b"/")
            missing.append(name)
        descriptor = self.root
        if known:
            descriptor = self._open[known] = self._open.pop(known)  # the latest used is the last
        for name in reversed(missing):
            descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=descriptor)
            known = known + b"/" + name if known else name
            self._open[known] = descriptor
            if len(self._open) > _KEPT_OPEN:
                oldest = next(one for one in self._open if one != before)
                os.close(self._open.pop(oldest))
        return descriptor

    @contextmanager
    def readable(self, path: bytes) -> Iterator[int]:
        """Give a descriptor of the directory `path` itself, to list or to change it."""
        descriptor = os.open(b".", _READ_DIRECTORY, dir_fd=self.open(path))
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def names(self, path: bytes) -> list[str]:
        """Return the names in the directory `path`."""
        with self.readable(path) as descriptor:
            return os.listdir(descriptor)

    def forget(self, path: bytes) -> None:
        """Close what is open at and below `path`, which is about to move or to go away."""
        below = path + b"/"
        for known in [known for known in self._open if known == path or known.startswith(below)]:
            os.close(self._open.pop(known))

    def forget_all(self) -> None:
        """Close every descriptor but the root's."""
        while self._open:
            os.close(self._open.popitem()[1])
