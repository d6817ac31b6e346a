"""Some names of one directory on both sides: their statuses, their entries and what is proven.

Everything that concerns every name is done here for all names of a batch at once. A walk looks only
at those that are left.

Raises: the errors of `side`.
"""

import os
import struct
from array import array
from dataclasses import dataclass
from itertools import compress

import xxhash

from dsgmigd.host.status_table import RECORD_BYTES, RECORD_WORDS, StatusTable
from dsgmigd.source.subvolume import EMPTY_SUBVOL_DIR_OBJECTID
from dsgmigd.verification.metadata.listing import Listed, Listing, Span
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.side import Side
from dsgmigd.verification.walk_proofs import (
    NO_LINE,
    BatchFacts,
    BatchProofs,
    Kind,
    Known,
    Slot,
    WalkProofs,
    fingerprints,
    kinds_of,
)

NAMES_AT_ONCE = 1000
_BOTH = struct.Struct(f"{2 * RECORD_BYTES}s")
_PROVEN_FILES = bytes(kind == Kind.FILE for kind in range(256))
_ONLY_PROVEN_FILES = bytes(Kind.FILE if kind == Kind.FILE else 0 for kind in range(256))
# Of names that may be nested subvolumes, each is looked at.
_LOOKED_AT = bytes(Kind.OTHER if kind else 0 for kind in range(256))


@dataclass(frozen=True, slots=True)
class Place:
    """A directory by its path, and by its inode number in the source."""

    path: str
    inode: int


class Batch:
    """The names of one batch; valid until the reader reads the next one.

    The entries of the `file_count` files of which nothing is left to compare are ticked off.
    """

    def __init__(
        self,
        encoded: "EncodedNames",
        listing: Listing,
        *,
        tables: tuple[StatusTable, StatusTable],
        kinds: bytes,
        proofs: BatchProofs,
    ) -> None:
        self.file_count = kinds.count(Kind.FILE)
        self._encoded = encoded
        self._listing = listing
        self._source, self._target = tables
        self._kinds = kinds
        self._proofs = proofs
        proofs.set_kinds(kinds.translate(_ONLY_PROVEN_FILES))

    def others(self) -> list[int]:
        """Return the indices of all other names, in order."""
        if self.file_count == len(self._kinds):
            return []
        return [index for index, kind in enumerate(self._kinds) if kind != Kind.FILE]

    def is_proven_directory(self, index: int) -> bool:
        """Say whether the name at `index` only has to be entered."""
        return self._kinds[index] == Kind.DIRECTORY

    def inode(self, index: int) -> int:
        """Return the inode number in the source of the name at `index`."""
        return self._source.inode(index)

    def source(self, index: int) -> os.stat_result | None:
        """Return the status in the source of the name at `index`; None if it is absent."""
        return self._source.status(index)

    def target(self, index: int) -> os.stat_result | None:
        """Return the status in the target of the name at `index`; None if it is absent."""
        return self._target.status(index)

    def listed(self, index: int) -> Listed | None:
        """Return the number and the entry of the name at `index`, if it has one."""
        return self._listing.find_each([self._encoded.path(index)])[0]

    def slot(self, index: int) -> Slot:
        """Return where to keep the proof of the name at `index`."""
        return Slot(self._proofs, index, is_proven=self._kinds[index] != Kind.UNPROVEN)


class EncodedNames:
    """Some names of the directory `path` in the bytes of the file system.

    Only if they `are_unicode`, their paths are in the order of a manifest.
    """

    def __init__(self, path: str, names: list[str]) -> None:
        joined = "\0".join(names)
        try:
            self.text = joined.encode()
            self.are_unicode = True
        except UnicodeEncodeError:
            self.text = os.fsencode(joined)
            self.are_unicode = False
        self.names = self.text.split(b"\0")
        self._prefix = os.fsencode(f"{path}/") if path else b""

    def path(self, index: int) -> bytes:
        """Return the path of the name at `index`."""
        return self._prefix + self.names[index]

    def paths(self) -> list[bytes]:
        """Return all paths."""
        prefix = self._prefix
        return [prefix + name for name in self.names]


class BatchReader:
    """Reads one batch after the other of two trees.

    With `trusts_proofs`, names are proven by `proofs`, as far as `moments` allows it.
    """

    def __init__(
        self,
        source: Side,
        target: Side,
        *,
        listing: Listing,
        proofs: WalkProofs,
        moments: Moments,
        trusts_proofs: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._listing = listing
        self._proofs = proofs
        self._moments = moments
        self._trusts_proofs = trusts_proofs
        self._of_source = StatusTable(NAMES_AT_ONCE)
        self._of_target = StatusTable(NAMES_AT_ONCE)

    def read(self, place: Place, names: list[str]) -> Batch:
        """Read some names of a directory: at least one, at most NAMES_AT_ONCE."""
        encoded = EncodedNames(place.path, names)
        # First all of one side, then all of the other: the target's file system may be another
        # process, and switching to it for each name takes longer than its answer.
        self._target.read_statuses(place.path, encoded.names, self._of_target)
        self._source.read_statuses(place.path, encoded.names, self._of_source)
        records = self._records(len(names))
        digest = xxhash.xxh3_128_digest(encoded.text + records)
        span = self._span(encoded)
        unchanged = self._unchanged(place, digest, span)
        if unchanged is not None:
            facts, kinds = unchanged
        else:
            facts, kinds = self._examine(place, encoded, digest, records, span)
        proofs = self._proofs.begin_batch(place.path, place.inode, facts)
        tables = self._of_source, self._of_target
        return Batch(encoded, self._listing, tables=tables, kinds=kinds, proofs=proofs)

    def _records(self, count: int) -> bytearray:
        """Return one record for each name: that of the source and that of the target."""
        joined = bytearray(count * _BOTH.size)
        words = memoryview(joined).cast("Q")
        for number, table in enumerate((self._of_source, self._of_target)):
            table.copy_records(words, number * RECORD_WORDS, 2 * RECORD_WORDS)
        return joined

    def _span(self, encoded: EncodedNames) -> Span | None:
        """Return where in the manifest the entries of these names are, if they are together."""
        if not encoded.are_unicode:
            return None
        count = len(encoded.names)
        return self._listing.span(encoded.path(0), encoded.path(-1), count)

    def _unchanged(
        self, place: Place, digest: bytes, span: Span | None
    ) -> tuple[BatchFacts, bytes] | None:
        """Return what the last walk read and proved, if all of that is proven to be unchanged.

        Ticks off the entries of the files.
        """
        before = self._proofs.batch_before(place.path) if self._trusts_proofs else None
        if before is None or span is None or not self._source.has_one_file_system(self._of_source):
            return None
        kinds = before.kinds_if_unchanged(digest, span.digests, self._moments)
        if kinds is None:
            return None
        self._tick_off(before.facts.lines, kinds, span.start)
        return before.facts, kinds

    def _examine(
        self,
        place: Place,
        encoded: EncodedNames,
        digest: bytes,
        records: bytearray,
        span: Span | None,
    ) -> tuple[BatchFacts, bytes]:
        """Return what was read, and what is proven of each single name.

        Ticks off the entries of the files.
        """
        listed = self._listing.find_each(encoded.paths())
        entries = [one[1] if one else b"" for one in listed]
        each = [record for (record,) in _BOTH.iter_unpack(records)]
        prints = fingerprints(each, entries)
        kinds = bytes(len(prints))
        if self._trusts_proofs:
            known = self._proofs.known(place.path, place.inode)
            kinds = self._known_kinds(prints, known) or kinds
        start = span.start if span else 0
        lines = array("I", [one[0] - start if one else NO_LINE for one in listed])
        self._tick_off(lines, kinds, start)
        latest = self._of_source.latest_ctime(), self._of_target.latest_ctime()
        blocks = span.digests if span else None
        return BatchFacts(digest, b"".join(prints), latest, blocks, lines), kinds

    def _tick_off(self, lines: "array[int]", kinds: bytes, start: int) -> None:
        """Tick off the entries of the files of which nothing is left to compare."""
        numbers = list(compress(lines, kinds.translate(_PROVEN_FILES)))
        if not numbers:
            return
        if numbers[-1] - numbers[0] + 1 == len(numbers):  # they ascend, as the names do
            self._listing.tick_off_run(start + numbers[0], len(numbers))
            return
        for number in numbers:
            self._listing.tick_off(start + number)

    def _known_kinds(self, prints: list[bytes], known: Known) -> bytes:
        """Return the kinds of the names as far as they are proven; b"" if none is."""
        kinds = kinds_of(prints, known)
        if not any(kinds):
            return b""
        if not self._source.has_one_file_system(self._of_source):
            kinds = kinds.translate(_LOOKED_AT)
        latest = self._of_source.latest_ctime(), self._of_target.latest_ctime()
        if self._moments.allow_all_proofs(*latest):
            return kinds
        return bytes(
            kind if kind and self._is_settled(index) else 0 for index, kind in enumerate(kinds)
        )

    def _is_settled(self, index: int) -> bool:
        ctimes = self._of_source.ctime_ns(index), self._of_target.ctime_ns(index)
        return self._moments.allow_proof(*ctimes)


def may_be_stub(status: os.stat_result) -> bool:
    """Say whether a directory may be the stub of a nested subvolume in some tree."""
    return status.st_ino == EMPTY_SUBVOL_DIR_OBJECTID
