"""The evidence of the snapshots of one run: taken while they are verified, kept, and named on them.

Does nothing if no evidence is wanted. The order is: the snapshot is verified, its evidence is on
disk, the snapshot has the root hash as a property, the snapshot is marked as verified.

Raises: SpoolFailing if the evidence cannot be kept, and those of `custody` and `target.zfs`.
"""

import time
from collections.abc import Mapping

from dsgmigd.custody.taker import Look, Subject, Taker
from dsgmigd.host.encoding import iso_time
from dsgmigd.host.file_errors import spool_errors
from dsgmigd.migration.report import SnapshotRow
from dsgmigd.target.dataset import Snapshot
from dsgmigd.target.layout import EVIDENCE, SNAPSHOT_HASH
from dsgmigd.target.zfs import Zfs
from dsgmigd.verification.schedule import TakeEvidence
from dsgmigd.verification.verifier import Changed


class Evidence:
    """The evidence of one run, by `taker`, or none."""

    def __init__(self, taker: Taker | None, zfs: Zfs) -> None:
        self._taker = taker
        self._zfs = zfs

    @property
    def is_wanted(self) -> bool:
        """Whether evidence is taken."""
        return self._taker is not None

    def check(self) -> None:
        """Raise SigningFailed if evidence is to be signed and cannot be."""
        if self._taker is not None:
            self._taker.check()

    def go_on_after(self, snapshot: Snapshot) -> bool:
        """Take the evidence of `snapshot` as known; return whether there is one that it names."""
        if self._taker is None:
            return False
        with spool_errors("reading the evidence"):
            statement = self._taker.go_on_after(snapshot.guid, float(snapshot.created_at))
        return statement is not None and snapshot.properties.get(EVIDENCE) == statement.root

    def taking(self, moment: float) -> TakeEvidence | None:
        """Return what takes the evidence of the next snapshot; None if none is wanted.

        `moment` is not later than its creation, in seconds since the epoch.
        """
        taker = self._taker
        if taker is None:
            return None

        def take(view: str, changed: Changed | None, sha256s: Mapping[bytes, str]) -> None:
            look = Look(moment, sha256s)
            if changed is not None:
                look = Look(moment, sha256s, changed.paths, changed.directories)
            taker.take(view, look)

        return take

    def state(self, dataset: str, snapshot: Snapshot, row: SnapshotRow) -> None:
        """Keep what was taken of `snapshot`, which `row` is about, and name it on the snapshot."""
        if self._taker is None or row.verification is None:
            return
        subject = Subject(
            snapshot=snapshot.name,
            guid=snapshot.guid,
            snapshot_hash=snapshot.properties.get(SNAPSHOT_HASH, ""),
            level=row.verification.level,
            verified_at=iso_time(time.time()),
        )
        with spool_errors("keeping the evidence"):
            statement = self._taker.state(subject)
        self._zfs.set_property(f"{dataset}@{snapshot.name}", EVIDENCE, statement.root)
        row.evidence = {
            "root": statement.root,
            "entries": statement.entries,
            "files": statement.files,
            "bytes": statement.size_bytes,
        }
