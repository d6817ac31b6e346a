"""The directories of snapshots that are read without a pin.

Whoever owns a repository may exchange a snapshot in it for a link, or for another directory. So its
directory is opened once, not through a link, and is then reached by its descriptor only. A few are
kept open; one that is opened again must be the same directory. One that was removed or exchanged is
not read on: a directory that was removed would be read as an empty one.

Raises: SourceChanged, SourceUnreadable, HostExhausted.
"""

import errno
import os
from threading import Lock

from dsgmigd.errors import SourceChanged
from dsgmigd.host.file_errors import source_error, source_errors, status_of

_OPEN_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_EXCHANGED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
# A snapshot, its parent, and what is prefetched or compared meanwhile are in use at a time.
_KEPT_OPEN = 16


class Places:
    """Directories of the source, each the same one for as long as this is open."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self._known: dict[str, tuple[int, int]] = {}
        self._lock = Lock()  # the verifier looks at two snapshots in two threads

    def path_to(self, place: str) -> str:
        """Return a path to the directory that `place` was when it was first asked for.

        The path is valid for programs that this process starts too, until others were asked for.
        """
        with self._lock:
            descriptor = self._open.pop(place, None)
            if descriptor is None:
                descriptor = self._open_same(place)
            self._open[place] = descriptor  # keeps the most recently used last
            self._check(place)
            if len(self._open) > _KEPT_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
        # Without the dot the path is a link, which is not followed where no link may be.
        return f"/proc/{os.getpid()}/fd/{descriptor}/."

    def close(self) -> None:
        """Close every directory."""
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1])

    def _open_same(self, place: str) -> int:
        try:
            descriptor = os.open(place, _OPEN_DIRECTORY)
        except OSError as error:
            if error.errno in _EXCHANGED:
                raise _changed(place) from error
            raise source_error(error, f"opening {place}") from error
        status = os.fstat(descriptor)
        self._known.setdefault(place, (status.st_dev, status.st_ino))
        return descriptor

    def _check(self, place: str) -> None:
        """Raise SourceChanged unless `place` and its descriptor lead to the known directory."""
        with source_errors(f"looking at {place}"):
            named, opened = status_of(place), os.fstat(self._open[place])
        for status in (named, opened):
            if status is None or (status.st_dev, status.st_ino) != self._known[place]:
                os.close(self._open.pop(place))
                raise _changed(place)


def _changed(place: str) -> SourceChanged:
    return SourceChanged(
        f"{place} was removed or replaced while it was read",
        hint="submit again when the source is no longer being changed",
    )
