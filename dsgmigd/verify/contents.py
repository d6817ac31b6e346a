"""Read the contents of files on both sides, by several threads.

Leaving errors: those of side.py.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dsgmigd.verify.side import Side

_LARGE_BYTES = 1024 * 1024
# A thread's turn costs as much as reading a file of a few blocks.
_SMALL_FILES_AT_ONCE = 16

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
    """A regular file of one size on both sides, with its status there."""

    pair: Pair
    source: os.stat_result
    target: os.stat_result


class Contents:
    """The contents of two trees."""

    def __init__(self, source: Side, target: Side, pool: ThreadPoolExecutor) -> None:
        self._source = source
        self._target = target
        self._pool = pool

    def read_all(self, files: list[ToRead]) -> Iterator[tuple[Read, Read]]:
        """Begin to read files; yield source and target in their order."""
        begun = [self._begin(some) for some in _grouped(files)]
        return (reading for finish in begun for reading in finish())

    def _begin(self, files: list[ToRead]) -> Callable[[], list[tuple[Read, Read]]]:
        """Begin to read some small files, or both sides of a large one at once."""
        if files[0].source.st_size < _LARGE_BYTES:
            return self._pool.submit(self._read_each, files).result
        first = self._pool.submit(self._read_source, files[0])
        second = self._pool.submit(self._read_target, files[0])
        return lambda: [(first.result(), second.result())]

    def _read_each(self, files: list[ToRead]) -> list[tuple[Read, Read]]:
        return [(self._read_source(file), self._read_target(file)) for file in files]

    def _read_source(self, file: ToRead) -> Read:
        pair = file.pair
        return self._source.digest(pair.path, pair.name, pair.source, file.source)

    def _read_target(self, file: ToRead) -> Read:
        pair = file.pair
        return self._target.digest(pair.path, pair.name, pair.target, file.target)


def _grouped(files: list[ToRead]) -> Iterator[list[ToRead]]:
    """Yield the files in their order, each large one by itself and the others some at a time."""
    some: list[ToRead] = []
    for file in files:
        is_large = file.source.st_size >= _LARGE_BYTES
        if some and (is_large or len(some) == _SMALL_FILES_AT_ONCE):
            yield some
            some = []
        if is_large:
            yield [file]
        else:
            some.append(file)
    if some:
        yield some
