"""All entries of one snapshot, sorted bytewise by path; a change touches only the blocks it is in.

A row has the line of an entry (see `entry`) and what tells later that the path did not change: its
inode number and the time of its last change. Rows are kept in compressed blocks, so that going over
millions of them again costs little more than copying their bytes.

A `Table` never changes: a change makes a new one, which shares all blocks that are the same.

The root hash is the SHA-256 of all lines, each with a newline: of the file `entries.jsonl`, as
sha256sum computes it.

Raises: nothing.
"""

import hashlib
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import lz4.block

_BLOCK_ROWS = 64
_LEAST_ROWS = 16
_ROWS_AT_ONCE = 1000
_LENGTHS = struct.Struct("=II")
_FACTS = struct.Struct("=Qqq")
_NO_SIZE = -1


class Row(NamedTuple):
    """The line of a path, its inode number, its ctime in nanoseconds, and its size if a file."""

    path: bytes
    line: bytes
    inode: int
    ctime_ns: int
    size: int | None = None


class Edit(NamedTuple):
    """From path `low` up to, and without, path `high`, these `rows` take the place of all others.

    None for `high` means the end.
    """

    low: bytes
    high: bytes | None
    rows: tuple[Row, ...] = ()


def at(path: bytes) -> bytes:
    """Return the first path behind `path` itself."""
    return path + b"\0"


def below(path: bytes) -> tuple[bytes, bytes]:
    """Return the first path below the directory `path`, and the first one behind all below it."""
    return path + b"/", path + b"0"  # "0" comes after "/" in ASCII


def whole(rows: Iterable[Row]) -> Iterator[Edit]:
    """Yield edits that make a table of `rows` of any other, few rows at a time."""
    low, some = b"", list[Row]()
    for row in rows:
        if len(some) == _ROWS_AT_ONCE:
            yield Edit(low, row.path, tuple(some))
            low, some = row.path, []
        some.append(row)
    yield Edit(low, None, tuple(some))


class _Block:
    """Some rows, packed; `files` and `size` count the regular files and their bytes."""

    __slots__ = ("count", "files", "first", "packed", "size")

    def __init__(self, rows: list[Row]) -> None:
        sizes = [row.size for row in rows if row.size is not None]
        self.first, self.count = rows[0].path, len(rows)
        self.files, self.size = len(sizes), sum(sizes)
        paths = b"\0".join(row.path for row in rows)
        lines = b"".join(row.line + b"\n" for row in rows)
        facts = b"".join(_FACTS.pack(row.inode, row.ctime_ns, _size_of(row)) for row in rows)
        lengths = _LENGTHS.pack(len(paths), len(lines))
        self.packed = lz4.block.compress(lengths + paths + facts + lines)

    def lines(self) -> bytes:
        content = lz4.block.decompress(self.packed)
        return bytes(content[len(content) - _LENGTHS.unpack_from(content)[1] :])

    def rows(self) -> list[Row]:
        content = lz4.block.decompress(self.packed)
        length, of_lines = _LENGTHS.unpack_from(content)
        start = _LENGTHS.size
        paths = content[start : start + length].split(b"\0")
        facts = content[start + length : len(content) - of_lines]
        lines = content[len(content) - of_lines :].split(b"\n")
        return [
            Row(path, line, inode, ctime_ns, None if size == _NO_SIZE else size)
            for path, line, (inode, ctime_ns, size) in zip(
                paths, lines[:-1], _FACTS.iter_unpack(facts), strict=True
            )
        ]


class Table:
    """The rows of one snapshot."""

    def __init__(self, blocks: list[_Block] | None = None) -> None:
        self._blocks = blocks or []
        self._firsts = [block.first for block in self._blocks]

    def __len__(self) -> int:
        return sum(block.count for block in self._blocks)

    @property
    def files(self) -> int:
        """Return how many regular files there are."""
        return sum(block.files for block in self._blocks)

    @property
    def size(self) -> int:
        """Return how many bytes the regular files have together."""
        return sum(block.size for block in self._blocks)

    def root(self) -> str:
        """Return the root hash."""
        digest = hashlib.sha256()
        for lines in self.lines():
            digest.update(lines)
        return digest.hexdigest()

    def lines(self) -> Iterator[bytes]:
        """Yield all lines, many at once, each with its newline."""
        for block in self._blocks:
            yield block.lines()

    def rows(self) -> Iterator[Row]:
        """Yield all rows."""
        for block in self._blocks:
            yield from block.rows()

    def get(self, path: bytes) -> Row | None:
        """Return the row of `path`, if there is one."""
        return next(self.between(path, at(path)), None)

    def between(self, low: bytes, high: bytes | None) -> Iterator[Row]:
        """Yield the rows from `low` up to, and without, `high`."""
        start = max(0, bisect_right(self._firsts, low) - 1)
        for block in self._blocks[start:]:
            if high is not None and block.first >= high:
                return
            for row in block.rows():
                if row.path >= low and (high is None or row.path < high):
                    yield row

    def changed(self, edits: Iterable[Edit]) -> "Table":
        """Return a table with `edits`, which come sorted and do not overlap."""
        maker = _Maker(self._blocks, self._firsts)
        for edit in edits:
            maker.keep_until(edit.low)
            maker.drop_until(edit.high)
            maker.add(edit.rows)
        return Table(maker.finish())


class _Maker:
    """Makes the blocks of a table of those of another: goes over them once, and shares most."""

    def __init__(self, blocks: list[_Block], firsts: list[bytes]) -> None:
        self._old = blocks
        self._firsts = firsts
        self._next = 0
        self._opened: list[Row] = []  # what is left of the old block before `_next`
        self._made: list[_Block] = []
        self._waiting: list[Row] = []  # rows that are in no block yet

    def keep_until(self, high: bytes | None) -> None:
        """Take all rows before `high` as they are."""
        self.add(self._open_until(high))
        if self._opened:
            return
        end = self._end_of_whole(high)
        while self._next < end and 0 < len(self._waiting) < _LEAST_ROWS:
            self.add(self._old[self._next].rows())  # so that small blocks do not stay
            self._next += 1
        if self._next < end:
            self._flush()
            self._made += self._old[self._next : end]
            self._next = end
        self.add(self._open_until(high))

    def drop_until(self, high: bytes | None) -> None:
        """Leave out all rows before `high`."""
        self._open_until(high)
        if not self._opened:
            self._next = max(self._next, self._end_of_whole(high))
            self._open_until(high)

    def add(self, rows: Iterable[Row]) -> None:
        """Take `rows` next."""
        self._waiting += rows
        while len(self._waiting) >= _BLOCK_ROWS + _LEAST_ROWS:
            self._made.append(_Block(self._waiting[:_BLOCK_ROWS]))
            del self._waiting[:_BLOCK_ROWS]

    def finish(self) -> list[_Block]:
        """Take all that is left; return the blocks."""
        self.keep_until(None)
        self._flush()
        return self._made

    def _flush(self) -> None:
        if self._waiting:
            self._made.append(_Block(self._waiting))
            self._waiting = []

    def _end_of_whole(self, high: bytes | None) -> int:
        """Return the number of the first old block that is not wholly before `high`."""
        if high is None:
            return len(self._old)
        # The last block that begins before `high` may reach beyond it.
        following = bisect_right(self._firsts, high) - 1
        return max(self._next, following)

    def _open_until(self, high: bytes | None) -> list[Row]:
        """Open the next old block if it reaches `high`; return the opened rows before `high`."""
        if not self._opened and high is not None and self._is_next_at(high):
            self._opened = self._old[self._next].rows()
            self._next += 1
        if high is None:
            found, self._opened = self._opened, []
            return found
        count = bisect_left(self._opened, high, key=_path_of)
        found, self._opened = self._opened[:count], self._opened[count:]
        return found

    def _is_next_at(self, high: bytes) -> bool:
        """Say whether the next old block begins before `high` and may end behind it."""
        if self._next >= len(self._old) or self._firsts[self._next] >= high:
            return False
        return self._next + 1 >= len(self._old) or self._firsts[self._next + 1] > high


def _path_of(row: Row) -> bytes:
    return row.path


def _size_of(row: Row) -> int:
    return _NO_SIZE if row.size is None else row.size
