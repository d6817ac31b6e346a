"""The lines of a manifest, sorted bytewise by path; a change touches only the blocks it is in.

A line is a path as JSON, a colon and a record (see `stale`), without a newline. Lines are kept in
compressed blocks, joined as in the document, so that writing millions of lines again costs little
more than copying their bytes, and keeping them takes about 50 bytes for each.

`Lines` never change: a change makes new ones, which share all blocks that are the same.

Raises: ValueError, if a line is not an entry.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

import lz4.block

from dsgmigd.dsg.entry import path_in_json, to_json
from dsgmigd.dsg.stale import STALE_TYPE, Staleness, is_stale, marked

_BLOCK_LINES = 32
_BETWEEN = b",\n"
# What follows the path in a line, with the first key of every record. A path cannot contain it,
# because its quotation marks are escaped. `":{"` alone would match in a path that ends in `":{`.
_BEHIND_PATH = b'":{"type":'
_FIRST_KEY = b'{"type":'
_STALE_BEHIND_PATH = b'":' + STALE_TYPE
# JSON escapes these in a text.
_ESCAPED = re.compile(rb'[\x00-\x1f"\\]')
# No path in UTF-8 has such a byte.
_BEHIND_ALL_PATHS = b"\xff"
_BEFORE_PATH_IN_ENTRY = len(b'{"type":"file",')

Record = tuple[bytes, bytes]
"""A path, and the record of what is there."""
Edit = tuple[bytes, bytes, Iterable[Record]]
"""The first path of a range, the first path behind it, and all that is in it from now on."""


def record_at(path: bytes, record: bytes) -> bytes:
    """Return what is known of `path` by a record: an entry with another path is stale there."""
    if is_stale(record) or record.startswith(b'"path":%b,' % _key_of(path), _BEFORE_PATH_IN_ENTRY):
        return record
    return marked(record, Staleness.ATTRIBUTES)


def line_of(path: bytes, record: bytes) -> bytes:
    """Return the line of what is known of `path` by a record."""
    return _key_of(path) + b":" + record_at(path, record)


def split_line(line: bytes) -> Record:
    """Return path and entry of a line; ValueError if it is not a line, or its key is wrong."""
    key, separator, rest = line.partition(_BEHIND_PATH)
    entry = _FIRST_KEY + rest
    if not separator or path_in_json(entry) != key + b'"':
        raise ValueError(f"not an entry with its own path as key: {line[:200]!r}")
    return _path_of(line), entry


def entries_in(block: bytes) -> bytes:
    """Return the entries of a block, joined without a separator."""
    return b"".join([_record_of(line) for line in block.split(_BETWEEN)])


def count_in(block: bytes) -> int:
    """Return the number of lines in a block."""
    return block.count(b"\n") + 1


def end_of(path: bytes) -> bytes:
    """Return the first path behind `path`, or behind all that begin with it if it ends in "/"."""
    return path[:-1] + b"0" if path.endswith(b"/") else path + b"\0"


def _path_of(line: bytes) -> bytes:
    key = line.partition(_BEHIND_PATH)[0] + b'"'
    return str(json.loads(key)).encode() if b"\\" in key else key[1:-1]


def _record_of(line: bytes) -> bytes:
    return _FIRST_KEY + line.partition(_BEHIND_PATH)[2]


class _Blocks:
    """Lines in compressed blocks: the first path of each, its content, and 1 if some are stale."""

    def __init__(self) -> None:
        self.firsts: list[bytes] = []
        self.packed: list[bytes] = []
        self.stale = bytearray()

    def append(self, first: bytes, text: bytes) -> None:
        """Append the block of some lines."""
        self.firsts.append(first)
        self.packed.append(bytes(lz4.block.compress(text)))
        self.stale.append(_STALE_BEHIND_PATH in text)

    def share(self, other: "_Blocks", start: int, end: int) -> None:
        """Append blocks of `other`."""
        self.firsts += other.firsts[start:end]
        self.packed += other.packed[start:end]
        self.stale += other.stale[start:end]


class Lines:
    """The lines of one manifest."""

    def __init__(self, blocks: _Blocks | None = None) -> None:
        self._blocks = blocks or _Blocks()
        # The block that was read last, with a newline before each line, its first path and that
        # of the next block.
        self._open_number = -1
        self._open_text, self._open_first, self._open_end = b"", b"", b""

    def blocks(self) -> Iterator[bytes]:
        """Yield all lines in blocks, joined as in the document."""
        return map(lz4.block.decompress, self._blocks.packed)

    def entries(self) -> Iterator[bytes]:
        """Yield all records, sorted by path."""
        for block in self.blocks():
            yield from map(_record_of, block.split(_BETWEEN))

    def find(self, path: bytes) -> bytes | None:
        """Return the record at `path`, if there is one."""
        if self._open_first <= path < self._open_end:
            text = self._open_text
        elif (number := bisect_right(self._blocks.firsts, path) - 1) >= 0:
            text = self._text(number)
        else:
            return None
        key = _key_of(path)
        start = text.find(b"\n" + key + _BEHIND_PATH[1:]) + 1
        if start == 0:
            return None
        end = text.find(_BETWEEN, start)
        return text[start + len(key) + 1 : end if end >= 0 else None]

    def has_below(self, directory: bytes) -> bool:
        """Say whether there is anything in `directory`, a path that ends in "/"."""
        number = bisect_left(self._blocks.firsts, directory)
        if self._blocks.firsts[number : number + 1] and self._blocks.firsts[number].startswith(
            directory
        ):
            return True
        return number > 0 and b"\n" + _key_of(directory)[:-1] in self._text(number - 1)

    def between(self, low: bytes, high: bytes) -> Iterator[Record]:
        """Yield paths from `low` on and before `high`, sorted, with their records."""
        number = max(0, bisect_right(self._blocks.firsts, low) - 1)
        end = bisect_left(self._blocks.firsts, high)
        for text in map(self._text, range(number, end)):
            for line in text[1:].split(_BETWEEN):
                path = _path_of(line)
                if low <= path < high:
                    yield path, _record_of(line)

    def has_stale(self) -> bool:
        """Say whether any record is stale."""
        return 1 in self._blocks.stale

    def stale_paths(self, count: int) -> list[bytes]:
        """Return the first paths with stale records, sorted: about `count`, or all if fewer."""
        found: list[bytes] = []
        number = self._blocks.stale.find(1)
        while number >= 0 and len(found) < count:
            lines = self._text(number)[1:].split(_BETWEEN)
            found += [_path_of(line) for line in lines if _STALE_BEHIND_PATH in line]
            number = self._blocks.stale.find(1, number + 1)
        return found

    def changed(self, edits: Iterable[Edit]) -> "Lines":
        """Return these lines with other records in some ranges, sorted, of which none overlap."""
        return Lines(_Merge(self._blocks).finish(edits))

    def _text(self, number: int) -> bytes:
        """Return the lines of a block, with a newline before each."""
        if number != self._open_number:
            self._open_text = b"\n" + lz4.block.decompress(self._blocks.packed[number])
            self._open_number = number
            self._open_first = self._blocks.firsts[number]
            self._open_end = (*self._blocks.firsts[number + 1 : number + 2], _BEHIND_ALL_PATHS)[0]
        return self._open_text


def _key_of(path: bytes) -> bytes:
    """Return `path` as JSON; no line has what is returned for one that is not UTF-8."""
    if not _ESCAPED.search(path):
        return b'"' + path + b'"'
    return to_json(path.decode(errors="replace"))


class _Merge:
    """Makes new lines of old ones, from the first path to the last."""

    def __init__(self, before: _Blocks) -> None:
        self._before = before
        self._after = _Blocks()
        self._next = 0  # the first block of `before` that was not looked at
        # The lines of the block before it that were not passed yet, the last one first.
        self._opened: list[tuple[bytes, bytes]] = []
        # What follows the blocks of `after`: less than two blocks.
        self._paths: list[bytes] = []
        self._lines: list[bytes] = []

    def finish(self, edits: Iterable[Edit]) -> _Blocks:
        """Make all edits; return the new blocks."""
        for low, high, records in edits:
            if not self._opened or self._opened[-1][0] < low:
                self._keep_until(low)
            for path, record in records:
                self._add(path, line_of(path, record))
            if not self._opened or self._opened[-1][0] < high:
                self._skip_until(high)
        while self._opened:
            self._add(*self._opened.pop())
        self._keep_blocks(len(self._before.packed))
        self._close()
        return self._after

    def _keep_until(self, low: bytes) -> None:
        """Keep the old lines before `low`."""
        self._keep_opened(low)
        if self._opened:
            return
        number = bisect_right(self._before.firsts, low, lo=self._next) - 1
        if number >= self._next:
            self._keep_blocks(number)
            self._open()
            self._keep_opened(low)

    def _keep_opened(self, low: bytes) -> None:
        while self._opened and self._opened[-1][0] < low:
            self._add(*self._opened.pop())

    def _skip_until(self, high: bytes) -> None:
        """Leave out the old lines before `high`."""
        self._skip_opened(high)
        if self._opened:
            return
        number = bisect_left(self._before.firsts, high, lo=self._next) - 1
        if number >= self._next:
            self._next = number
            self._open()
            self._skip_opened(high)

    def _skip_opened(self, high: bytes) -> None:
        while self._opened and self._opened[-1][0] < high:
            self._opened.pop()

    def _open(self) -> None:
        """Look at the next block."""
        lines = lz4.block.decompress(self._before.packed[self._next]).split(_BETWEEN)
        self._opened = [(_path_of(line), line) for line in reversed(lines)]
        self._next += 1

    def _keep_blocks(self, end: int) -> None:
        """Keep whole blocks before block `end`; few lines before them join the first of them."""
        if self._next < end and 0 < 2 * len(self._lines) < _BLOCK_LINES:
            self._open()
            while self._opened:
                self._add(*self._opened.pop())
        if self._next < end:
            self._close()
            self._after.share(self._before, self._next, end)
            self._next = end

    def _add(self, path: bytes, line: bytes) -> None:
        self._paths.append(path)
        self._lines.append(line)
        if len(self._lines) == 2 * _BLOCK_LINES:
            self._write(_BLOCK_LINES)

    def _close(self) -> None:
        """Write the lines that wait: one block, or two of equal size."""
        if len(self._lines) > _BLOCK_LINES:
            self._write(len(self._lines) // 2)
        if self._lines:
            self._write(len(self._lines))

    def _write(self, count: int) -> None:
        self._after.append(self._paths[0], _BETWEEN.join(self._lines[:count]))
        del self._paths[:count], self._lines[:count]
