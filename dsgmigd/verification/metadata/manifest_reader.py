"""Read a last-sync.json, in memory that hardly grows with it.

A document that has one canonical entry a line, sorted by path, is read in parts of some lines. The
lines themselves tell where a part ends: so whatever changes, most parts are those of the document
before, and need not be looked into again. Any other layout that is valid, such as DSG's own client
writes, is read as a whole. Both say the same: entries are hashed in the order of the document,
encoded as DSG encodes them.

Leaving errors: ValueError, KeyError, TypeError and RuntimeError for what is no such document.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import xxhash

from dsgmigd.hashing import start_hash
from dsgmigd.verify.listing import BETWEEN_LINES, Block, Listing, block_of, entries_in, split_line

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
_HEAD = b'{"entries":{\n'
_LINE_END = b"},\n"
# One line of sixteen: a file whose hash ends so.
_PART_END = b'0"},\n'
_SHORTEST_PART = 1024
_LONGEST_PART = 64 * 1024
_LONGEST_LINE = 1024 * 1024
_LINES_AT_ONCE = 64
_ORDER = {
    "file": ["type", "path", "user", "filesize", "mtime", "hash"],
    "link": ["type", "path", "user", "reference"],
}


class Known:
    """Parts in which all lines were found right, by the digests of their text."""

    def __init__(self) -> None:
        self._by_digest: dict[bytes, Block] = {}
        self._by_first: dict[str, Block] = {}

    def add(self, digest: bytes, block: Block) -> None:
        """Take in a part."""
        self._by_digest[digest] = self._by_first[block.first] = block

    def find(self, digest: bytes) -> Block | None:
        """Return the part whose text has this digest, if it is known."""
        return self._by_digest.get(digest)

    def lines_at(self, first: str) -> frozenset[bytes]:
        """Return the lines of the part that begins with the path `first`, if one does."""
        block = self._by_first.get(first)
        return frozenset(block.text().split(BETWEEN_LINES)) if block else frozenset()


@dataclass
class Document:
    """What a last-sync.json says.

    Count and hash are those of the entries that are there, whatever the metadata says; `digest` is
    that of the whole content; `misshapen` are entries whose path or keys are wrong.
    """

    metadata: Any = None
    listing: Listing = field(default_factory=Listing)
    entry_count: int = 0
    entries_hash: str = ""
    digest: bytes = b""
    misshapen: list[tuple[str, Any]] = field(default_factory=list)


def read_document(read: Callable[[], Iterator[bytes]], known: Known, found: Known) -> Document:
    """Return what a document says; `read` begins to yield its pieces, each time it is called.

    Parts that are in `known` were found right before; those that are right get into `found`.
    """
    try:
        return _InParts(known, found).read(read())
    except ValueError:
        return _read_whole(b"".join(read()))


def digest_of(pieces: Iterable[bytes]) -> bytes:
    """Return what tells a content from every other."""
    state = xxhash.xxh3_128()
    for piece in pieces:
        state.update(piece)
    return bytes(state.digest())


class _InParts:
    """Reads one document part by part; ValueError if it has another layout."""

    def __init__(self, known: Known, found: Known) -> None:
        self._known = known
        self._found = found
        self._entries = start_hash()
        self._misshapen: list[tuple[str, Any]] = []
        self._end = b""

    def read(self, pieces: Iterable[bytes]) -> Document:
        content = xxhash.xxh3_128()
        listing = Listing(self._sorted(self._blocks(_split(pieces, content))))
        if not self._end.startswith(b"},"):
            raise ValueError("another layout")
        behind = json.loads(b"{" + self._end[2:])
        if list(behind) != ["metadata"]:
            raise ValueError("something else behind the entries")
        return Document(
            metadata=behind["metadata"],
            listing=listing,
            entry_count=len(listing),
            entries_hash=str(self._entries.hexdigest()),
            digest=bytes(content.digest()),
            misshapen=self._misshapen,
        )

    def _blocks(self, parts: Iterator[bytes]) -> Iterator[Block]:
        """Yield the lines of the entries, and keep what stands behind them."""
        part = next(parts)
        if not part.startswith(_HEAD):
            raise ValueError("another layout")
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
        else:
            count = len(self._misshapen)
            block = self._checked(text)
            if len(self._misshapen) != count:
                return block
        self._found.add(digest, block)
        return block

    def _checked(self, text: bytes) -> Block:
        """Look into every line that is new; ValueError unless all are as DSG writes, and sorted."""
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
        # Each is decoded alone, so that none can end in another; encoding all at once is quicker.
        decoded = [_decode("{" + line.decode() + "}") for line in lines]
        if lines and _encode(decoded).encode() != b"[{" + b"},{".join(lines) + b"}]":
            raise ValueError("an entry in another encoding")
        for one in decoded:
            ((path, entry),) = one.items()  # ValueError if there are several in a line
            if not _has_right_shape(path, entry):
                self._misshapen.append((path, entry))


def _read_whole(content: bytes) -> Document:
    document = json.loads(content)
    entries = dict(document["entries"])
    encoded = {path: _encode(entry).encode() for path, entry in entries.items()}
    digest = start_hash()
    for one in encoded.values():
        digest.update(one)
    # What is no object, or an empty one, is counted and hashed, but there is nothing to look up.
    paths = sorted(path for path, entry in entries.items() if isinstance(entry, dict) and entry)
    blocks = []
    for start in range(0, len(paths), _LINES_AT_ONCE):
        some = paths[start : start + _LINES_AT_ONCE]
        lines = [_encode(path).encode() + b":" + encoded[path] for path in some]
        blocks.append(block_of(BETWEEN_LINES.join(lines), some))
    return Document(
        metadata=document["metadata"],
        listing=Listing(blocks),
        entry_count=len(entries),
        entries_hash=str(digest.hexdigest()),
        digest=digest_of([content]),
        misshapen=[one for one in entries.items() if not _has_right_shape(*one)],
    )


def _has_right_shape(path: str, entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    return entry.get("path") == path and list(entry) == _ORDER.get(str(entry.get("type")))


def _split(pieces: Iterable[bytes], content: xxhash.xxh3_128) -> Iterator[bytes]:
    """Yield the parts of a document, the last one up to its end, and hash all of it."""
    rest = b""
    for piece in pieces:
        content.update(piece)
        rest += piece
        start = 0
        while end := _end_of_part(rest, start):
            yield rest[start:end]
            start = end
        rest = rest[start:]
        if len(rest) > _LONGEST_LINE:
            raise ValueError("another layout")
    yield rest


def _end_of_part(text: bytes, start: int) -> int:
    """Return where the part ends that begins at `start`; 0 if that is not to be seen yet."""
    found = text.find(_PART_END, start + _SHORTEST_PART, start + _LONGEST_PART)
    if found >= 0:
        return found + len(_PART_END)
    if len(text) - start < _LONGEST_PART:
        return 0
    found = text.rfind(_LINE_END, start, start + _LONGEST_PART)
    if found < 0:
        found = text.find(_LINE_END, start)
    return found + len(_LINE_END) if found >= 0 else 0
