"""What verifications found out is kept on the snapshots of the published dataset themselves.

Guarantees: a mark `verified` never becomes weaker; a mark `differs` ends only by a verification
that is as strong as the one that set it and found none.

Raises: those of dsgmigd.target.zfs.
"""

import time

from dsgmigd.request import VerifyLevel
from dsgmigd.target.dataset import Snapshot
from dsgmigd.target.layout import DIFFERS, SOURCE_VERSION, VERIFIED
from dsgmigd.target.marks import (
    NO_DIFFERENCES,
    Against,
    Differs,
    Verified,
    differs_mark,
    mark_time,
    verified_mark,
)
from dsgmigd.target.zfs import Zfs


class PublishedMarks:
    """The marks of one published dataset, as the request `request_id` sets them."""

    def __init__(self, zfs: Zfs, dataset: str, request_id: str) -> None:
        self._zfs = zfs
        self._dataset = dataset
        self._request_id = request_id

    def note(self, snapshot: Snapshot, count: int, level: VerifyLevel, against: Against) -> None:
        """Record that a verification of a snapshot found so many differences."""
        if not count:
            self._note_none(snapshot, level, against)
            return
        mark = Differs(count, level, against, mark_time(time.time()), self._request_id)
        self._set(snapshot, DIFFERS, str(mark))

    def _note_none(self, snapshot: Snapshot, level: VerifyLevel, against: Against) -> None:
        differs = differs_mark(snapshot.properties)
        if differs is not None and differs.is_refuted_by(level, against):
            self._set(snapshot, DIFFERS, NO_DIFFERENCES)
        known = verified_mark(snapshot.properties)
        if against == "source" and (known is None or not known.exceeds(level)):
            now = Verified(level, mark_time(time.time()), self._request_id)
            self._set(snapshot, VERIFIED, str(now))

    def note_version(self, snapshot: Snapshot, version: int) -> None:
        """Record with which version of its source a snapshot was compared."""
        if snapshot.properties.get(SOURCE_VERSION) != str(version):
            self._set(snapshot, SOURCE_VERSION, str(version))

    def _set(self, snapshot: Snapshot, key: str, value: str) -> None:
        self._zfs.set_property(f"{self._dataset}@{snapshot.name}", key, value)
