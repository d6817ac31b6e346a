"""Settings of one instance: waiting, stopping, retries."""

from dataclasses import dataclass, field

from dsgmigd.request import Loosening


@dataclass(frozen=True)
class Retries:
    """How often, and how long: each wait is twice the last, at most `for_seconds` in all.

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
class WorkerSettings:
    """What holds for an instance, whatever the request."""

    rescan_seconds: float = 30
    members_may: tuple[Loosening, ...] = ()
    stop_seconds: float = 8
    maximum_attempts: int = 3
    stall_seconds: float = 900
    retries: Retries = field(default_factory=Retries)
