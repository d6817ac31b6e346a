"""When a request that failed for a transient reason is retried.

Its claim stays in the spool and records when it is due. The clock since boot decides, because wall
clocks jump; after a boot every claim is due, because a boot may have removed the cause.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dsgmigd.errors import DsgmigdError
from dsgmigd.host.terminal import shortened

_CHARACTERS = 500  # every attempt of a record has these texts
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Moment:
    """A moment on this host: seconds since the boot with that id, suspended time included."""

    boot_id: str
    seconds: float

    @classmethod
    def now(cls) -> "Moment":
        """Return this moment."""
        boot_id = _BOOT_ID.read_text(encoding="utf-8").strip()
        return cls(boot_id, time.clock_gettime(time.CLOCK_BOOTTIME))


@dataclass(frozen=True)
class Deferral:
    """Why and until when a claim waits: until `seconds` after the boot `boot_id`.

    `not_before` is the same moment in wall-clock time, for people.
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
        message, hint = (shortened(text, _CHARACTERS) for text in (error.message, error.hint))
        words = {"code": error.code, "message": message, "hint": hint}
        return cls(now.boot_id, now.seconds + delay_seconds, not_before, words)

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | None) -> "Deferral | None":
        """Return the deferral in a claim's record; None if there is none."""
        return cls(**document) if document else None

    def to_json(self) -> dict[str, Any]:
        """Return the deferral as a claim's record holds it."""
        return asdict(self)

    def is_due(self, now: Moment) -> bool:
        """Say whether the wait is over."""
        return now.boot_id != self.boot_id or now.seconds >= self.seconds
