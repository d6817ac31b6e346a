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
_PATH = re.compile(rb'"(?:[^"\\]|\\.)*+"(?=:\{")', re.DOTALL)
_OPEN_BLOCKS = 512
_Lines = dict[str, tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines, sorted by path: the first path, the last path, their number, and the text.

    `packed` is the compressed text of the document from the first line to the last.
    """

    first: str
    last: str
    count: int
    packed: bytes

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield path and entry of each line."""
        return map(split_line, self.text().split(BETWEEN_LINES))

    def text(self) -> bytes:
        """Return the lines as in the document."""
        return bytes(lz4.block.decompress(self.packed))


def block_of(text: bytes, paths: list[str]) -> Block:
    """Return the block of the lines in `text`, of which these are the paths."""
    return Block(paths[0], paths[-1], len(paths), bytes(lz4.block.compress(text)))


def split_line(line: bytes) -> tuple[str, bytes]:
    """Return path and entry of a line; ValueError if it is not a line."""
    end = _end_of_path(line)
    path = json.loads(line[:end]) if b"\\" in line[:end] else line[1 : end - 1].decode()
    return path, line[end + 1 :]


def entries_in(text: bytes) -> bytes:
    """Return the entries of some lines, joined without a separator."""
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


class Listing:
    """Entries by path; all paths of a block come before those of the next block."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self._blocks: list[Block] = []
        self._firsts: list[str] = []
        self._starts: list[int] = []
        count = 0
        for block in blocks:
            self._blocks.append(block)
            self._firsts.append(block.first)
            self._starts.append(count)
            count += block.count
        self._open: dict[int, _Lines] = {}
        self._taken = bytearray(count)

    def __len__(self) -> int:
        return len(self._taken)

    def find(self, path: str) -> tuple[int, bytes] | None:
        """Return the number and the entry of `path`, if it has one."""
        block = bisect_right(self._firsts, path) - 1
        return self._lines(block).get(path) if block >= 0 else None

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

    def untaken(self) -> Iterator[str]:
        """Yield the paths that were not ticked off, sorted."""
        for number, (block, start) in enumerate(zip(self._blocks, self._starts, strict=True)):
            if 0 in self._taken[start : start + block.count]:
                lines = self._lines(number)
                yield from (path for path, (line, _) in lines.items() if not self._taken[line])

    def _lines(self, number: int) -> _Lines:
        if number in self._open:
            return self._open[number]
        if len(self._open) == _OPEN_BLOCKS:
            del self._open[next(iter(self._open))]
        numbered = enumerate(self._blocks[number].lines(), self._starts[number])
        lines = {path: (line, entry) for line, (path, entry) in numbered}
        self._open[number] = lines
        return lines
