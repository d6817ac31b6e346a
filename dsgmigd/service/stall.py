"""Reports work without progress: long I/O is no hang, but administrators want to know.

What the pool says of its health is asked beside everything else, because a program that asks a
suspended pool may itself never end.
"""

import contextlib
import threading
import time
from collections.abc import Callable

import structlog

from dsgmigd.errors import DsgmigdError
from dsgmigd.host.command import Commands
from dsgmigd.migration.progress import Progress
from dsgmigd.target.area import check_pool


class StallWatch:
    """Reports work without progress for `seconds`: in the status, and once in the journal."""

    def __init__(
        self,
        progress: Progress,
        *,
        seconds: float,
        ask: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = progress
        self._seconds = seconds
        self._ask = ask
        self._clock = clock
        self._seen = -1
        self._since = 0.0
        self._is_reported = False
        self._health = ""
        self._log = structlog.get_logger()

    def words(self) -> str:
        """Return what to add to a status line; call it at each look."""
        now = self._clock()
        if self._progress.steps_done != self._seen:
            if self._is_reported:
                self._log.info("work.resumed", idle_seconds=int(now - self._since), **self._where())
            self._seen, self._since = self._progress.steps_done, now
            self._is_reported, self._health = False, ""
        idle_seconds = now - self._since
        if idle_seconds < self._seconds:
            return ""
        if not self._is_reported:
            self._is_reported = True
            with contextlib.suppress(RuntimeError):  # the host starts no thread
                threading.Thread(target=self._tell, args=(int(idle_seconds),), daemon=True).start()
        return f", no progress for {idle_seconds / 60:.0f} min{self._health}"

    def _tell(self, idle_seconds: int) -> None:
        seen = self._seen
        self._log.warning("work.stalled", idle_seconds=idle_seconds, **self._where())
        health = self._ask()
        if health and seen == self._seen:
            self._health = f": {health}"
            self._log.warning("target.unavailable", reason=health, **self._where())

    def _where(self) -> dict[str, str | None]:
        progress = self._progress
        return {
            "repo": progress.repo,
            "request_id": progress.request_id,
            "step": progress.step,
            "snapshot": progress.snapshot,
        }


def ask_pool(dataset: str) -> str:
    """Return why the pool of `dataset` takes no writes; "" if it does."""
    try:
        check_pool(Commands(), dataset)
    except DsgmigdError as error:
        return error.message
    return ""
