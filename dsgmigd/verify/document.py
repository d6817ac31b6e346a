"""Read a last-sync.json, in memory that hardly grows with it.

A document that has one canonical entry a line, sorted by path, is read line by line. Any other that
is valid, such as DSG's own client writes, is read as a whole. Both say the same: entries are hashed
in the order of the document, encoded as DSG encodes them.

Leaving errors: ValueError, KeyError, TypeError and RuntimeError for what is no such document.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import xxhash

from dsgmigd.hashing import start_hash
from dsgmigd.verify.digests import Digests
from dsgmigd.verify.listing import Listing, split_line

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
_LINES_AT_ONCE = 256
_HEAD = b'{"entries":{'
_LONGEST_LINE = 1024 * 1024
_ORDER = {
    "file": ["type", "path", "user", "filesize", "mtime", "hash"],
    "link": ["type", "path", "user", "reference"],
}


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


def read_document(read: Callable[[], Iterator[bytes]], known: Digests, found: Digests) -> Document:
    """Return what a document says; `read` begins to yield its pieces, each time it is called.

    Lines that are in `known` were found right before; those that are right get into `found`.
    """
    try:
        return _ByLine(known, found).read(read())
    except ValueError:
        return _read_whole(b"".join(read()))


def digest_of(pieces: Iterable[bytes]) -> bytes:
    """Return what tells a content from every other."""
    state = xxhash.xxh3_128()
    for piece in pieces:
        state.update(piece)
    return bytes(state.digest())


class _ByLine:
    """Reads one document line by line; ValueError if it has another layout."""

    def __init__(self, known: Digests, found: Digests) -> None:
        self._known = known
        self._found = found
        self._document = Document()

    def read(self, pieces: Iterable[bytes]) -> Document:
        content, entries = xxhash.xxh3_128(), start_hash()
        lines = _split(pieces, content)
        if next(lines, None) != _HEAD:
            raise ValueError("another layout")
        self._document.listing = Listing(self._checked(lines, entries))
        end = b"\n".join(lines)
        if not end.startswith(b"},"):
            raise ValueError("another layout")
        behind = json.loads(b"{" + end[2:])
        if list(behind) != ["metadata"]:
            raise ValueError("something else behind the entries")
        self._document.metadata = behind["metadata"]
        self._document.entry_count = len(self._document.listing)
        self._document.entries_hash = str(entries.hexdigest())
        self._document.digest = bytes(content.digest())
        return self._document

    def _checked(
        self, lines: Iterator[bytes], entries: xxhash.xxh3_64
    ) -> Iterator[tuple[str, bytes]]:
        """Yield path and line of all entries; take no line behind them."""
        before = None
        members = _members(lines)
        while some := list(islice(members, _LINES_AT_ONCE)):
            digests = [xxhash.xxh3_128_digest(text) for text in some]
            pairs = list(zip(some, digests, strict=True))
            wrong = self._wrong([text for text, digest in pairs if digest not in self._known])
            for text, digest in pairs:
                path, entry = split_line(text)
                if before is not None and path <= before:
                    raise ValueError("not sorted")
                before = path
                if text not in wrong:
                    self._found.add(digest)
                entries.update(entry)
                yield path, text

    def _wrong(self, texts: list[bytes]) -> set[bytes]:
        """Return the members of another shape; ValueError unless all are encoded as DSG does."""
        if not texts:
            return set()
        # Each is decoded alone, so that none can end in another; encoding all at once is quicker.
        decoded = [_decode("{" + text.decode() + "}") for text in texts]
        if _encode(decoded).encode() != b"[{" + b"},{".join(texts) + b"}]":
            raise ValueError("an entry in another encoding")
        wrong = set()
        for text, one in zip(texts, decoded, strict=True):
            ((path, entry),) = one.items()
            if not _has_right_shape(path, entry):
                self._document.misshapen.append((path, entry))
                wrong.add(text)
        return wrong


def _members(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines without their commas, up to the first that has none."""
    for line in lines:
        text = line.removesuffix(b",")
        yield text
        if len(text) == len(line):
            return


def _read_whole(content: bytes) -> Document:
    document = json.loads(content)
    entries = dict(document["entries"])
    encoded = {path: _encode(entry).encode() for path, entry in entries.items()}
    digest = start_hash()
    for one in encoded.values():
        digest.update(one)
    # What is no object, or an empty one, is counted and hashed, but there is nothing to look up.
    paths = sorted(path for path, entry in entries.items() if isinstance(entry, dict) and entry)
    lines = ((path, _encode(path).encode() + b":" + encoded[path]) for path in paths)
    return Document(
        metadata=document["metadata"],
        listing=Listing(lines),
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
    """Yield the lines of a document, the last one up to its end, and hash all of it."""
    rest = b""
    for piece in pieces:
        content.update(piece)
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) > _LONGEST_LINE:
            raise ValueError("another layout")
    yield rest
