"""What work costs: seconds, and in the system tests' virtual machine also its traps.

A trap is a system call or a page fault. The kernel of that machine counts those of all programs; on
any other machine they are 0. `prices.py` says what they cost there. This module is part of each
program that is measured: it imports nothing that takes time.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_COUNTERS = Path("/sys/module/um_count/parameters")


@dataclass(frozen=True)
class Cost:
    """What something cost, or a moment: the difference of two moments is a cost.

    `calls` and `faults` are those of all programs of the machine; 0 where nobody counts them.
    """

    seconds: float = 0.0
    calls: float = 0
    faults: float = 0

    def __add__(self, other: Self) -> "Cost":
        return Cost(
            self.seconds + other.seconds, self.calls + other.calls, self.faults + other.faults
        )

    def __sub__(self, other: Self) -> "Cost":
        return Cost(
            self.seconds - other.seconds, self.calls - other.calls, self.faults - other.faults
        )


def is_counted() -> bool:
    """Say whether the kernel of this machine counts system calls and page faults."""
    return _COUNTERS.is_dir()


def now() -> Cost:
    """Return this moment."""
    if not is_counted():
        return Cost(time.monotonic())
    counts = ((_COUNTERS / name).read_text(encoding="ascii") for name in ("syscalls", "faults"))
    return Cost(time.monotonic(), *map(int, counts))


def cost_of(action: Callable[[], object]) -> Cost:
    """Return what an action costs."""
    began = now()
    action()
    return now() - began


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum of costs."""
    return sum(costs, Cost())
