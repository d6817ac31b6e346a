"""What was compared once need not be read again: proof by induction over snapshots.

A file of snapshot k is proven if snapshot k-1 had, on both sides, a file with the same inode,
ctime, size and mtime, and the two were found equal there. A kernel moves ctime with every change,
but only as finely as its clock ticks. So a file is left unproven when its ctime is too near to a
moment at which the sides could have parted: the creation of a source snapshot, or of target
snapshot k-1.
"""

import os
import struct
from dataclasses import dataclass

import xxhash

from dsgmigd.verify.digests import Digests

_FINGERPRINT = struct.Struct("<QqQqQqQqQ")
# From the year 2262 on, nanoseconds since the epoch are more than a signed number of 64 bits.
_64_BITS = 2**64 - 1
_NANOSECONDS = 1_000_000_000
# The kernel's coarse clock ticks every 1 to 10 ms.
_TICK_NS = 20_000_000


@dataclass(frozen=True)
class Moments:
    """When the snapshots of one step were made, in seconds since the epoch.

    `source`: creation of the source snapshots k-1 and k, which may be cut to whole seconds, as
    btrfsutil does it. `target`: creation of target snapshot k-1, None if there is none.
    """

    source: tuple[float, ...] = ()
    target: float | None = None


class Proofs:
    """What the walk of snapshot k-1 found equal, and what the walk of snapshot k finds."""

    def __init__(self) -> None:
        self._before = Digests()
        self._now = Digests()

    def begin_snapshot(self) -> None:
        """Let what was found in the last walk be the base of the next."""
        self._before, self._now = self._now, Digests()

    def add(self, source: os.stat_result, target: os.stat_result, entry_hash: int) -> None:
        """Remember that source and target were found equal in this walk."""
        self._now.add(_fingerprint(source, target, entry_hash))

    def holds(
        self,
        source: os.stat_result,
        target: os.stat_result,
        entry_hash: int,
        moments: Moments,
    ) -> bool:
        """Say whether source and target are equal because they were so in snapshot k-1.

        If they are, that is remembered for the next walk.
        """
        if not self._before:
            return False  # the first walk of all: nothing to compute
        fingerprint = _fingerprint(source, target, entry_hash)
        if fingerprint not in self._before:
            return False
        if moments.target is None or target.st_ctime_ns >= int(moments.target) * _NANOSECONDS:
            return False
        for moment in moments.source:
            if _is_near(source.st_ctime_ns, moment):
                return False
        self._now.add(fingerprint)
        return True


def _is_near(ctime_ns: int, moment: float) -> bool:
    """Say whether a change may have had the same clock tick as the snapshot of `moment`."""
    after_ns = ctime_ns - int(moment * _NANOSECONDS)
    return -_TICK_NS <= after_ns <= _NANOSECONDS + _TICK_NS


def _fingerprint(source: os.stat_result, target: os.stat_result, entry_hash: int) -> bytes:
    packed = _FINGERPRINT.pack(
        source.st_ino,
        source.st_ctime_ns,
        source.st_mtime_ns & _64_BITS,
        source.st_size,
        target.st_ino,
        target.st_ctime_ns,
        target.st_mtime_ns & _64_BITS,
        target.st_size,
        entry_hash,
    )
    return bytes(xxhash.xxh3_128_digest(packed))
