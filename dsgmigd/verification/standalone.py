"""Check the snapshots of a dataset against their own manifests, without the source.

Every file and link that a manifest lists must exist and must be as its entry says, and everything
that belongs in a manifest must be listed. Contents are read and hashed, except those of files that
are proven by the snapshot before (see `proof`; here the dataset stands for both sides). A file that
is not in the manifest, such as a hidden one, is counted and not read: there is nothing to compare
it with.

In each discrepancy, `source` is what the documents say and `target` is what was found.

Raises: the errors of `target_error`, HostExhausted, and whatever the checkpoint raises. Differences
are data, not errors.
"""

import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from dsgmigd.dsg.read_scope import read_scope
from dsgmigd.host.file_errors import target_error, target_errors
from dsgmigd.request import VerifyLevel
from dsgmigd.verification.compare import Discrepancy, printable
from dsgmigd.verification.contents import reading_threads
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.metadata.chain import Chain
from dsgmigd.verification.metadata.documents import Documents, compare_stamp, manifest_time
from dsgmigd.verification.proof import Moments, Proofs
from dsgmigd.verification.side import Side
from dsgmigd.verification.walk_context import WalkContext

# ZFS sets the creation time of a snapshot when it writes the snapshot out. A busy pool does that
# many seconds after the contents were fixed, and the dataset may be written to in the meantime.
_SETTLING_SECONDS = 60
_NO_DATA = frozenset({".dsg", ".zfs"})
_LISTED = "listed in the manifest"
_NOT_LISTED = "not listed in the manifest"


@dataclass(frozen=True)
class Stamp:
    """What ZFS says about a snapshot.

    `snapshot_hash` is the user property that dsgmigd set, if it is set. `created_before` is the
    creation of the snapshot that was checked before this one, in seconds since the epoch.
    """

    snapshot_hash: str | None = None
    created_before: float | None = None


class ManifestVerifier:
    """Checks the snapshots of one dataset in order, and remembers what is proven."""

    def __init__(
        self,
        *,
        level: VerifyLevel,
        hash_threads: int,
        checkpoint: Callable[[], None] = lambda: None,
        note: Callable[[str, list[Discrepancy]], None] = lambda _, __: None,
    ) -> None:
        self._level = level
        self._note = note
        self._hash_threads = hash_threads
        self._checkpoint = checkpoint
        self._proofs = Proofs()
        self._chain = Chain(checkpoint)
        self._documents = Documents(may_be_reformatted=True, checkpoint=checkpoint)

    def verify(
        self, root: str, number: int, stamp: Stamp, *, is_document_only: bool = False
    ) -> Verification:
        """Check snapshot s`number` below `root`; `is_document_only` is like level `structure`."""
        level: VerifyLevel = "structure" if is_document_only else self._level
        moments = Moments() if level == "exhaustive" else _moments(stamp)
        self._proofs.begin_snapshot()
        result = Verification(level, note=partial(self._note, f"s{number}"))
        with target_errors(f"reading .dsg of s{number}"):
            scope = read_scope(root)
            view = self._documents.read(root, number)
            result.add(view.discrepancies)
            result.add(self._chain.check(root, number, view, moments))
        result.add(compare_stamp(view, stamp.snapshot_hash))
        if level != "structure":
            context = WalkContext(result, view, scope, moments, self._checkpoint)
            with (
                Side(root, target_error, checkpoint=self._checkpoint) as side,
                reading_threads(self._hash_threads) as pool,
            ):
                _Walk(side, context, self._proofs).run(pool)
        return result


def _moments(stamp: Stamp) -> Moments:
    if stamp.created_before is None:
        return Moments()
    return Moments(target=stamp.created_before - _SETTLING_SECONDS)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A file with an entry while its content is read; everything else is compared."""

    path: str
    status: os.stat_result
    entry: dict[str, Any]
    answer: Future[tuple[str, int]]


class _Walk:
    """Checks one snapshot; make a new one for the next snapshot."""

    def __init__(self, side: Side, context: WalkContext, proofs: Proofs) -> None:
        self._side = side
        self._context = context
        self._proofs = proofs
        self._result = context.result
        self._listing = context.view.listing

    def run(self, pool: ThreadPoolExecutor) -> None:
        """Check the whole tree."""
        waiting = [""]
        while waiting:
            waiting += reversed(self._check_directory(waiting.pop(), pool))
        for path in self._listing.untaken():
            self._context.differ(path, "presence", _LISTED, "missing")

    def _check_directory(self, path: str, pool: ThreadPoolExecutor) -> list[str]:
        """Check the entries of the directory `path`; return the directories in it."""
        skipped = frozenset() if path else _NO_DATA
        names = sorted(name for name in self._side.names(path) if name not in skipped)
        statuses = self._side.statuses(path, names)
        descriptor = self._side.open(path)
        directories: list[str] = []
        readings: list[_Reading] = []
        for name, status in zip(names, statuses, strict=True):
            if status is None:
                continue  # if the manifest lists it, it is reported as missing at the end
            self._context.checkpoint()
            self._result.entries += 1
            full = f"{path}/{name}" if path else name
            if stat.S_ISDIR(status.st_mode):
                directories.append(full)
            entry = self._compare(full, name, status, descriptor)
            if entry is not None:
                answer = pool.submit(self._side.digest, full, name, descriptor, status)
                readings.append(_Reading(full, status, entry, answer))
        for reading in readings:
            self._finish(reading)
        return directories

    def _compare(
        self, path: str, name: str, status: os.stat_result, directory: int
    ) -> dict[str, Any] | None:
        """Compare all but contents; return the entry of a file whose content must be read."""
        kind = _kind(status)
        self._result.files += kind == "file"
        reference = self._side.reference(path, name, directory) if kind == "link" else None
        line = self._listing.take(path)
        if line is None:
            there = None if reference is None else os.fsencode(reference)
            if kind in {"file", "link"} and self._context.scope.lists(os.fsencode(path), there):
                self._context.differ(path, "presence", _NOT_LISTED, "present")
            return None
        entry = json.loads(line)
        if entry.get("type") != kind:
            self._context.differ(path, "type", entry.get("type"), kind)
            return None
        if reference is not None and entry.get("reference") != reference:
            self._context.differ(path, "reference", entry.get("reference"), printable(reference))
        return entry if kind == "file" and self._compare_file(path, status, entry) else None

    def _compare_file(self, path: str, status: os.stat_result, entry: dict[str, Any]) -> bool:
        """Compare time and size of a file; return whether its content must be read.

        It need not be read if it is proven, or if the size is wrong already.
        """
        entry_hash = self._listing.hash_of(path)
        if self._proofs.renew(status, status, entry_hash, self._context.moments):
            self._result.files_proven += 1
            return False
        time = _time(status)
        if entry.get("mtime") != time:
            self._context.differ(path, "mtime", entry.get("mtime"), time)
        if entry.get("filesize") != status.st_size:
            self._context.differ(path, "size", entry.get("filesize"), status.st_size)
            return False
        return True

    def _finish(self, reading: _Reading) -> None:
        self._context.checkpoint()
        path, status, entry = reading.path, reading.status, reading.entry
        digest, count = reading.answer.result()
        self._result.files_read += 1
        self._result.target_bytes_read += count
        if entry.get("hash") != digest:
            self._context.differ(path, "content", entry.get("hash"), digest)
        elif entry.get("mtime") == _time(status):
            self._proofs.add(status, status, self._listing.hash_of(path))


def _kind(status: os.stat_result) -> str:
    """Return the type of a file as entries spell it."""
    if stat.S_ISREG(status.st_mode):
        return "file"
    if stat.S_ISLNK(status.st_mode):
        return "link"
    return "directory" if stat.S_ISDIR(status.st_mode) else "special file"


def _time(status: os.stat_result) -> str:
    try:
        return manifest_time(status.st_mtime)
    except (ValueError, OverflowError, OSError):
        return f"{status.st_mtime:.0f} seconds since 1970, which an entry cannot express"
