"""What a last-sync.json says, however it is laid out, and the shape that its entries must have.

Raises: ValueError, if too many entries are misshapen.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import xxhash

from dsgmigd.verification.metadata.listing import BETWEEN_LINES, Block, Listing, block_of

LONGEST_LINE = 1024 * 1024
LINES_AT_ONCE = 64
_MISSHAPEN_LIMIT = 1000
_ORDER = {
    "file": ["type", "path", "user", "filesize", "mtime", "hash"],
    "link": ["type", "path", "user", "reference"],
}

encode_entry = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass
class Document:
    """What a last-sync.json says.

    Count and hash are computed from the entries, whatever the metadata says. `digest` covers the
    whole content. `misshapen` are the entries whose path or keys are wrong.
    """

    metadata: Any = None
    listing: Listing = field(default_factory=Listing)
    entry_count: int = 0
    entries_hash: str = ""
    digest: bytes = b""
    misshapen: list[tuple[str, Any]] = field(default_factory=list)


def digest_of(pieces: Iterable[bytes]) -> bytes:
    """Return a digest that identifies the content."""
    state = xxhash.xxh3_128()
    for piece in pieces:
        state.update(piece)
    return bytes(state.digest())


def blocks_of(lines: list[tuple[str, bytes]]) -> Iterator[Block]:
    """Yield blocks of sorted paths and their entries."""
    for start in range(0, len(lines), LINES_AT_ONCE):
        some = lines[start : start + LINES_AT_ONCE]
        text = [encode_entry(path).encode() + b":" + entry for path, entry in some]
        yield block_of(BETWEEN_LINES.join(text), [path for path, _ in some])


def can_be_found(entry: Any) -> bool:
    """Say whether an entry can be looked up; any other value is only counted and hashed."""
    return isinstance(entry, dict) and bool(entry)


def check_shape(path: str, entry: Any, misshapen: list[tuple[str, Any]]) -> None:
    """Add an entry to `misshapen` if its path or keys are wrong; ValueError if it has too many."""
    if not _has_right_shape(path, entry):
        misshapen.append((path, entry))
        if len(misshapen) > _MISSHAPEN_LIMIT:
            raise ValueError(f"more than {_MISSHAPEN_LIMIT} entries have wrong keys")


def _has_right_shape(path: str, entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    return entry.get("path") == path and list(entry) == _ORDER.get(str(entry.get("type")))
