"""Turns one claim into a result, or into a claim that waits for its next attempt.

`Processing.run` is the one place of the service that catches DsgmigdError and Interruption. A
transient failure defers the claim; any other failure becomes the result. While the spool's file
system fails, writing the result is repeated until it succeeds: finished work is never done again.

Raises: SpoolFailing, with a claim that stays and can be adopted. Any other exception is a bug or a
broken host.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from dsgmigd.custody.store import Store
from dsgmigd.errors import (
    CrashLoop,
    DsgmigdError,
    InterruptedByStop,
    RequestCancelled,
    SpoolFailing,
)
from dsgmigd.host.command import Commands
from dsgmigd.host.encoding import iso_time
from dsgmigd.host.file_errors import spool_errors
from dsgmigd.migration.job import Job, Settings
from dsgmigd.migration.migration import Migration
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.published_check import PublishedCheck
from dsgmigd.migration.report import Report
from dsgmigd.migration.result import Ending, Result
from dsgmigd.migration.run import Run
from dsgmigd.request import Request
from dsgmigd.service.permission import Permission
from dsgmigd.service.policy import Retries
from dsgmigd.spool.claim import Claim
from dsgmigd.spool.claim_record import Attempt
from dsgmigd.spool.claiming import finish_claim, reject_claim
from dsgmigd.spool.deferral import Deferral, Moment
from dsgmigd.spool.spool import Spool
from dsgmigd.target.native import Native
from dsgmigd.verification.discrepancy_file import DiscrepancyFile
from dsgmigd.verification.kept_proofs import ProofFile

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
    permission: Permission
    native: Native | None = None
    sleep: Callable[[float], None] = time.sleep
    _log: Any = field(default_factory=structlog.get_logger)
    _has_begun: bool = False

    def run(self) -> None:
        """Do what the claim asks for, and publish its result or defer it."""
        claim = self.claim
        structlog.contextvars.bind_contextvars(repo=claim.repo, request_id=claim.request_id)
        self._log.info("request.claimed", attempt=len(claim.attempts) + 1)
        started_at = time.time()
        differences = DiscrepancyFile(self.spool.results.discrepancies_path(claim.repo))
        try:
            outcome = self._attempt(differences)
        except InterruptedByStop:
            with spool_errors("recording that the work was stopped"):
                self.spool.records.end_attempt(claim, "stopped")
            self._log.info(
                "request.interrupted", step=self.progress.step, snapshot=self.progress.snapshot
            )
        else:
            if outcome is not None:
                self._end(outcome, differences, started_at)
        finally:
            self.spool.results.release(claim.repo)

    def _attempt(self, differences: DiscrepancyFile) -> Ending | None:
        """Do the work; return how it ended, or None if the claim will be retried."""
        work = None
        try:
            claim, spool_id = self.claim, self.spool.identity()
            job = Job(claim.repo, self._permitted_options(), claim.request_id, spool_id)
            kind = PublishedCheck if job.request.verify_only else Migration
            work = kind(
                *(job, self.settings, self.commands, self.progress),
                note=differences.add,
                native=self.native,
                kept_proofs=ProofFile(self.spool.layout.kept_proofs(claim.repo)),
                evidence_store=Store(self.spool.layout.evidence(claim.repo)),
            )
            self._begin()
            return Ending(work.run())
        except (InterruptedByStop, SpoolFailing):
            raise
        except RequestCancelled as error:
            return self._give_up(work) if work else Ending(error=error)
        except CrashLoop as error:
            if isinstance(work, Migration):
                _try(work.take_back, work.report)
            return _failed(error, work)
        except DsgmigdError as error:
            if self._defer_if_transient(error):
                return None
            return _failed(error, work)

    def _permitted_options(self) -> Request:
        """Return the options; raise InvalidRequest if they are none, or not the submitter's."""
        options = self.claim.options
        self.permission.check(options, self.claim.record.submitted_by)
        return options

    def _begin(self) -> None:
        """Reserve what the ending needs and record the attempt: without both, no work begins."""
        if self.progress.cancel_requested:
            raise RequestCancelled
        if self.claim.crashes >= self.maximum_attempts:
            raise CrashLoop(
                f"the worker crashed {self.claim.crashes} times while processing this request",
                hint="see the journal of those attempts; submit again when the cause is fixed",
            )
        attempt = Attempt(self.spool.instance, os.getpid(), iso_time(time.time()))
        try:
            with spool_errors("recording that the work begins"):
                self.spool.results.reserve(self.claim.repo)
                self.spool.ledger.reserve()
                self.spool.records.begin_attempt(self.claim, attempt)
                self._has_begun = True
        except SpoolFailing:
            if attempt in self.claim.attempts:
                with contextlib.suppress(OSError):  # so that the attempt does not count as a crash
                    self.spool.records.end_attempt(self.claim, "not begun")
            raise

    def _defer_if_transient(self, error: DsgmigdError) -> bool:
        """Defer the claim if the failure is transient; return False if the request has failed."""
        if error.error_class != "transient":
            return False
        delay_seconds = self.retries.delay_seconds(self.claim.times_deferred)
        if delay_seconds is None:
            return False
        not_before = iso_time(time.time() + delay_seconds)
        with spool_errors("deferring the request"):
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

    def _give_up(self, migration: Run) -> Ending:
        """Clean up after a cancelled request; its staging dataset stays unless it is discarded."""
        if not isinstance(migration, Migration):
            return Ending(migration.report, RequestCancelled())
        _try(migration.take_back, migration.report)
        cancel_request = self.spool.control.cancel_for(self.claim.repo, self.claim.request_id)
        is_discarded = cancel_request is not None and cancel_request.discard
        if is_discarded:
            is_discarded = _try(migration.discard, migration.report)
        _try(migration.release_pins, migration.report)
        return Ending(migration.report, RequestCancelled(is_discarded=is_discarded))

    def _end(self, ending: Ending, differences: DiscrepancyFile, started_at: float) -> None:
        """Publish the result, and remove the claim."""
        claim = self.claim
        if self._has_begun:  # otherwise the last attempt is one that crashed
            claim.end_attempt(ending.outcome)
        discrepancies_file = self._publish_discrepancies(differences)
        result = Result(
            ending,
            request_id=claim.request_id,
            repo=claim.repo,
            request=claim.record.request.to_json(),
            instance=self.spool.instance,
            started_at=started_at,
            finished_at=time.time(),
            submission=claim.record.submission(),
            attempts=[attempt.to_json() for attempt in claim.attempts],
            attempts_left_out=claim.record.attempts_left_out,
            discrepancies_file=discrepancies_file,
            warnings=[differences.problem] if differences.problem else [],
        ).to_json()
        self._repeat_until_done(lambda: self._publish(result))

    def _publish_discrepancies(self, differences: DiscrepancyFile) -> str | None:
        differences.close()
        try:
            return self.spool.results.publish_discrepancies(self.claim.repo)
        except OSError as error:
            differences.problem = (
                f"the file of all differences could not be published: {error.strerror}"
            )
            return None

    def _publish(self, result: dict[str, Any]) -> None:
        """Publish the result; may be repeated after a failure at any point."""
        if result["outcome"] == "rejected":
            reject_claim(self.spool, self.claim, result)
        else:
            finish_claim(self.spool, self.claim, result)
        # As long as we hold the lock, a cancel can only be for this request.
        self.spool.control.drop_cancel(self.claim.repo)

    def _repeat_until_done(self, action: Callable[[], None]) -> None:
        """Repeat `action` until it succeeds; raise SpoolFailing when asked to stop."""
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
            self._sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)

    def _sleep(self, seconds: float) -> None:
        for _ in range(int(seconds / _TICK_SECONDS)):
            if not self.progress.stop_requested:
                self.sleep(_TICK_SECONDS)


def _failed(error: DsgmigdError, work: Run | None) -> Ending:
    return Ending(work.report if work else Report(), error)


def _try(action: Callable[[], None], report: Report) -> bool:
    """Clean up; a failure is a warning in the report, and doctor finds the leftovers."""
    try:
        action()
    except DsgmigdError as error:
        report.warnings.append(f"cleaning up failed, see dsgmigd doctor: {error.message}")
        return False
    return True
