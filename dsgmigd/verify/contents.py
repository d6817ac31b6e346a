"""Read the contents of files on both sides, by several threads.

Leaving errors: those of side.py.
"""

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


class Contents:
    """The contents of two trees."""

    def __init__(self, source: Side, target: Side, pool: ThreadPoolExecutor) -> None:
        self._source = source
        self._target = target
        self._pool = pool

    def read_all(self, files: list[tuple[Pair, int]]) -> Iterator[tuple[Read, Read]]:
        """Begin to read files, given with their sizes; yield source and target in their order."""
        begun = [self._begin(some) for some in _grouped(files)]
        return (reading for finish in begun for reading in finish())

    def _begin(self, files: list[tuple[Pair, int]]) -> Callable[[], list[tuple[Read, Read]]]:
        """Begin to read some small files, or both sides of a large one at once."""
        pair, size = files[0]
        if size < _LARGE_BYTES:
            return self._pool.submit(self._read_each, [pair for pair, _ in files]).result
        first = self._pool.submit(self._source.digest, pair.path, pair.name, pair.source)
        second = self._pool.submit(self._target.digest, pair.path, pair.name, pair.target)
        return lambda: [(first.result(), second.result())]

    def _read_each(self, pairs: list[Pair]) -> list[tuple[Read, Read]]:
        return [
            (
                self._source.digest(pair.path, pair.name, pair.source),
                self._target.digest(pair.path, pair.name, pair.target),
            )
            for pair in pairs
        ]


def _grouped(files: list[tuple[Pair, int]]) -> Iterator[list[tuple[Pair, int]]]:
    """Yield the files in their order, each large one by itself and the others some at a time."""
    some: list[tuple[Pair, int]] = []
    for file in files:
        is_large = file[1] >= _LARGE_BYTES
        if some and (is_large or len(some) == _SMALL_FILES_AT_ONCE):
            yield some
            some = []
        if is_large:
            yield [file]
        else:
            some.append(file)
    if some:
        yield some
