"""What the walk of snapshot k-1 found equal, for the walk of k: see `proof` for why that is proof.

A proof is a fingerprint of all that lstat(2) tells of a name on both sides, and of its entry in the
manifest. Fingerprints are kept by directory, some names at a time, 21 bytes for each name.

If nothing at all changed in such a batch, one digest shows it, and no fingerprint is computed.

Raises: nothing.
"""

import os
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from itertools import compress, repeat

import xxhash

from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.compare import is_same_file
from dsgmigd.verification.proof import Moments

FINGERPRINT_BYTES = 16
NO_LINE = 2**32 - 1
_digest: Callable[[bytes], bytes] = xxhash.xxh3_128_digest


class Kind(IntEnum):
    """How a name was found equal, and how much is left to do if that is still proven.

    `FILE` is a listed file with one name and no loss: it only has to be counted. `DIRECTORY` has no
    loss either, and only has to be entered. `OTHER` may have a loss, be in no manifest or have
    several names: all but its content and its attributes is compared again.
    """

    UNPROVEN = 0
    FILE = 1
    DIRECTORY = 2
    OTHER = 3


def kind_of_file(
    source: os.stat_result, target: os.stat_result, entry: bytes | None, capabilities: Capabilities
) -> Kind:
    """Return the kind of a regular file that was found equal, and has this entry or none."""
    is_plain = (
        entry is not None
        and source.st_nlink == target.st_nlink == 1
        and capabilities.mtime_loss(source.st_mtime_ns) is None
        and is_same_file(source, target, capabilities)
    )
    return Kind.FILE if is_plain else Kind.OTHER


Known = dict[bytes, int]
"""The kinds of names by their fingerprints."""


def fingerprints(records: list[bytes], entries: list[bytes]) -> list[bytes]:
    """Return a fingerprint for each record of a fixed length and the entry that belongs to it."""
    return list(map(_digest, map(bytes.__add__, records, entries)))


@dataclass(slots=True)
class BatchFacts:
    """What was read of some names of one directory.

    `digest` covers the names and their records, `fingerprints` also their entries. `blocks` are the
    hashes of the blocks of the manifest in which the entries are, and `lines` are the numbers of
    the entries in those blocks, NO_LINE for a name without an entry. `latest` are the latest
    ctimes in source and target, in whole seconds. Without `blocks`, a batch is never taken as
    unchanged.
    """

    digest: bytes
    fingerprints: bytes
    latest: tuple[int, int]
    blocks: bytes | None
    lines: "array[int]"


class BatchProofs:
    """Proofs for some names of one directory: those of which the kind is set."""

    def __init__(self, facts: BatchFacts) -> None:
        self.facts = facts
        self._kinds = bytearray(len(facts.lines))

    @property
    def kinds(self) -> bytes:
        """The kinds of all names."""
        return bytes(self._kinds)

    def set_kinds(self, kinds: bytes) -> None:
        """Set the kinds of all names."""
        self._kinds[:] = kinds

    def prove(self, index: int, kind: Kind) -> None:
        """Remember that the name at `index` was found equal."""
        self._kinds[index] = kind

    def kinds_if_unchanged(
        self, digest: bytes, blocks: bytes | None, moments: Moments
    ) -> bytes | None:
        """Return the kinds if all names are proven by being as they were; None if not."""
        facts = self.facts
        is_same = digest == facts.digest and blocks is not None and blocks == facts.blocks
        if is_same and Kind.UNPROVEN not in self._kinds and moments.allow_all_proofs(*facts.latest):
            return bytes(self._kinds)
        return None

    def add_to(self, known: Known) -> None:
        """Add the fingerprint of each name that was found equal."""
        text = self.facts.fingerprints
        each = [
            text[start : start + FINGERPRINT_BYTES]
            for start in range(0, len(text), FINGERPRINT_BYTES)
        ]
        # Two names of one file may have the same fingerprint, of which one was found equal.
        known.update(zip(compress(each, self._kinds), filter(None, self._kinds), strict=True))


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one name in `proofs`, and whether it is proven already."""

    proofs: BatchProofs
    index: int
    is_proven: bool

    def prove(self, kind: Kind) -> None:
        """Remember that the name was found equal."""
        self.proofs.prove(self.index, kind)


@dataclass(frozen=True, slots=True)
class ProvenDirectory:
    """What was found equal in a directory with this inode number in the source."""

    inode: int
    batches: list[BatchProofs]


class WalkProofs:
    """What the walk of snapshot k-1 found equal, and what the walk of k finds equal.

    `linked` are the inode numbers in the target of files with several names, by their paths.
    """

    def __init__(
        self,
        now: dict[str, ProvenDirectory] | None = None,
        linked: dict[str, int] | None = None,
    ) -> None:
        self.linked = linked or {}
        self._before: dict[str, ProvenDirectory] = {}
        self._now = now or {}
        # The directories before by inode number, as soon as one is asked for.
        self._by_inode: dict[int, ProvenDirectory] = {}
        self._latest: tuple[str, Known] | None = None

    @property
    def directories(self) -> dict[str, ProvenDirectory]:
        """What the last walk found equal, by the paths of the directories."""
        return self._now

    def begin_snapshot(self) -> None:
        """Begin the next walk, which builds on what the last walk found equal."""
        self.linked = {}
        self._before, self._now = self._now, {}
        self._by_inode, self._latest = {}, None

    def known(self, path: str, inode: int) -> Known:
        """Return what was found equal in the directory `path` of the last walk.

        So is what was found equal in the directory with this inode number in the source, which may
        have been renamed since.
        """
        if self._latest is None or self._latest[0] != path:
            self._latest = path, self._find(path, inode)
        return self._latest[1]

    def _find(self, path: str, inode: int) -> Known:
        found: Known = {}
        here = self._before.get(path)
        batches = list(here.batches) if here else []
        if (here is None or here.inode != inode) and self._before:
            if not self._by_inode:
                self._by_inode = {one.inode: one for one in self._before.values()}
            renamed = self._by_inode.get(inode)
            batches += renamed.batches if renamed else []
        for batch in batches:
            batch.add_to(found)
        return found

    def batch_before(self, path: str) -> BatchProofs | None:
        """Return what the last walk found in the place of the batch of `path` that is next."""
        before, now = self._before.get(path), self._now.get(path)
        number = len(now.batches) if now else 0
        return before.batches[number] if before and number < len(before.batches) else None

    def begin_batch(self, path: str, inode: int, facts: BatchFacts) -> BatchProofs:
        """Return an empty batch for the next names of a directory, to be filled by this walk."""
        batch = BatchProofs(facts)
        self._now.setdefault(path, ProvenDirectory(inode, [])).batches.append(batch)
        return batch


def kinds_of(fingerprints: list[bytes], known: Known) -> bytes:
    """Return the kind of each fingerprint; UNPROVEN if it is not known."""
    return bytes(map(known.get, fingerprints, repeat(int(Kind.UNPROVEN)))) if known else b""
