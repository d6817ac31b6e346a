"""The choice of the next claim: begun claims that may be orphans first, then requests by arrival.

A claim that nobody has begun comes in the order of its arrival too: a user may have made it.

Guarantees: a claim that this gives is ours and locked; pauses, cancels and retry times are obeyed;
a file that cannot be a request is rejected with a result. Of an owner whose requests were rejected
too often, only those that are valid are taken (see dsgmigd.service.rejections).

Raises: SpoolFailing.
"""

import functools
import time
from collections import deque
from collections.abc import Callable
from operator import itemgetter

import structlog

from dsgmigd.errors import InvalidRequest, StateTooNew
from dsgmigd.host.file_errors import spool_errors
from dsgmigd.migration.result import Ending, Result
from dsgmigd.names import RepoName
from dsgmigd.service.cancel import clean_up
from dsgmigd.service.permission import Permission
from dsgmigd.service.rejections import LIMIT, Rejections
from dsgmigd.spool.claim import Claim, Unclaimable
from dsgmigd.spool.claim_record import ClaimRecord
from dsgmigd.spool.claiming import (
    adopt_claim,
    claim_request,
    preview_claim,
    preview_request,
    reject_file,
)
from dsgmigd.spool.deferral import Moment
from dsgmigd.spool.spool import Spool

_Look = Callable[[], Claim | Unclaimable | None]


class Queue:
    """What one instance found in the spool at its last scan; false when nothing is left of it.

    `is_own_claim_locked`: a program that our last process started still holds the lock of a claim.
    """

    def __init__(self, spool: Spool, permission: Permission) -> None:
        self._spool = spool
        self._permission = permission
        self._rejections = Rejections()
        self._found: deque[_Look] = deque()
        self._log = structlog.get_logger()
        self.is_own_claim_locked = False

    def __len__(self) -> int:
        return len(self._found)

    def scan(self) -> None:
        """Look at the spool again, in place of what was found before."""
        self._found.clear()
        self.is_own_claim_locked = False
        with spool_errors("looking for requests"):
            clean_up(self._spool)
            found: list[tuple[int, str, _Look]] = [
                (arrival, repo, functools.partial(self._adopt, repo, instance))
                for arrival, repo, instance in self._spool.records.arrivals()
            ]
            found += [
                (arrival, name, functools.partial(self._claim, name))
                for arrival, name in self._spool.arrivals()
            ]
        self._found.extend(look for _, _, look in sorted(found, key=itemgetter(0, 1)))

    def next_claim(self) -> Claim | None:
        """Take the next from the queue; return its claim, or None if it is not ours now."""
        with spool_errors("taking a request"):
            try:
                found = self._found.popleft()()
            except StateTooNew as error:
                self._log.error("claim.skipped", reason=error.message, hint=error.hint)
                return None
            if isinstance(found, Unclaimable):
                self._reject(found)
                return None
        if found is not None and self._is_rejected(found.record):
            self._rejections.add(found.record.submitted_by["uid"])
        return found

    def _adopt(self, repo: RepoName, instance: int) -> Claim | None:
        """Adopt a claim; while paused, only an own one that was begun; if cancelled, always."""
        control = self._spool.control
        if repo in control.cancels():
            return adopt_claim(self._spool, repo, instance)
        pauses = control.pauses()
        is_held = pauses.holds_instance(self._spool.instance)
        deferral = self._spool.records.deferral(repo, instance)
        if deferral is not None or not self._spool.records.is_begun(repo, instance):
            is_due = deferral is None or deferral.is_due(Moment.now())
            is_held = is_held or repo in pauses.repositories or not is_due
        elif instance == self._spool.instance:
            is_held = False
        path = self._spool.records.path(repo, instance)
        preview = functools.partial(preview_claim, self._spool, repo, path)
        if is_held or self._is_left_unanswered(preview):
            return None
        claim = adopt_claim(self._spool, repo, instance)
        if claim is None and instance == self._spool.instance:
            self.is_own_claim_locked |= self._is_locked(repo)
        return claim

    def _is_locked(self, repo: RepoName) -> bool:
        lock = self._spool.lock_repository(repo)
        if lock is not None:
            lock.release()
        return lock is None

    def _claim(self, name: str) -> Claim | Unclaimable | None:
        """Claim a request unless a pause holds it; the pause may be newer than the scan."""
        pauses = self._spool.control.pauses()
        if pauses.holds_instance(self._spool.instance) or name in pauses.repositories:
            return None
        if self._is_left_unanswered(functools.partial(preview_request, self._spool, name)):
            return None
        return claim_request(self._spool, name)

    def _is_left_unanswered(self, preview: Callable[[], ClaimRecord | Unclaimable | None]) -> bool:
        """Say whether a request would be rejected, and too many of its owner's were just now."""
        limited = self._rejections.limited()
        seen = preview() if limited else None
        if seen is None or seen.submitted_by["uid"] not in limited or not self._is_rejected(seen):
            return False
        owner = seen.submitted_by
        if self._rejections.is_news(owner["uid"]):
            self._log.warning(
                "rejections.limited",
                user=owner["user"] or owner["uid"],
                reason=f"{LIMIT} requests of this user were rejected within an hour",
                hint="find out what creates them: dsgmigd status lists those that wait",
            )
        return True

    def _is_rejected(self, seen: ClaimRecord | Unclaimable) -> bool:
        if isinstance(seen, Unclaimable) or seen.rejection is not None:
            return True
        try:
            self._permission.check(seen.request, seen.submitted_by)
        except InvalidRequest:
            return True
        return False

    def _reject(self, refused: Unclaimable) -> None:
        self._rejections.add(refused.submitted_by["uid"])
        now = time.time()
        result = Result(
            Ending(error=InvalidRequest(refused.message, hint=refused.hint)),
            request_id=refused.request_id,
            repo=refused.name,
            request={},
            instance=self._spool.instance,
            started_at=now,
            finished_at=now,
            submission={"submitted_by": refused.submitted_by},
        )
        if reject_file(self._spool, refused, result.to_json()):
            self._log.warning("request.rejected", repo=refused.name, reason=refused.message)
