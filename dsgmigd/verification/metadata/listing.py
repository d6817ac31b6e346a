"""The entries of a manifest: found by path, ticked off, and kept in little memory.

A line is kept as in the document, without its comma: the path as JSON, a colon, the entry. Lines
are kept in compressed blocks, and a few blocks are decompressed at a time. Lookups that follow the
order of the paths are therefore fast, and millions of entries take little memory.

Raises: ValueError, if a line is not an entry.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import lz4.block
import xxhash

BETWEEN_LINES = b",\n"
_BEHIND_PATH = b'":{"'
_COLON = b'":'
_BETWEEN_PLAIN_LINES = BETWEEN_LINES + b'"'
_PATH = re.compile(rb'"(?:[^"\\]|\\.)*+"(?=:\{")', re.DOTALL)
_OPEN_BLOCKS = 512
# No path in UTF-8 has such a byte, and no name that is not UTF-8 is listed.
_BEHIND_ALL_PATHS = b"\xff"

Listed = tuple[int, bytes]
"""The number of an entry in its listing, and the entry."""
_Lines = dict[bytes, Listed]
_NO_LINES: _Lines = {}


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines, sorted by path: the first path, the last path, their number, and the text.

    `packed` is the compressed text of the document from the first line to the last, and `digest` is
    its hash.
    """

    first: str
    last: str
    count: int
    packed: bytes
    digest: bytes

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield path and entry of each line."""
        return map(split_line, self.text().split(BETWEEN_LINES))

    def numbered_lines(self, start: int) -> _Lines:
        """Return number and entry of each line by its path in UTF-8; the first number is `start`.

        The quickest way to look at every line.
        """
        text = self.text()
        if b"\\" in text:
            lines = enumerate(map(split_line, text.split(BETWEEN_LINES)), start)
            return {path.encode(): (number, entry) for number, (path, entry) in lines}
        parts = enumerate(_split_plain(text), start)
        return {path: (number, entry) for number, (path, _, entry) in parts}

    def text(self) -> bytes:
        """Return the lines as in the document."""
        return bytes(lz4.block.decompress(self.packed))


def block_of(text: bytes, paths: list[str]) -> Block:
    """Return the block of the lines in `text`, of which these are the paths."""
    return _block(text, paths[0], paths[-1], len(paths))


def block_of_right_lines(text: bytes) -> Block:
    """Return the block of the lines in `text`, of which only the first and the last are read."""
    lines = text.split(BETWEEN_LINES)
    first, last = (split_line(line)[0] for line in (lines[0], lines[-1]))
    return _block(text, first, last, len(lines))


def _block(text: bytes, first: str, last: str, count: int) -> Block:
    packed = bytes(lz4.block.compress(text))
    return Block(first, last, count, packed, xxhash.xxh3_128_digest(packed))


def split_line(line: bytes) -> tuple[str, bytes]:
    """Return path and entry of a line; ValueError if it is not a line."""
    end = _end_of_path(line)
    path = json.loads(line[:end]) if b"\\" in line[:end] else line[1 : end - 1].decode()
    return path, line[end + 1 :]


def _split_plain(text: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return path, colon and entry of each line, if nothing in the text is escaped."""
    # So the next quotation mark ends a path.
    return [line.partition(_COLON) for line in text[1:].split(_BETWEEN_PLAIN_LINES)]


def entries_in(text: bytes) -> bytes:
    """Return the entries of some lines, joined without a separator."""
    if b"\\" not in text:
        return b"".join([entry for _, _, entry in _split_plain(text)])
    lines = text.split(BETWEEN_LINES)
    return b"".join([line[_end_of_path(line) + 1 :] for line in lines])


def _end_of_path(line: bytes) -> int:
    """Return where the path ends, which is a JSON string and followed by a colon and an object."""
    # In a path, every quotation mark but the last is escaped: if the key "type" follows, the path
    # ends here. A path that ends in `":{` contains `":{"`, but what follows is a colon.
    end = line.find(_BEHIND_PATH)
    if end > 0 and line.startswith(b"t", end + len(_BEHIND_PATH)):
        return end + 1
    match = _PATH.match(line)
    if match is None:
        raise ValueError("an entry is not an object")
    return match.end()


def hash_entry(entry: bytes) -> int:
    """Return a hash that identifies an entry."""
    return int(xxhash.xxh3_64_intdigest(entry))


@dataclass(frozen=True, slots=True)
class Span:
    """Adjacent blocks of a listing, and the number of their first entry."""

    start: int
    blocks: tuple[Block, ...]

    @property
    def digests(self) -> bytes:
        """The hashes of the blocks: what has the same is the same text."""
        return b"".join([block.digest for block in self.blocks])


class Listing:
    """Entries by path; all paths of a block come before those of the next block."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self._blocks: list[Block] = []
        self._firsts: list[bytes] = []
        self._starts: list[int] = []
        count = 0
        for block in blocks:
            self._blocks.append(block)
            self._firsts.append(block.first.encode())
            self._starts.append(count)
            count += block.count
        self._open: dict[int, _Lines] = {}
        self._taken = bytearray(count)

    def __len__(self) -> int:
        return len(self._taken)

    def find(self, path: str) -> Listed | None:
        """Return the number and the entry of `path`, if it has one."""
        return self.find_each([path.encode(errors="surrogateescape")])[0]

    def find_each(self, paths: Iterable[bytes]) -> list[Listed | None]:
        """Return the number and the entry of each of `paths`, if it has one.

        Sorted paths are found quickly.
        """
        found: list[Listed | None] = []
        # Of the block: its first path, that of the next one, and its lines as soon as it is open.
        block, first, following, lines = -1, b"", b"", _NO_LINES
        for path in paths:
            if not first <= path < following:
                block = bisect_right(self._firsts, path) - 1
                first, following = self._bounds(block)
                lines = self._lines(block) if self._may_list(block, path) else _NO_LINES
            elif lines is _NO_LINES and block >= 0:
                lines = self._lines(block)
            found.append(lines.get(path))
        return found

    def _may_list(self, block: int, path: bytes) -> bool:
        """Return False if a block certainly does not list `path`: a directory, for example.

        Whoever asks for one path of a block has its answer without splitting all of its lines.
        """
        if block < 0 or block in self._open:
            return block >= 0
        text = self._blocks[block].text()
        return b"\\" in text or b'"%b":{' % path in text

    def _bounds(self, block: int) -> tuple[bytes, bytes]:
        """Return the first path of a block, and that of the next one."""
        first = self._firsts[block] if block >= 0 else b""
        following = self._firsts[block + 1 : block + 2]
        return first, following[0] if following else _BEHIND_ALL_PATHS

    def span(self, first: bytes, last: bytes, most_blocks: int) -> Span | None:
        """Return the blocks in which paths from `first` to `last` are found; None if too many."""
        low = max(bisect_right(self._firsts, first) - 1, 0)
        high = bisect_right(self._firsts, last)
        if high - low > most_blocks:
            return None
        return Span(self._starts[low] if low < high else 0, tuple(self._blocks[low:high]))

    def hash_of(self, path: str) -> int:
        """Return the hash of the entry at `path`; 0 if there is none."""
        found = self.find(path)
        return hash_entry(found[1]) if found else 0

    def entry_at(self, path: str) -> bytes | None:
        """Return the entry at `path`, if there is one."""
        found = self.find(path)
        return found[1] if found else None

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield path and entry of all, sorted by path; does not use the decompressed blocks."""
        for block in self._blocks:
            yield from block.lines()

    def take(self, path: str) -> bytes | None:
        """Tick off the entry at `path`, if there is one, and return it."""
        found = self.find(path)
        if found is None:
            return None
        self.tick_off(found[0])
        return found[1]

    def tick_off(self, number: int) -> None:
        """Tick off the entry with this number, as returned by `find`."""
        self._taken[number] = True

    def tick_off_run(self, number: int, count: int) -> None:
        """Tick off `count` entries from this number on."""
        self._taken[number : number + count] = b"\1" * count

    def untaken(self) -> Iterator[str]:
        """Yield the paths that were not ticked off, sorted."""
        for number, (block, start) in enumerate(zip(self._blocks, self._starts, strict=True)):
            if 0 in self._taken[start : start + block.count]:
                lines = self._lines(number)
                untaken = (path for path, (line, _) in lines.items() if not self._taken[line])
                yield from map(bytes.decode, untaken)

    def _lines(self, number: int) -> _Lines:
        if number in self._open:
            return self._open[number]
        if len(self._open) == _OPEN_BLOCKS:
            del self._open[next(iter(self._open))]
        lines = self._blocks[number].numbered_lines(self._starts[number])
        self._open[number] = lines
        return lines
