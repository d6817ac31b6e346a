"""Check the snapshots of a dataset against their own manifests; no source is looked at.

Every file and link that a manifest lists has to be there and to be what its entry says, and
everything that belongs in a manifest has to be listed. Contents are read and hashed, except of
files that are proven by the snapshot before (proof.py, with the dataset in the place of both
sides). What stands in no manifest, a hidden file say, is counted and not read: nothing tells what
it has to be.

In each discrepancy `source` is what the documents ask for, and `target` is what is there.

Leaving errors: TargetUnwritable, whatever the checkpoint raises. Differences are data, not errors.
"""

import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from dsgmigd.dsg.scope import Scope
from dsgmigd.file_errors import target_error, target_errors
from dsgmigd.read_scope import read_scope
from dsgmigd.request import VerifyLevel
from dsgmigd.verify.chain import Chain
from dsgmigd.verify.compare import Discrepancy, printable
from dsgmigd.verify.findings import Verification
from dsgmigd.verify.metadata import Documents, ManifestView, manifest_time
from dsgmigd.verify.proof import Moments, Proofs
from dsgmigd.verify.readers import reading_threads
from dsgmigd.verify.side import Side

# The creation of a snapshot is stamped when it is written out, which a busy pool does many seconds
# after the contents were fixed; and others may write into the dataset at that very moment.
_SETTLING_SECONDS = 60
_NO_DATA = frozenset({".dsg", ".zfs"})


@dataclass(frozen=True)
class Stamp:
    """What ZFS says of a snapshot: the hash that dsgmigd noted on it, if it did.

    `created_before` is when the snapshot that was checked before it was made, since the epoch.
    """

    snapshot_hash: str | None = None
    created_before: float | None = None


class ManifestVerifier:
    """Checks the snapshots of one dataset in their order, remembering what is proven."""

    def __init__(
        self,
        *,
        level: VerifyLevel,
        hash_threads: int = 2,
        checkpoint: Callable[[], None] = lambda: None,
        note: Callable[[str, list[Discrepancy]], None] = lambda _, __: None,
    ) -> None:
        self._level = level
        self._note = note
        self._hash_threads = hash_threads
        self._checkpoint = checkpoint
        self._proofs = Proofs()
        self._chain = Chain()
        self._documents = Documents(may_be_laid_out_anew=True)

    def verify(
        self, root: str, number: int, stamp: Stamp, *, is_document_only: bool = False
    ) -> Verification:
        """Check snapshot s`number` below `root`; `is_document_only` is as level structure."""
        level: VerifyLevel = "structure" if is_document_only else self._level
        moments = Moments() if level == "exhaustive" else _moments(stamp)
        self._proofs.begin_snapshot()
        result = Verification(level, note=partial(self._note, f"s{number}"))
        with target_errors(f"reading .dsg of s{number}"):
            scope = read_scope(root)
            view = self._documents.read(root, number)
            result.add(view.discrepancies)
            result.add(self._chain.check(root, number, view, moments))
        result.add(_compare_stamp(view, stamp))
        if level != "structure":
            with (
                Side(root, target_error) as side,
                reading_threads(self._hash_threads) as pool,
            ):
                walk = _Walk(
                    side,
                    result=result,
                    view=view,
                    proofs=self._proofs,
                    moments=moments,
                    scope=scope,
                    checkpoint=self._checkpoint,
                )
                walk.run(pool)
        return result


def _moments(stamp: Stamp) -> Moments:
    if stamp.created_before is None:
        return Moments()
    return Moments(target=stamp.created_before - _SETTLING_SECONDS)


def _compare_stamp(view: ManifestView, stamp: Stamp) -> list[Discrepancy]:
    said = view.metadata.get("snapshot_hash")
    if stamp.snapshot_hash is None or stamp.snapshot_hash == said:
        return []
    return [Discrepancy(".dsg", "snapshot_hash", stamp.snapshot_hash, str(said))]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A file with an entry, all but its content compared, while it is read."""

    path: str
    status: os.stat_result
    entry: dict[str, Any]
    answer: Future[tuple[str, int]]


class _Walk:
    """One walk; its state dies with it."""

    def __init__(
        self,
        side: Side,
        *,
        result: Verification,
        view: ManifestView,
        proofs: Proofs,
        moments: Moments,
        scope: Scope,
        checkpoint: Callable[[], None],
    ) -> None:
        self._side = side
        self.result = result
        self._view = view
        self._proofs = proofs
        self._moments = moments
        self._scope = scope
        self._checkpoint = checkpoint

    def run(self, pool: ThreadPoolExecutor) -> None:
        """Check the whole tree."""
        waiting = [""]
        while waiting:
            waiting += reversed(self._check_directory(waiting.pop(), pool))
        for path in self._view.listing.untaken():
            self._differ(path, "presence", "listed", "missing")

    def _check_directory(self, path: str, pool: ThreadPoolExecutor) -> list[str]:
        """Check what stands in the directory `path`; return the directories in it."""
        skipped = frozenset() if path else _NO_DATA
        names = sorted(name for name in self._side.names(path) if name not in skipped)
        statuses = self._side.statuses(path, names)
        descriptor = self._side.open(path)
        directories: list[str] = []
        readings: list[_Reading] = []
        for name, status in zip(names, statuses, strict=True):
            if status is None:
                continue  # what a manifest lists of it is found missing
            self._checkpoint()
            self.result.entries += 1
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
        """Compare all but contents; return the entry of a file whose content is to be read."""
        kind = _kind(status)
        self.result.files += kind == "file"
        reference = self._side.reference(path, name, directory) if kind == "link" else None
        line = self._view.listing.take(path)
        if line is None:
            there = None if reference is None else os.fsencode(reference)
            if kind in {"file", "link"} and self._scope.lists(os.fsencode(path), there):
                self._differ(path, "presence", "not listed", "there")
            return None
        entry = json.loads(line)
        if entry.get("type") != kind:
            self._differ(path, "type", entry.get("type"), kind)
            return None
        if reference is not None and entry.get("reference") != reference:
            self._differ(path, "reference", entry.get("reference"), printable(reference))
        return entry if kind == "file" and self._has_to_be_read(path, status, entry) else None

    def _has_to_be_read(self, path: str, status: os.stat_result, entry: dict[str, Any]) -> bool:
        """Say whether the content of a file may be right and is not proven to be."""
        entry_hash = self._view.listing.hash_of(path)
        if self._proofs.holds(status, status, entry_hash, self._moments):
            self.result.files_proven += 1
            return False
        time = _time(status)
        if entry.get("mtime") != time:
            self._differ(path, "mtime", entry.get("mtime"), time)
        if entry.get("filesize") != status.st_size:
            self._differ(path, "size", entry.get("filesize"), status.st_size)
            return False
        return True

    def _finish(self, reading: _Reading) -> None:
        self._checkpoint()
        path, status, entry = reading.path, reading.status, reading.entry
        digest, count = reading.answer.result()
        self.result.files_read += 1
        self.result.target_bytes_read += count
        if entry.get("hash") != digest:
            self._differ(path, "content", entry.get("hash"), digest)
        elif entry.get("mtime") == _time(status):
            self._proofs.add(status, status, self._view.listing.hash_of(path))

    def _differ(self, path: str, attribute: str, listed: object, found: object) -> None:
        self.result.add([Discrepancy(printable(path), attribute, str(listed), str(found))])


def _kind(status: os.stat_result) -> str:
    """Return the type of a file as entries name it."""
    if stat.S_ISREG(status.st_mode):
        return "file"
    if stat.S_ISLNK(status.st_mode):
        return "link"
    return "directory" if stat.S_ISDIR(status.st_mode) else "special file"


def _time(status: os.stat_result) -> str:
    try:
        return manifest_time(status.st_mtime)
    except (ValueError, OverflowError, OSError):
        return f"{status.st_mtime:.0f} seconds since 1970, which no entry can say"
