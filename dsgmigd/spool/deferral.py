"""When a request that failed for a passing reason is tried again.

Its claim stays in the spool and says so. What decides is the clock since boot, because wall clocks
jump; after a boot everything is due, for a boot may have changed anything.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dsgmigd.errors import DsgmigdError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Retries:
    """How often, and how long: each wait is twice the last, all together `for_seconds`.

    With `for_seconds` of 0 nothing is tried again.
    """

    first_seconds: int = 30
    longest_seconds: int = 900
    for_seconds: int = 86_400

    def delay_seconds(self, deferred: int) -> int | None:
        """Return how long to wait after `deferred` waits; None if there were enough."""
        if sum(map(self._wait_seconds, range(deferred))) >= self.for_seconds:
            return None
        return self._wait_seconds(deferred)

    def _wait_seconds(self, number: int) -> int:
        doublings = min(number, self.longest_seconds.bit_length())
        return min(self.first_seconds << doublings, self.longest_seconds)


@dataclass(frozen=True)
class Moment:
    """A moment of this host: seconds since the boot with that id, suspended time counted."""

    boot_id: str
    seconds: float

    @classmethod
    def now(cls) -> "Moment":
        """Return this moment."""
        boot_id = _BOOT_ID.read_text(encoding="utf-8").strip()
        return cls(boot_id, time.clock_gettime(time.CLOCK_BOOTTIME))


@dataclass(frozen=True)
class Deferral:
    """Why a claim waits and until when: `seconds` after the boot `boot_id`.

    `not_before` is the same in wall-clock time, for people.
    """

    boot_id: str
    seconds: float
    not_before: str
    error: Mapping[str, str]

    @classmethod
    def of(
        cls, error: DsgmigdError, *, now: Moment, delay_seconds: int, not_before: str
    ) -> "Deferral":
        """Return the deferral of a request that failed with `error` now."""
        words = {"code": error.code, "message": error.message, "hint": error.hint}
        return cls(now.boot_id, now.seconds + delay_seconds, not_before, words)

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | None) -> "Deferral | None":
        """Return what a claim's record says; None if it does not wait."""
        return cls(**document) if document else None

    def to_json(self) -> dict[str, Any]:
        """Return what a claim's record says of it."""
        return asdict(self)

    def is_due(self, now: Moment) -> bool:
        """Say whether the wait is over."""
        return now.boot_id != self.boot_id or now.seconds >= self.seconds
