"""The entries of a manifest: found by path, ticked off, and kept small.

A line is kept as it stands in the document, without its comma: the path as JSON, a colon, the
entry. Lines are kept in compressed blocks, a few of which are open at a time. So whoever asks in
nearly the order of the paths is answered quickly, and millions of entries take little memory.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import lz4.block
import xxhash

_BLOCK_LINES = 256
_OPEN_BLOCKS = 64
_Lines = dict[str, tuple[int, bytes]]


def split_line(line: bytes) -> tuple[str, bytes]:
    """Return path and entry of a line; ValueError if it is none."""
    # Within a JSON string a quotation mark has a backslash before it: this is the path's end.
    key, separator, rest = line.partition(b'":{"')
    if not separator:
        raise ValueError("an entry is no object")
    path = json.loads(key + b'"') if b"\\" in key else key[1:].decode()
    return path, b'{"' + rest


def hash_entry(entry: bytes) -> int:
    """Return what tells an entry from every other."""
    return int(xxhash.xxh3_64_intdigest(entry))


class Listing:
    """Entries by path; `lines` are given with their paths, in strictly ascending order of these."""

    def __init__(self, lines: Iterable[tuple[str, bytes]] = ()) -> None:
        self._firsts: list[str] = []
        self._blocks: list[bytes] = []
        self._open: dict[int, _Lines] = {}
        self._taken = bytearray()
        waiting: list[bytes] = []
        for path, line in lines:
            if not waiting:
                self._firsts.append(path)
            waiting.append(line)
            if len(waiting) == _BLOCK_LINES:
                self._close_block(waiting)
        if waiting:
            self._close_block(waiting)

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
            yield from map(split_line, lz4.block.decompress(block).split(b"\n"))

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
        for block in range(len(self._blocks)):
            start = block * _BLOCK_LINES
            if 0 in self._taken[start : start + _BLOCK_LINES]:
                lines = self._lines(block)
                yield from (path for path, (number, _) in lines.items() if not self._taken[number])

    def _lines(self, block: int) -> _Lines:
        if block in self._open:
            return self._open[block]
        if len(self._open) == _OPEN_BLOCKS:
            del self._open[next(iter(self._open))]
        lines: _Lines = {}
        content = lz4.block.decompress(self._blocks[block])
        for number, line in enumerate(content.split(b"\n"), block * _BLOCK_LINES):
            path, entry = split_line(line)
            lines[path] = number, entry
        self._open[block] = lines
        return lines

    def _close_block(self, waiting: list[bytes]) -> None:
        self._blocks.append(lz4.block.compress(b"\n".join(waiting)))
        self._taken += bytes(len(waiting))
        waiting.clear()
