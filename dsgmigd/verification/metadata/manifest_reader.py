"""Read a last-sync.json in memory that hardly grows with it.

A document with one canonical entry per line, sorted by path, is read in parts of some lines. The
content of the lines decides where a part ends, so most parts are the same as in the previous
document, whatever changed, and are not checked again. Every other valid layout, such as that of
DSG's own client, is read as a whole, or entry by entry if it is long. All ways give the same
result: entries are hashed in the order of the document, encoded as DSG encodes them. Only a short
document may have a path twice, of which the last counts.

Raises: ValueError, KeyError, TypeError or RuntimeError, if the content is not such a document.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import xxhash

from dsgmigd.host.hashing import start_hash
from dsgmigd.verification.metadata.listing import (
    BETWEEN_LINES,
    Block,
    Listing,
    block_of,
    block_of_right_lines,
    entries_in,
    split_line,
)
from dsgmigd.verification.metadata.manifest_content import (
    LONGEST_LINE,
    Document,
    check_shape,
    encode_entry,
)
from dsgmigd.verification.metadata.other_layouts import read_streamed, read_whole

_decode = json.JSONDecoder().decode
_HEAD = b'{"entries":{\n'
_LINE_END = b"},\n"
# Every sixteenth line on average: a file whose hash ends like this.
_PART_END = b'0"},\n'
_SHORTEST_PART = 1024
_LONGEST_PART = 64 * 1024
_WHOLE_LIMIT_BYTES = 16 * 1024 * 1024


class Known:
    """Parts in which all lines are right, by the digests of their text."""

    def __init__(self) -> None:
        self._by_digest: dict[bytes, Block] = {}
        self._by_first: dict[str, Block] = {}

    def add(self, digest: bytes, block: Block) -> None:
        """Add a part."""
        self._by_digest[digest] = self._by_first[block.first] = block

    def parts(self) -> Iterable[tuple[bytes, Block]]:
        """Return all parts with their digests."""
        return self._by_digest.items()

    def find(self, digest: bytes) -> Block | None:
        """Return the part whose text has this digest, if known."""
        return self._by_digest.get(digest)

    def lines_at(self, first: str) -> frozenset[bytes]:
        """Return the lines of the known part that begins with the path `first`, if any."""
        block = self._by_first.get(first)
        return frozenset(block.text().split(BETWEEN_LINES)) if block else frozenset()


def read_document(
    read: Callable[[], Iterator[bytes]], known: Known, found: Known, *, right: bytes | None = None
) -> Document:
    """Return what a document says; each call of `read` yields its pieces from the beginning.

    Parts in `known` were right before; the parts that are right are added to `found`. A document
    with the digest `right` was right as a whole: its lines are not checked again.
    """
    try:
        document = _read_right(read(), found, right) if right else None
        return document or _InParts(known, found).read(read())
    except ValueError:
        content = _joined(read())
        return read_streamed(read()) if content is None else read_whole(content)


def _read_right(pieces: Iterable[bytes], found: Known, right: bytes) -> Document | None:
    """Return what a document says if it has the digest `right`."""
    parts = Known()
    document = _InParts(Known(), parts, checks_lines=False).read(pieces)
    if document.digest != right:
        return None
    for digest, block in parts.parts():
        found.add(digest, block)
    return document


class _InParts:
    """Reads one document part by part; ValueError if it has a different layout.

    Without `checks_lines`, the result means nothing unless its digest is that of a right document.
    """

    def __init__(self, known: Known, found: Known, *, checks_lines: bool = True) -> None:
        self._known = known
        self._found = found
        self._checks_lines = checks_lines
        self._entries = start_hash()
        self._misshapen: list[tuple[str, Any]] = []
        self._end = b""

    def read(self, pieces: Iterable[bytes]) -> Document:
        content = xxhash.xxh3_128()
        listing = Listing(self._sorted(self._blocks(_split(pieces, content))))
        if not self._end.startswith(b"},"):
            raise ValueError("different layout")
        behind = json.loads(b"{" + self._end[2:])
        if list(behind) != ["metadata"]:
            raise ValueError("the entries are not followed by the metadata alone")
        return Document(
            metadata=behind["metadata"],
            listing=listing,
            entry_count=len(listing),
            entries_hash=str(self._entries.hexdigest()),
            digest=bytes(content.digest()),
            misshapen=self._misshapen,
        )

    def _blocks(self, parts: Iterator[bytes]) -> Iterator[Block]:
        """Yield the lines of the entries, and store the text after them in `_end`."""
        part = next(parts)
        if not part.startswith(_HEAD):
            raise ValueError("different layout")
        part = part.removeprefix(_HEAD)
        for following in parts:
            yield self._block(part.removesuffix(BETWEEN_LINES))
            part = following
        last, _, self._end = part.partition(b"\n}")
        self._end = b"}" + self._end
        yield self._block(last)

    def _sorted(self, blocks: Iterator[Block]) -> Iterator[Block]:
        before = None
        for block in blocks:
            if before is not None and block.first <= before:
                raise ValueError("not sorted")
            before = block.last
            yield block

    def _block(self, text: bytes) -> Block:
        digest = xxhash.xxh3_128_digest(text)
        block = self._known.find(digest)
        if block is not None:
            self._entries.update(entries_in(text))
        elif not self._checks_lines:
            self._entries.update(entries_in(text))
            block = block_of_right_lines(text)
        else:
            count = len(self._misshapen)
            block = self._checked(text)
            if len(self._misshapen) != count:
                return block
        self._found.add(digest, block)
        return block

    def _checked(self, text: bytes) -> Block:
        """Check every new line; ValueError unless all are sorted and written as DSG does."""
        lines = text.split(BETWEEN_LINES)
        paths: list[str] = []
        for line in lines:
            path, entry = split_line(line)
            if paths and path <= paths[-1]:
                raise ValueError("not sorted")
            paths.append(path)
            self._entries.update(entry)
        right = self._known.lines_at(paths[0])
        self._check([line for line in lines if line not in right])
        return block_of(text, paths)

    def _check(self, lines: list[bytes]) -> None:
        # Each line is decoded alone, so that no entry spans two; encoding all at once is faster.
        decoded = [_decode("{" + line.decode() + "}") for line in lines]
        if lines and encode_entry(decoded).encode() != b"[{" + b"},{".join(lines) + b"}]":
            raise ValueError("an entry in a different encoding")
        for one in decoded:
            ((path, entry),) = one.items()  # ValueError if a line has several entries
            check_shape(path, entry, self._misshapen)


def _joined(pieces: Iterable[bytes]) -> bytes | None:
    """Return the whole content; None if it is too long to be decoded at once."""
    joined = bytearray()
    for piece in pieces:
        joined += piece
        if len(joined) > _WHOLE_LIMIT_BYTES:
            return None
    return bytes(joined)


def _split(pieces: Iterable[bytes], content: xxhash.xxh3_128) -> Iterator[bytes]:
    """Yield the parts of a document, the last one up to the end; `content` hashes all of it."""
    rest = b""
    for piece in pieces:
        content.update(piece)
        rest += piece
        start = 0
        while end := _end_of_part(rest, start):
            yield rest[start:end]
            start = end
        rest = rest[start:]
        if len(rest) > LONGEST_LINE:
            raise ValueError("different layout")
    yield rest


def _end_of_part(text: bytes, start: int) -> int:
    """Return the end of the part that begins at `start`; 0 if more text is needed."""
    found = text.find(_PART_END, start + _SHORTEST_PART, start + _LONGEST_PART)
    if found >= 0:
        return found + len(_PART_END)
    if len(text) - start < _LONGEST_PART:
        return 0
    found = text.rfind(_LINE_END, start, start + _LONGEST_PART)
    if found < 0:
        found = text.find(_LINE_END, start)
    return found + len(_LINE_END) if found >= 0 else 0
