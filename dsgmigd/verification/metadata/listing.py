"""The entries of a manifest: found by path, ticked off, and kept small.

A line is kept as it stands in the document, without its comma: the path as JSON, a colon, the
entry. Lines are kept in compressed blocks, a few of which are open at a time. So whoever asks in
nearly the order of the paths is answered quickly, and millions of entries take little memory.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import lz4.block
import xxhash

BETWEEN_LINES = b",\n"
# Within a JSON string a quotation mark has a backslash before it: this is the end of the path.
_BEHIND_PATH = b'":{"'
_OPEN_BLOCKS = 512
_Lines = dict[str, tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines in ascending order of their paths: the first path, the last, how many, the text.

    `packed` is what stands in the document, from the first line to the last, compressed.
    """

    first: str
    last: str
    count: int
    packed: bytes

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield path and entry of each line."""
        return map(split_line, self.text().split(BETWEEN_LINES))

    def text(self) -> bytes:
        """Return what stands in the document."""
        return bytes(lz4.block.decompress(self.packed))


def block_of(text: bytes, paths: list[str]) -> Block:
    """Return the block of the lines in `text`, of which these are the paths."""
    return Block(paths[0], paths[-1], len(paths), bytes(lz4.block.compress(text)))


def split_line(line: bytes) -> tuple[str, bytes]:
    """Return path and entry of a line; ValueError if it is none."""
    key, separator, rest = line.partition(_BEHIND_PATH)
    if not separator:
        raise ValueError("an entry is no object")
    path = json.loads(key + b'"') if b"\\" in key else key[1:].decode()
    return path, b'{"' + rest


def entries_in(text: bytes) -> bytes:
    """Return the entries of some lines, one right behind the other."""
    lines = text.split(BETWEEN_LINES)
    return b"".join([b'{"' + line.partition(_BEHIND_PATH)[2] for line in lines])


def hash_entry(entry: bytes) -> int:
    """Return what tells an entry from every other."""
    return int(xxhash.xxh3_64_intdigest(entry))


class Listing:
    """Entries by path; all paths of a block come before those of the next."""

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
        """Return number and entry of `path`, if it has one."""
        block = bisect_right(self._firsts, path) - 1
        return self._lines(block).get(path) if block >= 0 else None

    def hash_of(self, path: str) -> int:
        """Return what tells the entry at `path` from every other; 0 if there is none."""
        found = self.find(path)
        return hash_entry(found[1]) if found else 0

    def entry_at(self, path: str) -> bytes | None:
        """Return the entry at `path`, if there is one."""
        found = self.find(path)
        return found[1] if found else None

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield path and entry of all, sorted by path; nothing is kept open for it."""
        for block in self._blocks:
            yield from block.lines()

    def take(self, path: str) -> bytes | None:
        """Return the entry at `path`, if there is one, and tick it off."""
        found = self.find(path)
        if found is None:
            return None
        self.tick_off(found[0])
        return found[1]

    def tick_off(self, number: int) -> None:
        """Tick off the entry that `find` gave this number."""
        self._taken[number] = True

    def untaken(self) -> Iterator[str]:
        """Yield the paths that nobody took, sorted."""
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
