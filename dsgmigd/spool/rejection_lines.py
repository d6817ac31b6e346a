"""Which rejected requests of members get a line in the ledger. Pure rules.

The ledger is never pruned, and a member can have requests rejected all day; a rejection changes
nothing but what is in rejected/. So of each member only the first `LISTED` of a day get a line of
their own, then the 10th, 20th, 40th and so on. Each line says how many before it have none; the
journal has them all. Root and the daemon's user are not limited. The days are those of this
process, by a clock that does not jump.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

LISTED = 5
WITHIN_SECONDS = 24 * 3600


@dataclass
class _Owner:
    since: float
    count: int = 0
    unlisted: int = 0
    last_request_id: str = ""
    last_answer: int | None = None


@dataclass
class RejectionLines:
    """The rejected requests of today, by the number of their owner."""

    clock: Callable[[], float] = time.monotonic
    _owners: dict[int, _Owner] = field(default_factory=dict)

    def count_unlisted(self, owner: int, request_id: str) -> int | None:
        """Count a rejected request; return how many since the last line have none.

        None if this one gets no line either. Repeated for the same request, the answer is the same.
        """
        now = self.clock()
        one = self._owners.setdefault(owner, _Owner(now))
        if one.last_request_id == request_id:
            return one.last_answer
        if now - one.since >= WITHIN_SECONDS:
            one.since, one.count = now, 0
        one.count += 1
        one.last_request_id = request_id
        one.last_answer = one.unlisted if _is_listed(one.count) else None
        one.unlisted = one.unlisted + 1 if one.last_answer is None else 0
        return one.last_answer


def _is_listed(count: int) -> bool:
    times = count // LISTED
    return count <= LISTED or (count % LISTED == 0 and times & (times - 1) == 0)
