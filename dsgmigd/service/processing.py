"""What one claim becomes: a result, or a claim that waits for its next attempt.

`Processing.run` is the one place that catches DsgmigdError. A failure that passes by itself puts
the claim off; any other is the result. While the spool's file system fails, a result is tried to be
written until it is there: the work that it tells of is never done again for that.

Leaving errors: SpoolFailing, with a claim that stays and can be adopted. What is no DsgmigdError is
a bug or a broken host.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from dsgmigd.claim import Claim, submission
from dsgmigd.command import Commands
from dsgmigd.deferral import Deferral, Moment, Retries
from dsgmigd.discrepancies import DiscrepancyFile
from dsgmigd.errors import (
    CrashLoop,
    DsgmigdError,
    InterruptedByStop,
    RequestCancelled,
    SpoolFailing,
)
from dsgmigd.file_errors import spool_errors
from dsgmigd.migrate import Job, Migration
from dsgmigd.progress import Progress
from dsgmigd.report import Report
from dsgmigd.result import envelope, failure, iso_time, success
from dsgmigd.settings import Settings
from dsgmigd.spool import Spool

_TICK_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30


@dataclass
class Processing:
    """The work on one claim, under its lock, by the instance of `spool`."""

    claim: Claim
    spool: Spool
    settings: Settings
    commands: Commands
    progress: Progress
    maximum_attempts: int
    retries: Retries
    sleep: Callable[[float], None] = time.sleep
    _log: Any = field(default_factory=structlog.get_logger)
    _has_begun: bool = False

    def run(self) -> None:
        """Do what the claim asks for and publish its result, or put it off."""
        claim = self.claim
        structlog.contextvars.bind_contextvars(repo=claim.repo, request_id=claim.request_id)
        self._log.info("request.claimed", attempt=len(claim.attempts) + 1)
        started_at = time.time()
        differences = DiscrepancyFile(self.spool.results.discrepancies_path(claim.repo))
        try:
            outcome = self._attempt(differences)
        except InterruptedByStop:
            with spool_errors("noting that the work was stopped"):
                self.spool.records.end_attempt(claim, "stopped")
            self._log.info(
                "request.interrupted", step=self.progress.step, snapshot=self.progress.snapshot
            )
        else:
            if outcome is not None:
                self._end(outcome, differences, started_at)
        finally:
            self.spool.results.release(claim.repo)

    def _attempt(self, differences: DiscrepancyFile) -> dict[str, Any] | None:
        """Return what a result says of the work; None if the claim was put off."""
        migration = None
        try:
            job = Job(self.claim.repo, self.claim.options, self.claim.request_id)
            migration = Migration(
                job, self.settings, self.commands, self.progress, note=differences.add
            )
            self._begin()
            return success(migration.run())
        except (InterruptedByStop, SpoolFailing):
            raise
        except RequestCancelled as error:
            return self._give_up(migration) if migration else failure(error)
        except CrashLoop as error:
            if migration:
                _try(migration.take_back, migration.report)
            return failure(error, migration.report if migration else None)
        except DsgmigdError as error:
            if self._is_deferred(error):
                return None
            return failure(error, migration.report if migration else None)

    def _begin(self) -> None:
        """Take the result's space and note the attempt: nothing is begun that could not end."""
        if self.progress.cancel_requested:
            raise RequestCancelled
        if self.claim.crashes >= self.maximum_attempts:
            raise CrashLoop(
                f"{self.claim.crashes} attempts on this request died without a word",
                hint="see the journal of those attempts; submit again when the cause is gone",
            )
        attempt = {
            "instance": self.spool.instance,
            "pid": os.getpid(),
            "started_at": iso_time(time.time()),
        }
        try:
            with spool_errors("noting that the work begins"):
                self.spool.results.reserve(self.claim.repo)
                self.spool.records.begin_attempt(self.claim, attempt)
                self._has_begun = True
        except SpoolFailing:
            if attempt in self.claim.attempts:
                with contextlib.suppress(OSError):  # it was no crash, if it is noted
                    self.spool.records.end_attempt(self.claim, "not begun")
            raise

    def _is_deferred(self, error: DsgmigdError) -> bool:
        """Put the claim off if the failure is of a kind that passes; False if it is the end."""
        if error.error_class != "transient":
            return False
        delay_seconds = self.retries.delay_seconds(self.claim.times_deferred)
        if delay_seconds is None:
            return False
        not_before = iso_time(time.time() + delay_seconds)
        with spool_errors("putting the request off"):
            deferral = Deferral.of(
                error, now=Moment.now(), delay_seconds=delay_seconds, not_before=not_before
            )
            self.spool.records.defer(self.claim, deferral)
        self._log.warning(
            "request.deferred",
            error_code=error.code,
            reason=error.message,
            hint=error.hint,
            not_before=not_before,
        )
        return True

    def _give_up(self, migration: Migration) -> dict[str, Any]:
        """Leave nothing of a cancelled request but, unless it is to be discarded, its staging."""
        _try(migration.take_back, migration.report)
        wish = self.spool.control.cancel_for(self.claim.repo, self.claim.request_id)
        is_discarded = wish is not None and wish.discard
        if is_discarded:
            is_discarded = _try(migration.discard, migration.report)
        _try(migration.release_pins, migration.report)
        return failure(RequestCancelled(is_discarded=is_discarded), migration.report)

    def _end(
        self, outcome: dict[str, Any], differences: DiscrepancyFile, started_at: float
    ) -> None:
        """Publish the result, and remove the claim."""
        claim = self.claim
        if self._has_begun:  # else the last attempt is one that died
            claim.attempts[-1]["ended"] = outcome["outcome"]
        result = outcome | envelope(
            request_id=claim.request_id,
            repo=claim.repo,
            options=claim.record["options"],
            instance=self.spool.instance,
            started_at=started_at,
            finished_at=time.time(),
        )
        result["discrepancies_file"] = self._publish_discrepancies(differences)
        result["warnings"] += [differences.problem] if differences.problem else []
        result |= submission(claim.record)
        result["attempts"] = claim.attempts
        self._insist(lambda: self._publish(result))

    def _publish_discrepancies(self, differences: DiscrepancyFile) -> str | None:
        differences.close()
        try:
            return self.spool.results.publish_discrepancies(self.claim.repo)
        except OSError as error:
            differences.problem = f"the list of all differences is not shown: {error.strerror}"
            return None

    def _publish(self, result: dict[str, Any]) -> None:
        """Publish the result; may be repeated from any point."""
        if result["outcome"] == "rejected":
            self.spool.reject_claim(self.claim, result)
        else:
            self.spool.finish(self.claim, result)
        # While the lock is ours, it can be meant for no other.
        self.spool.control.drop_cancel(self.claim.repo)

    def _insist(self, action: Callable[[], None]) -> None:
        """Repeat `action` until the spool takes it; raise SpoolFailing when asked to stop."""
        wait_seconds = 1
        while True:
            try:
                with spool_errors("writing the result"):
                    return action()
            except SpoolFailing as error:
                if self.progress.stop_requested:
                    raise
                self.progress.step = f"result: {error.message}"
                self._log.error("result.waiting", reason=error.message, hint=error.hint)
            self._rest(wait_seconds)
            wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)

    def _rest(self, seconds: float) -> None:
        for _ in range(int(seconds / _TICK_SECONDS)):
            if not self.progress.stop_requested:
                self.sleep(_TICK_SECONDS)


def _try(action: Callable[[], None], report: Report) -> bool:
    """Clean up; what cannot be is a warning of the report, and left to doctor."""
    try:
        action()
    except DsgmigdError as error:
        report.warnings.append(f"could not be cleaned up: {error.message}")
        return False
    return True
