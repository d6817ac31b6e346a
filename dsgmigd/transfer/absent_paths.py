"""The border between the tree that is migrated and what stays out of it.

A path is *absent* from the staging directory if the exclusion rule keeps it out, or if it is, or
lies below, a *deferred* path: something that came out of the excluded part, whose content a send
stream does not carry. Deferred paths are copied from the source when the stream has ended; until
then they move with their directories.
"""

from dsgmigd.exclusion import is_excluded


class Border:
    """What is absent from the staging directory at one moment of a replay."""

    def __init__(self) -> None:
        self.deferred: set[bytes] = set()

    def is_absent(self, path: bytes) -> bool:
        """Say whether `path` is not in the staging directory although the source has it."""
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
        """Remember to copy `path`, with all below it, from the source."""
        self.deferred.add(path)

    def forget(self, path: bytes) -> None:
        """Forget `path` itself: it moved away or was deleted."""
        self.deferred.discard(path)

    def move_below(self, old: bytes, new: bytes) -> None:
        """Let the deferred paths below the directory `old` follow it to `new`."""
        for path in self._below(old):
            self.deferred.remove(path)
            self.deferred.add(new + path[len(old) :])

    def forget_below(self, path: bytes) -> None:
        """Forget the deferred paths below `path`, which crossed the border outwards."""
        self.deferred.difference_update(self._below(path))

    def _below(self, path: bytes) -> list[bytes]:
        prefix = path + b"/"
        return [deferred for deferred in self.deferred if deferred.startswith(prefix)]
