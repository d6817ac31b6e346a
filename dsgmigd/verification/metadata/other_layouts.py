"""Read a last-sync.json that does not have one sorted entry per line, such as DSG's client writes.

A short document is decoded at once, a long one entry by entry. Only a short one may have a path
twice, of which the last counts.

Raises: ValueError, KeyError, TypeError or RuntimeError, if the content is not such a document.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import xxhash

from dsgmigd.host.hashing import start_hash
from dsgmigd.verification.metadata.json_text import JsonText
from dsgmigd.verification.metadata.listing import Block, Listing
from dsgmigd.verification.metadata.manifest_content import (
    LINES_AT_ONCE,
    LONGEST_LINE,
    Document,
    blocks_of,
    can_be_found,
    check_shape,
    digest_of,
    encode_entry,
)

# A million entries; in memory they are needed only if they have to be sorted.
UNSORTED_LIMIT_BYTES = 256 * 1024 * 1024


def read_whole(content: bytes) -> Document:
    """Read a short document, which is decoded at once."""
    document = json.loads(content)
    entries = dict(document["entries"])
    encoded = {path: encode_entry(entry).encode() for path, entry in entries.items()}
    digest = start_hash()
    for one in encoded.values():
        digest.update(one)
    misshapen: list[tuple[str, Any]] = []
    for path, entry in entries.items():
        check_shape(path, entry, misshapen)
    lines = [(path, encoded[path]) for path in sorted(entries) if can_be_found(entries[path])]
    return Document(
        metadata=document["metadata"],
        listing=Listing(blocks_of(lines)),
        entry_count=len(entries),
        entries_hash=str(digest.hexdigest()),
        digest=digest_of([content]),
        misshapen=misshapen,
    )


def read_streamed(pieces: Iterable[bytes]) -> Document:
    """Read a long document of any layout, entry by entry."""
    content = xxhash.xxh3_128()
    text = JsonText(_hashed(pieces, content), LONGEST_LINE)
    others: dict[str, Any] = {}
    entries: _Streamed | None = None
    for key in text.members():
        if key != "entries":
            others[key] = text.value()
            continue
        if entries is not None:
            raise ValueError("the document has two lists of entries")
        entries = _Streamed()
        for path in text.members():
            entries.add(path, text.value())
    text.end()
    if entries is None:
        raise KeyError("entries")
    return Document(
        metadata=others["metadata"],
        listing=entries.listing(),
        entry_count=entries.count,
        entries_hash=str(entries.digest.hexdigest()),
        digest=bytes(content.digest()),
        misshapen=entries.misshapen,
    )


class _Streamed:
    """Entries as they come; in the order of their paths they are compressed at once."""

    def __init__(self) -> None:
        self.count = 0
        self.digest = start_hash()
        self.misshapen: list[tuple[str, Any]] = []
        self._blocks: list[Block] = []
        self._waiting: list[tuple[str, bytes]] = []
        self._line_bytes = 0
        self._is_sorted = True
        self._last = ""

    def add(self, path: str, entry: Any) -> None:
        encoded = encode_entry(entry).encode()
        self.count += 1
        self.digest.update(encoded)
        check_shape(path, entry, self.misshapen)
        if not can_be_found(entry):
            return
        self._is_sorted = self._is_sorted and (not self._waiting or path > self._last)
        self._last = path
        self._waiting.append((path, encoded))
        self._line_bytes += len(path) + len(encoded)
        if self._is_sorted and len(self._waiting) > LINES_AT_ONCE:
            self._blocks += blocks_of(self._waiting[:-1])
            self._waiting = self._waiting[-1:]
        elif not self._is_sorted and self._line_bytes > UNSORTED_LIMIT_BYTES:
            raise ValueError("the entries are not sorted, and too many to be sorted")

    def listing(self) -> Listing:
        if self._is_sorted:
            return Listing([*self._blocks, *blocks_of(self._waiting)])
        lines = [line for block in self._blocks for line in block.lines()]
        lines = sorted([*lines, *self._waiting])
        for (path, _), (following, _) in pairwise(lines):
            if path == following:
                raise ValueError(f"the path {path!r} has two entries")
        return Listing(blocks_of(lines))


def _hashed(pieces: Iterable[bytes], content: xxhash.xxh3_128) -> Iterator[bytes]:
    for piece in pieces:
        content.update(piece)
        yield piece
