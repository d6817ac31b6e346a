"""The lines of a manifest, sorted bytewise by path: some of them change, no other is looked at.

A line is a path as JSON, a colon and the entry; no line has a newline in it. Lines are kept in
compressed blocks, joined as they stand in the document, so that writing millions again costs little
more than moving their bytes.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import groupby, islice

import lz4.block

from dsgmigd.dsg.entry import path_in_json

_BLOCK_LINES = 32
_BETWEEN = b",\n"
# Within a JSON string a quotation mark has a backslash before it: this is the end of the path.
_BEHIND_PATH = b'":{"'

Change = tuple[bytes, bytes | None]
"""A path, and the entry that is to stand there, if any."""


def line_of(entry: bytes) -> bytes:
    """Return the line of `entry`."""
    return path_in_json(entry) + b":" + entry


def path_of(line: bytes) -> bytes:
    """Return the path of a line that is known to be one."""
    key = line.partition(_BEHIND_PATH)[0] + b'"'
    return str(json.loads(key)).encode() if b"\\" in key else key[1:-1]


def split_line(line: bytes) -> tuple[bytes, bytes]:
    """Return path and entry of a line; ValueError if it is none, or has another path as its key."""
    key, separator, rest = line.partition(_BEHIND_PATH)
    entry = b'{"' + rest
    if not separator or path_in_json(entry) != key + b'"':
        raise ValueError(f"no entry under its own path: {line[:200]!r}")
    return path_of(line), entry


def entries_in(block: bytes) -> bytes:
    """Return the entries of a block, one right behind the other."""
    return b"".join([b'{"' + line.partition(_BEHIND_PATH)[2] for line in block.split(_BETWEEN)])


def count_in(block: bytes) -> int:
    """Return how many lines there are in a block."""
    return block.count(b"\n") + 1


class Lines:
    """The lines of one manifest; `entries` come sorted."""

    def __init__(self, entries: Iterable[bytes]) -> None:
        self._firsts: list[bytes] = []
        self._blocks: list[bytes] = []
        waiting = map(line_of, entries)
        while some := list(islice(waiting, _BLOCK_LINES)):
            self._firsts.append(path_of(some[0]))
            self._blocks.append(_packed(some))

    def blocks(self) -> Iterator[bytes]:
        """Yield all lines, joined as in the document, some at a time."""
        return map(lz4.block.decompress, self._blocks)

    def change(self, changes: Iterable[Change]) -> None:
        """Let other entries stand at some paths; `changes` are sorted by path."""
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
        """Return the lines of a block by path, after some changes; there may be none yet."""
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
    """Yield equal parts that are large enough for a block, each with its first path."""
    paths = sorted(lines)
    count = -(-len(paths) // _BLOCK_LINES)
    for number in range(count):
        some = paths[number * len(paths) // count : (number + 1) * len(paths) // count]
        yield some[0], [lines[path] for path in some]


def _packed(lines: list[bytes]) -> bytes:
    return bytes(lz4.block.compress(_BETWEEN.join(lines)))
