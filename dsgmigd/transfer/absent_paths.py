"""Which paths of the source are absent from the staging directory during a replay.

A path is *absent* if the exclusion rule keeps it out, or if it is at or below a *deferred* path:
one that was renamed out of the excluded part, so that the send stream does not carry its content.
Deferred paths are copied from the source after the stream; until then they are renamed along with
their directories.
"""

from dsgmigd.exclusion import is_excluded


class AbsentPaths:
    """The absent paths at one moment of a replay."""

    def __init__(self) -> None:
        self.deferred: set[bytes] = set()

    def is_absent(self, path: bytes) -> bool:
        """Return whether the source has `path` but the staging directory does not."""
        if is_excluded(path):
            return True
        if not self.deferred:
            return False
        while path:
            if path in self.deferred:
                return True
            path = path.rpartition(b"/")[0]
        return False

    def defer(self, path: bytes) -> None:
        """Note that `path`, with everything below it, must be copied from the source."""
        self.deferred.add(path)

    def forget(self, path: bytes) -> None:
        """Forget `path` itself: it was renamed or removed."""
        self.deferred.discard(path)

    def move_below(self, old: bytes, new: bytes) -> None:
        """Rename the deferred paths below the directory `old`, which was renamed to `new`."""
        for path in self._below(old):
            self.deferred.remove(path)
            self.deferred.add(new + path[len(old) :])

    def forget_below(self, path: bytes) -> None:
        """Forget the deferred paths below `path`, which was renamed into the excluded part."""
        self.deferred.difference_update(self._below(path))

    def _below(self, path: bytes) -> list[bytes]:
        prefix = path + b"/"
        return [deferred for deferred in self.deferred if deferred.startswith(prefix)]
