"""Read the contents of files on both sides, by several threads.

Files wait until there are some of them, so that threads have something to do where only one file of
a directory changed.

Leaving errors: those of side.py.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from dsgmigd.verify.side import Side

_LARGE_BYTES = 1024 * 1024
# A thread's turn costs as much as reading a file of a few blocks.
_SMALL_FILES_AT_ONCE = 16
# Each may be in a directory of its own, which is held open twice: soft limits are often 1024.
_FILES_AT_ONCE = 64

_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")

Read = tuple[str, int]
"""A digest, and how many bytes were read for it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One path on both sides: descriptors of the directories that hold it."""

    path: str
    name: str
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class ToRead:
    """A regular file of one size on both sides, with its status there, and its entry if it has one.

    `entry_hash` tells the entry from every other.
    """

    pair: Pair
    source: os.stat_result
    target: os.stat_result
    entry: bytes | None
    entry_hash: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A file that waits, and descriptors of its directories that stay until it is read."""

    file: ToRead
    source: int
    target: int


class Contents:
    """The contents of two trees; as a context, it holds open what waits to be read."""

    def __init__(self, source: Side, target: Side, pool: ThreadPoolExecutor) -> None:
        self._source = source
        self._target = target
        self._pool = pool
        self._waiting: list[_Waiting] = []
        self._begun: list[Future[Any]] = []
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._begun:
            future.cancel()
        wait(self._begun)  # nobody may read below a descriptor that is closed, and used again
        self._held.close()

    def put(self, files: list[ToRead]) -> bool:
        """Let files wait, all of one directory; say whether they are many by now."""
        if files:
            source, target = files[0].pair.source, files[0].pair.target
            source, target = self._hold(source), self._hold(target)
            self._waiting += [_Waiting(file, source, target) for file in files]
        return len(self._waiting) >= _FILES_AT_ONCE

    def _hold(self, descriptor: int) -> int:
        """Return a descriptor of the same directory that stays, whatever is opened next."""
        held = os.dup(descriptor)
        self._held.callback(os.close, held)
        return held

    def read_waiting(self) -> Iterator[tuple[ToRead, Read, Read]]:
        """Read the files that wait; yield them in their order, with source and target."""
        waiting, self._waiting = self._waiting, []
        groups = [(some, self._begin(some)) for some in _grouped(waiting)]
        for some, finish in groups:
            for one, (source, target) in zip(some, finish(), strict=True):
                yield one.file, source, target
        self._begun.clear()
        self._held.close()

    def _begin(self, some: list[_Waiting]) -> Callable[[], list[tuple[Read, Read]]]:
        """Begin to read some small files, or both sides of a large one at once."""
        if some[0].file.source.st_size < _LARGE_BYTES:
            return self._submit(self._read_each, some).result
        first = self._submit(self._read_source, some[0])
        second = self._submit(self._read_target, some[0])
        return lambda: [(first.result(), second.result())]

    def _submit(self, read: Callable[[_Asked], _Found], what: _Asked) -> Future[_Found]:
        future = self._pool.submit(read, what)
        self._begun.append(future)
        return future

    def _read_each(self, some: list[_Waiting]) -> list[tuple[Read, Read]]:
        return [(self._read_source(one), self._read_target(one)) for one in some]

    def _read_source(self, one: _Waiting) -> Read:
        pair = one.file.pair
        return self._source.digest(pair.path, pair.name, one.source, one.file.source)

    def _read_target(self, one: _Waiting) -> Read:
        pair = one.file.pair
        return self._target.digest(pair.path, pair.name, one.target, one.file.target)


def _grouped(waiting: list[_Waiting]) -> Iterator[list[_Waiting]]:
    """Yield the files in their order, each large one by itself and the others some at a time."""
    some: list[_Waiting] = []
    for one in waiting:
        is_large = one.file.source.st_size >= _LARGE_BYTES
        if some and (is_large or len(some) == _SMALL_FILES_AT_ONCE):
            yield some
            some = []
        if is_large:
            yield [one]
        else:
            some.append(one)
    if some:
        yield some
