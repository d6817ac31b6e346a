"""The price of system calls and page faults in the system tests' virtual machine.

It is what they take there beyond what they take on the host. Both are measured by a loop of each,
in the machine and on the host, in the run whose figures are given without that price.
"""

import contextlib
import json
import mmap
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from cost import Cost

_VARIABLE = "DSGMIGD_BENCH_HOST_TRAPS"
_CALLS = 2_000
_PAGES = 1_000
_REPEATS = 100


@dataclass(frozen=True)
class Prices:
    """How many seconds more a system call and a page fault take here than on the host."""

    call: float = 0.0
    fault: float = 0.0

    def without(self, cost: Cost) -> float:
        """Return the seconds of a cost without the price of its traps."""
        return cost.seconds - self.call * cost.calls - self.fault * cost.faults

    def __str__(self) -> str:
        return f"{self.call * 1e6:.2f} µs a system call, {self.fault * 1e6:.2f} µs a page fault"


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each part by itself."""
    parts = zip(*((one.seconds, one.calls, one.faults) for one in costs), strict=True)
    return Cost(*map(statistics.median, parts))


def median_without(prices: Prices, costs: Iterable[Cost]) -> float:
    """Return the median of seconds without the price of traps."""
    return statistics.median(map(prices.without, costs))


def measure_traps() -> Prices:
    """Return what a system call and a page fault take here in all, each in its own loop.

    The loops are short and the smallest of many counts: other work on the machine only adds.
    """
    calls = min(_seconds(_make_calls) for _ in range(_REPEATS))
    faults = min(_seconds(_make_faults) for _ in range(_REPEATS))
    return Prices(calls / _CALLS, faults / _PAGES)


def traps_for_machine() -> dict[str, str]:
    """Measure traps here, on the host; return what `known_prices` needs in its environment."""
    return {_VARIABLE: json.dumps(asdict(measure_traps()))}


def known_prices() -> Prices:
    """Return the prices here; nothing where this was not told what traps take on the host."""
    if not (host := os.environ.get(_VARIABLE)):
        return Prices()
    there, here = Prices(**json.loads(host)), measure_traps()
    return Prices(max(0.0, here.call - there.call), max(0.0, here.fault - there.fault))


def _seconds(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _make_calls() -> None:
    call = os.getppid
    for _ in range(_CALLS):
        call()


def _make_faults() -> None:
    """Touch pages that nobody touched before, one by one: each is a page fault."""
    with mmap.mmap(-1, _PAGES * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE) as memory:
        # A huge page would be one fault. Kernels without them do not know the advice.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_NOHUGEPAGE)
        for offset in range(0, len(memory), mmap.PAGESIZE):
            memory[offset] = 1
