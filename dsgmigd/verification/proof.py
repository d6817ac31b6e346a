"""Files that were compared in one snapshot need not be read in the next: proof by induction.

A file of snapshot k is proven if snapshot k-1 had, on both sides, a file with the same inode,
ctime, size and mtime, and the two were equal there. The kernel updates ctime with every change, but
only with the resolution of its clock. A file is therefore not proven if its ctime is too close to a
moment at which the sides could have become different: the creation of a source snapshot, or of
target snapshot k-1.

Raises: nothing.
"""

import math
import os
import struct
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import xxhash

from dsgmigd.host.change_time import NANOSECONDS, TICK_NS, came_before

_FINGERPRINT = struct.Struct("<QqQqQqQqQ")
# From the year 2262 on, nanoseconds since the epoch do not fit into 64 bits with a sign.
_64_BITS = 2**64 - 1
# A write to a file changes its time at once, and its data may reach the disk later. While btrfs
# creates a snapshot, the time may therefore come into it without the data.
_CREATION_NS = 250_000_000
_BUCKET_BYTES = 2


@dataclass(frozen=True)
class Moments:
    """When the snapshots of one step were made, in seconds since the epoch.

    `source`: creation of the source snapshots k-1 and k. `target`: creation of target snapshot k-1
    or a moment before it, None if there is none.
    """

    source: tuple[float, ...] = ()
    target: float | None = None

    def allow_proof(self, source_ctime_ns: int, target_ctime_ns: int) -> bool:
        """Say whether an equal ctime proves that a file with these ctimes did not change."""
        if self.target is None or not came_before(target_ctime_ns, int(self.target * NANOSECONDS)):
            return False
        return not any(_is_near(source_ctime_ns, moment) for moment in self.source)

    def allow_all_proofs(self, source_ctime: int, target_ctime: int) -> bool:
        """Say whether that is certain for all files whose ctimes are not later than these.

        In whole seconds since the epoch, cut. False says nothing of a single file.
        """
        latest_source, latest_target = self._latest
        return source_ctime <= latest_source and target_ctime <= latest_target

    @cached_property
    def _latest(self) -> tuple[float, float]:
        """The latest ctimes in source and target, cut, that come before all moments for certain."""
        source, target = math.inf, -math.inf
        if self.source:
            source = (int(min(self.source) * NANOSECONDS) - _CREATION_NS) // NANOSECONDS - 1
        if self.target is not None:
            target = (int(self.target * NANOSECONDS) - TICK_NS) // NANOSECONDS - 1
        return source, target


class Digests:
    """A set of digests of one length that costs little more memory than their bytes.

    For two million digests of 16 bytes, a `set` takes 200 MB and this one takes 40 MB. The digests
    must be evenly distributed, as those of a hash are.
    """

    def __init__(self) -> None:
        self._buckets: defaultdict[bytes, bytearray] = defaultdict(bytearray)

    def add(self, digest: bytes) -> None:
        """Add a digest; a digest that is in the set already is stored twice."""
        self._buckets[digest[:_BUCKET_BYTES]] += digest

    def __bool__(self) -> bool:
        return bool(self._buckets)

    def __contains__(self, digest: bytes) -> bool:
        # Two adjacent digests may contain a third by chance; that is as unlikely as a collision.
        bucket = self._buckets.get(digest[:_BUCKET_BYTES])
        return bucket is not None and digest in bucket


class Proofs:
    """The files that the walk of snapshot k-1 found equal, and those that the walk of k finds."""

    def __init__(self) -> None:
        self._before = Digests()
        self._now = Digests()

    def begin_snapshot(self) -> None:
        """Begin the next walk, which builds on what the last walk found equal."""
        self._before, self._now = self._now, Digests()

    def add(self, source: os.stat_result, target: os.stat_result, entry_hash: int) -> None:
        """Remember that source and target were found equal in this walk."""
        self._now.add(_fingerprint(source, target, entry_hash))

    def renew(
        self,
        source: os.stat_result,
        target: os.stat_result,
        entry_hash: int,
        moments: Moments,
    ) -> bool:
        """Prove source and target equal because they were equal in snapshot k-1, if possible.

        Returns False if they must be compared. A proof is remembered for the next walk.
        """
        if not self._before:
            return False  # the first walk: do not compute a fingerprint for nothing
        fingerprint = _fingerprint(source, target, entry_hash)
        if fingerprint not in self._before:
            return False
        if not moments.allow_proof(source.st_ctime_ns, target.st_ctime_ns):
            return False
        self._now.add(fingerprint)
        return True


def _is_near(ctime_ns: int, moment: float) -> bool:
    """Say whether a change may have come while the snapshot of `moment` was created."""
    after_ns = ctime_ns - int(moment * NANOSECONDS)
    return -_CREATION_NS <= after_ns <= TICK_NS


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
