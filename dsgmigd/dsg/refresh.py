"""Bring the entries of a manifest up to date from the files.

Files are read in the source, so that the manifest says what they must be, unless they came by whole
in the send stream of the source and were hashed on their way. Their times are written
as the target stores them, because DSG reads the target. Hard links and the contents of new
directories are read in staging. The verifier reads both sides by itself.

Raises: the errors of `source_error` and `target_error`, TargetRefused, and whatever the checkpoint
raises.
"""

import os
import stat
from collections.abc import Callable

from dsgmigd.dsg.manifest import Manifest, StaleEntry
from dsgmigd.dsg.refused import is_refused
from dsgmigd.dsg.scope import EVERYTHING, Scope
from dsgmigd.dsg.stale import Staleness, Written
from dsgmigd.errors import TargetRefused
from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import source_error, target_error
from dsgmigd.host.hashing import hash_file


class Refresher:
    """Settles the stale entries of one step; `user` pushed the snapshot, which has this `scope`.

    `held_mtime_ns` returns the time that the target stores for a time in the source, both in
    nanoseconds since the epoch.

    `refused` are the settled paths that DSG's client refuses.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        staging: Directories,
        source: Directories,
        user: str,
        checkpoint: Callable[[], None],
        scope: Scope = EVERYTHING,
        held_mtime_ns: Callable[[int], int] = lambda mtime_ns: mtime_ns,
    ) -> None:
        self._manifest = manifest
        self._scope = scope
        self._held_mtime_ns = held_mtime_ns
        self._staging = staging
        self._source = source
        self._user = user
        self._checkpoint = checkpoint
        self._linked_digests: dict[int, str] = {}
        self._linked_times: set[int] = set()
        self._linked_outside: set[int] = set()
        self.files_hashed = 0
        self.refused: list[str] = []

    def settle_all(self) -> None:
        """Settle every stale entry, and those that settling adds."""
        while self._manifest.has_stale():
            for stale in self._manifest.take_stale():
                self._checkpoint()
                self._settle(stale)
                if is_refused(stale.path.decode()) and self._manifest.has_entry(stale.path):
                    self.refused.append(stale.path.decode())
        self._manifest.finish_step()

    def _settle(self, stale: StaleEntry) -> None:
        if stale.written is not None:
            self._settle_written(stale, stale.written)
            return
        try:
            status = self._source.lstat(stale.path)
            is_link = stat.S_ISLNK(status.st_mode)
            reference = self._reference(stale.path) if is_link else b""
        except OSError as error:
            raise source_error(error, f"reading {os.fsdecode(stale.path)!r}") from error
        try:
            if not stat.S_ISDIR(status.st_mode) and not self._scope.has(stale.path):
                self._settle_outside(stale, status)
            elif stat.S_ISREG(status.st_mode):
                self._settle_file(stale, status)
            elif is_link:
                self._manifest.settle_link(stale, user=self._user, reference=reference)
            elif stat.S_ISDIR(status.st_mode):
                names = self._staging.names(stale.path)
                self._manifest.settle_directory(stale, [os.fsencode(name) for name in names])
            else:
                self._manifest.settle_unlisted(stale)
        except OSError as error:
            raise target_error(error, f"reading {os.fsdecode(stale.path)!r}") from error

    def _reference(self, path: bytes) -> bytes:
        """Return the target of the symbolic link at `path`."""
        parent, name = self._source.parent_of(path)
        return os.readlink(name, dir_fd=parent)

    def _settle_outside(self, stale: StaleEntry, status: os.stat_result) -> None:
        if status.st_nlink > 1:  # a change through this name also changes names in the scope
            inode = self._staging.lstat(stale.path).st_ino
            if inode not in self._linked_outside:
                self._linked_outside.add(inode)
                self._manifest.mark_link_group(inode, Staleness.CONTENT)
        self._manifest.settle_unlisted(stale)

    def _settle_written(self, stale: StaleEntry, written: Written) -> None:
        """Settle a new file whose content was hashed when it was written."""
        if not self._scope.has(stale.path):
            self._manifest.settle_unlisted(stale)
            return
        self.files_hashed += 1
        self._settle_entry(stale, written.size, written.mtime_ns, written.digest)

    def _settle_file(self, stale: StaleEntry, status: os.stat_result) -> None:
        if status.st_nlink > 1:
            digest = self._settle_linked(stale, status)
        else:
            digest = self._digest(stale.path, status) if stale.needs_content else None
        self._settle_entry(stale, status.st_size, status.st_mtime_ns, digest)

    def _settle_entry(
        self, stale: StaleEntry, size: int, mtime_ns: int, digest: str | None
    ) -> None:
        mtime = _float_seconds(self._held_mtime_ns(mtime_ns))
        try:
            self._manifest.settle_file(
                stale, user=self._user, size=size, mtime=mtime, digest=digest
            )
        except OverflowError as error:
            raise TargetRefused(
                f"the time of {os.fsdecode(stale.path)!r}, {mtime:.0f} seconds since "
                "1970, is outside the range of years that DSG's metadata can express",
                hint="set a time between the years 1 and 9999 in the source",
            ) from error

    def _settle_linked(self, stale: StaleEntry, status: os.stat_result) -> str | None:
        """Add a file to its group of hard links; return its digest if it may be new."""
        inode = self._staging.lstat(stale.path).st_ino
        self._manifest.join_link_group(stale.path, inode)
        if stale.needs_content:
            return self._linked_digest(stale.path, inode, status)
        if inode not in self._linked_times:
            self._linked_times.add(inode)
            self._manifest.mark_link_group(inode, Staleness.ATTRIBUTES)
        # New content may have been read through another name before this name joined the group.
        return self._linked_digests.get(inode)

    def _linked_digest(self, path: bytes, inode: int, status: os.stat_result) -> str:
        """Return the digest of hard links; the content is read once for all of them."""
        if inode not in self._linked_digests:
            self._linked_digests[inode] = self._digest(path, status)
            self._manifest.mark_link_group(inode, Staleness.CONTENT)
        return self._linked_digests[inode]

    def _digest(self, path: bytes, status: os.stat_result) -> str:
        try:
            parent, name = self._source.parent_of(path)
            digest, _ = hash_file(parent, name, status=status, checkpoint=self._checkpoint)
        except OSError as error:
            raise source_error(error, f"reading {os.fsdecode(path)!r}") from error
        self.files_hashed += 1
        return digest


def _float_seconds(nanoseconds: int) -> float:
    """Return a time as os.stat_result.st_mtime, which DSG's client reads."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return seconds + 1e-9 * rest
