"""What a run proved of its last snapshot, in a file, for the run that goes on from there.

The first line says what it holds for, each other line has some names of one directory, and the last
line is a hash of the others. A file that holds for anything else, or is damaged, proves nothing:
the run compares the two trees again.

Raises: OSError, if the file cannot be written.
"""

import contextlib
import json
import os
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import xxhash

from dsgmigd.request import VerifyLevel, is_as_strong
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.walk_proofs import BatchFacts, BatchProofs, ProvenDirectory, WalkProofs

_FORMAT = f"2 {sys.byteorder}"
_MODE = 0o600


@dataclass(frozen=True)
class Pair:
    """The two snapshots that were compared: identity and version of one, guid of the other."""

    source: str
    version: int
    target_guid: str


@dataclass(frozen=True)
class Proven:
    """What a full walk at `level` proved of two snapshots.

    `target_moment` is not later than the creation of the target's snapshot, in seconds since the
    epoch. `manifest` is the digest of its manifest, if that was read. `nested` are the paths of
    nested subvolumes.
    """

    level: VerifyLevel
    capabilities: Capabilities
    target_moment: float
    manifest: bytes | None
    nested: list[str]
    proofs: WalkProofs

    def is_enough_for(self, level: VerifyLevel, capabilities: Capabilities) -> bool:
        """Say whether a walk at `level`, to a target that holds so much, finds nothing more."""
        is_strong = is_as_strong(self.level, level)
        return is_strong and self.capabilities == capabilities


class ProofFile:
    """The proofs of one repository at `path`; whoever uses it holds the repository's lock."""

    def __init__(self, path: str) -> None:
        self._path = path
        directory, name = os.path.split(path)
        self._temporary = os.path.join(directory, f".{name}.new")  # no repository has such a name

    def write(self, pair: Pair, proven: Proven) -> None:
        """Keep what is proven of two snapshots, in place of what was kept before."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(self._temporary, flags, _MODE), "wb") as file:
                digest = xxhash.xxh3_128()
                for one in _lines_of(pair, proven):
                    line = json.dumps(one).encode() + b"\n"
                    digest.update(line)
                    file.write(line)
                file.write(digest.hexdigest().encode())
            os.rename(self._temporary, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            raise

    def read(self, pair: Pair) -> Proven | None:
        """Return what is proven of two snapshots; None if that is not known."""
        try:
            with open(self._path, "rb") as file:
                return _parse(_checked_lines(file), pair)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _lines_of(pair: Pair, proven: Proven) -> Iterator[Any]:
    yield {
        "format": _FORMAT,
        "pair": asdict(pair),
        "level": proven.level,
        "capabilities": asdict(proven.capabilities),
        "target_moment": proven.target_moment,
        "manifest": proven.manifest and _text_of(proven.manifest),
        "nested": proven.nested,
        "linked": proven.proofs.linked,
    }
    for path, directory in proven.proofs.directories.items():
        for batch in directory.batches:
            yield [path, directory.inode, *_batch_to_json(batch)]


def _checked_lines(file: Iterator[bytes]) -> Iterator[Any]:
    """Yield what the lines hold; ValueError at the end if they are not what was written."""
    digest = xxhash.xxh3_128()
    for line in file:
        if not line.endswith(b"\n"):
            if line.decode() != digest.hexdigest():
                break
            return
        digest.update(line)
        yield json.loads(line)
    raise ValueError("not what was written")


def _parse(lines: Iterator[Any], pair: Pair) -> Proven | None:
    head = next(lines)
    if head["format"] != _FORMAT or head["pair"] != asdict(pair):
        return None
    found: dict[str, ProvenDirectory] = {}
    for path, inode, *batch in lines:
        directory = found.setdefault(path, ProvenDirectory(inode, []))
        directory.batches.append(_batch_from_json(batch))
    return Proven(
        level=head["level"],
        capabilities=Capabilities(**head["capabilities"]),
        target_moment=head["target_moment"],
        manifest=head["manifest"] and b64decode(head["manifest"]),
        nested=head["nested"],
        proofs=WalkProofs(found, head["linked"]),
    )


def _batch_to_json(batch: BatchProofs) -> list[Any]:
    facts = batch.facts
    texts = (facts.digest, facts.fingerprints, facts.lines.tobytes(), batch.kinds)
    blocks = None if facts.blocks is None else _text_of(facts.blocks)
    return [*facts.latest, blocks, *map(_text_of, texts)]


def _batch_from_json(document: list[Any]) -> BatchProofs:
    source, target, packed, *texts = document
    blocks = None if packed is None else b64decode(packed)
    digest, prints, lines, kinds = map(b64decode, texts)
    facts = BatchFacts(digest, prints, (source, target), blocks, array("I", lines))
    batch = BatchProofs(facts)
    batch.set_kinds(kinds)
    return batch


def _text_of(content: bytes) -> str:
    return b64encode(content).decode()
