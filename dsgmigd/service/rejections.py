"""How many rejected requests of one owner an instance answers. Pure rules.

Each answer makes files of root and records of the journal. So after `LIMIT` of them within an hour,
the requests of this owner that would be rejected stay in the spool, unanswered, until the hour has
passed; those that are valid are served as always. Root and the daemon's user have no limit.

The time is that of a clock that does not jump.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from dsgmigd.spool.submitter import is_administrator

LIMIT = 60
WITHIN_SECONDS = 3600


@dataclass
class Rejections:
    """The rejected requests of the last hour, by the number of their owner."""

    clock: Callable[[], float] = time.monotonic
    _answered: dict[int, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    _told: dict[int, float] = field(default_factory=dict)

    def add(self, owner: int) -> None:
        """Count a rejected request of `owner`."""
        if not is_administrator(owner):
            self._answered[owner].append(self.clock())

    def limited(self) -> set[int]:
        """Return the owners who have reached the limit."""
        passed = self.clock() - WITHIN_SECONDS
        for owner, times in list(self._answered.items()):
            while times and times[0] <= passed:
                times.popleft()
            if not times:
                del self._answered[owner]
        return {owner for owner, times in self._answered.items() if len(times) >= LIMIT}

    def is_news(self, owner: int) -> bool:
        """Say, once an hour, that requests of `owner` are left unanswered."""
        now = self.clock()
        is_news = owner not in self._told or self._told[owner] <= now - WITHIN_SECONDS
        if is_news:
            self._told[owner] = now
        return is_news
