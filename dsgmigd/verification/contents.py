"""Read the contents of files on both sides with several threads.

Files are collected first, so that the threads have work even where each directory has only one
changed file.

Raises: the errors of `side`; HostExhausted if the host cannot start a thread.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from dsgmigd.host.file_errors import host_exhausted
from dsgmigd.verification.side import Side
from dsgmigd.verification.walk_proofs import Slot

_LARGE_BYTES = 1024 * 1024
# Handing work to a thread costs as much as reading a file of a few blocks.
_SMALL_FILES_AT_ONCE = 16
# Each may be in a different directory, which is held open twice: soft limits are often 1024.
_FILES_AT_ONCE = 64
# The only way to recognize this RuntimeError.
_NO_THREAD = "can't start new thread"

_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")

Read = tuple[str, int]
"""A digest, and how many bytes were read for it."""


@contextmanager
def reading_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads; none of them uses a descriptor after the block."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="hash")
    try:
        yield pool
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        raise host_exhausted("no thread could be started to read files") from error
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Pair:
    """One path on both sides, with descriptors of the directories that contain it."""

    path: str
    name: str
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class ToRead:
    """A regular file of the same size on both sides, with both statuses and its entry, if any.

    `slot` is where its proof will be kept.
    """

    pair: Pair
    source: os.stat_result
    target: os.stat_result
    entry: bytes | None
    slot: Slot


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A file that waits, with descriptors of its directories that stay open until it is read."""

    file: ToRead
    source: int
    target: int


class Contents:
    """Reads the contents of two trees; a context that keeps waiting files' directories open."""

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
        wait(self._begun)  # a closed descriptor may be reused: no thread may still read through it
        self._held.close()

    def put(self, files: list[ToRead]) -> bool:
        """Add files of one directory; return True if enough files wait to be read now."""
        if files:
            source, target = files[0].pair.source, files[0].pair.target
            source, target = self._hold(source), self._hold(target)
            self._waiting += [_Waiting(file, source, target) for file in files]
        return len(self._waiting) >= _FILES_AT_ONCE

    def _hold(self, descriptor: int) -> int:
        """Return a descriptor of the same directory that stays open."""
        held = os.dup(descriptor)
        self._held.callback(os.close, held)
        return held

    def read_waiting(self) -> Iterator[tuple[ToRead, Read, Read]]:
        """Read the waiting files; yield each, in order, with what was read in source and target."""
        waiting, self._waiting = self._waiting, []
        groups = [(some, self._begin(some)) for some in _grouped(waiting)]
        for some, finish in groups:
            for one, (source, target) in zip(some, finish(), strict=True):
                yield one.file, source, target
        self._begun.clear()
        self._held.close()

    def _begin(self, some: list[_Waiting]) -> Callable[[], list[tuple[Read, Read]]]:
        """Start reading some small files, or both sides of a large file at the same time."""
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
    """Yield the files in order: each large file alone, small files in groups."""
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
