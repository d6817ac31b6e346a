"""The lines of a manifest, sorted bytewise by path; a change touches only the lines that change.

A line is a path as JSON, a colon and the entry, without a newline. Lines are kept in compressed
blocks, joined as in the document, so that writing millions of lines again costs little more than
copying their bytes.

Raises: ValueError, if a line is not an entry.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import groupby, islice

import lz4.block

from dsgmigd.dsg.entry import path_in_json

_BLOCK_LINES = 32
_BETWEEN = b",\n"
# What follows the path in a line, with the first key of every entry. A path cannot contain it,
# because its quotation marks are escaped. `":{"` alone would match in a path that ends in `":{`.
_BEHIND_PATH = b'":{"type":'
_FIRST_KEY = b'{"type":'

Change = tuple[bytes, bytes | None]
"""A path, and its new entry; None if it has none."""


def line_of(entry: bytes) -> bytes:
    """Return the line of `entry`."""
    return path_in_json(entry) + b":" + entry


def path_of(line: bytes) -> bytes:
    """Return the path of a valid line."""
    key = line.partition(_BEHIND_PATH)[0] + b'"'
    return str(json.loads(key)).encode() if b"\\" in key else key[1:-1]


def split_line(line: bytes) -> tuple[bytes, bytes]:
    """Return path and entry of a line; ValueError if it is not a line, or its key is wrong."""
    key, separator, rest = line.partition(_BEHIND_PATH)
    entry = _FIRST_KEY + rest
    if not separator or path_in_json(entry) != key + b'"':
        raise ValueError(f"not an entry with its own path as key: {line[:200]!r}")
    return path_of(line), entry


def entries_in(block: bytes) -> bytes:
    """Return the entries of a block, joined without a separator."""
    return b"".join(
        [_FIRST_KEY + line.partition(_BEHIND_PATH)[2] for line in block.split(_BETWEEN)]
    )


def count_in(block: bytes) -> int:
    """Return the number of lines in a block."""
    return block.count(b"\n") + 1


class Lines:
    """The lines of one manifest; `entries` must be sorted."""

    def __init__(self, entries: Iterable[bytes]) -> None:
        self._firsts: list[bytes] = []
        self._blocks: list[bytes] = []
        waiting = map(line_of, entries)
        while some := list(islice(waiting, _BLOCK_LINES)):
            self._firsts.append(path_of(some[0]))
            self._blocks.append(_packed(some))

    def blocks(self) -> Iterator[bytes]:
        """Yield all lines in blocks, joined as in the document."""
        return map(lz4.block.decompress, self._blocks)

    def change(self, changes: Iterable[Change]) -> None:
        """Replace, add or remove entries; `changes` must be sorted by path."""
        firsts: list[bytes] = []
        blocks: list[bytes] = []
        done = 0
        for number, some in groupby(changes, key=lambda change: self._block_of(change[0])):
            firsts += self._firsts[done:number]
            blocks += self._blocks[done:number]
            done = number + 1
            for first, lines in _cut(self._changed(number, some)):
                firsts.append(first)
                blocks.append(_packed(lines))
        self._firsts = firsts + self._firsts[done:]
        self._blocks = blocks + self._blocks[done:]

    def _block_of(self, path: bytes) -> int:
        return max(0, bisect_right(self._firsts, path) - 1)

    def _changed(self, number: int, changes: Iterable[Change]) -> dict[bytes, bytes]:
        """Return the lines of a block by path after some changes; the block may not exist yet."""
        lines = {}
        for block in self._blocks[number : number + 1]:
            for line in lz4.block.decompress(block).split(_BETWEEN):
                lines[path_of(line)] = line
        for path, entry in changes:
            lines.pop(path, None)
            if entry is not None:
                lines[path] = line_of(entry)
        return lines


def _cut(lines: dict[bytes, bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield parts of equal size, each enough for a block, with their first paths."""
    paths = sorted(lines)
    count = -(-len(paths) // _BLOCK_LINES)
    for number in range(count):
        some = paths[number * len(paths) // count : (number + 1) * len(paths) // count]
        yield some[0], [lines[path] for path in some]


def _packed(lines: list[bytes]) -> bytes:
    return bytes(lz4.block.compress(_BETWEEN.join(lines)))
