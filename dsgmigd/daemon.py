"""One instance: wake, scan, claim, work, publish the result, and again.

The main thread never touches a pool or a source: it waits, reports, and pings systemd's watchdog,
while another thread works. SIGTERM or SIGINT: no new claim, the work stops at the next point from
which it can be resumed, its claim stays; what does not stop in time is left to the next start.

Leaving errors: AlreadyRunning, SpoolUnusable. What is no DsgmigdError is a bug or a broken host:
it ends the process, and the next start recovers.
"""

import functools
import os
import signal
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import structlog

from dsgmigd.cancel import clean_up
from dsgmigd.claim import Claim, Unclaimable
from dsgmigd.command import Commands
from dsgmigd.discrepancies import DiscrepancyFile
from dsgmigd.errors import (
    CrashLoop,
    DsgmigdError,
    InterruptedByStop,
    InvalidRequest,
    RequestCancelled,
)
from dsgmigd.journal import flush_journal
from dsgmigd.migrate import Job, Migration, Settings
from dsgmigd.names import RepoName
from dsgmigd.notify import Notifier
from dsgmigd.progress import Progress
from dsgmigd.report import Report
from dsgmigd.result import envelope, failure, iso_time, success
from dsgmigd.spool import Spool
from dsgmigd.wake import SpoolWatcher
from dsgmigd.zfs.waking import wake_zfs_fuse

_TICK_SECONDS = 0.5
_PING_SECONDS = 5.0
_STALL_SECONDS = 900.0


@dataclass(frozen=True)
class Habits:
    """How one instance behaves, whatever it works on."""

    rescan_seconds: float = 30
    stop_seconds: float = 8
    maximum_attempts: int = 3


class Worker:
    """One instance on one spool."""

    def __init__(
        self,
        instance: int,
        spool: Spool,
        settings: Settings,
        habits: Habits,
        notifier: Notifier,
    ) -> None:
        self._instance = instance
        self._spool = spool
        self._settings = settings
        self._habits = habits
        self._notifier = notifier
        self._wake = threading.Event()
        self._is_stopping = False
        self._is_queue_stale = False
        self._progress = Progress()
        self._queue: deque[Callable[[], Claim | Unclaimable | None]] = deque()
        self._scan_due = 0.0
        self._log = structlog.get_logger()

    def run(self) -> None:
        """Work until asked to stop."""
        self._spool.prepare()
        lock = self._spool.lock_instance()
        watcher = SpoolWatcher(self._spool.directory, self._spool.control.directory, self._wake)
        self._listen_to_signals()
        wake_zfs_fuse()  # our last life may have ended within a request to it
        try:
            watcher.start()
            self._log.info(
                "worker.started",
                spool=self._spool.directory,
                is_supervised=self._notifier.is_supervised,
            )
            self._report("idle")
            self._notifier.ready()
            while not self._is_stopping:
                self._serve_one()
            self._notifier.stopping()
            self._log.info("worker.stopped")
        finally:
            watcher.stop()
            lock.release()
            flush_journal()

    # The main thread.

    def _listen_to_signals(self) -> None:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self._is_stopping = True
            self._progress.stop_requested = True
            self._wake.set()

        def rescan(_number: int, _frame: FrameType | None) -> None:
            self._is_queue_stale = True
            self._wake.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGHUP, rescan)

    def _serve_one(self) -> None:
        is_old = time.monotonic() > self._scan_due  # what a dead worker left must not wait for all
        if self._is_queue_stale or is_old or not self._queue:
            self._is_queue_stale = False
            self._queue.clear()
            self._wake.clear()
            self._scan()
            self._scan_due = time.monotonic() + self._habits.rescan_seconds
        while self._queue and not self._is_stopping:
            found = self._queue.popleft()()
            if isinstance(found, Unclaimable):
                self._refuse(found)
            elif found is not None:
                self._work_on(found)
                return
        self._wait()

    def _scan(self) -> None:
        """Queue claims that may be orphans first, then requests by arrival."""
        clean_up(self._spool)
        for repo, instance in self._spool.claims():
            self._queue.append(functools.partial(self._adopt, repo, instance))
        for name in self._spool.incoming():
            self._queue.append(functools.partial(self._claim, name))

    def _adopt(self, repo: RepoName, instance: int) -> Claim | None:
        """Adopt a claim; while paused, only an own one, or one that is to be ended."""
        control = self._spool.control
        is_held = control.pauses().holds_instance(self._instance)
        if is_held and instance != self._instance and repo not in control.cancels():
            return None
        return self._spool.adopt(repo, instance)

    def _claim(self, name: str) -> Claim | Unclaimable | None:
        """Claim a request, unless a pause keeps it where it is: it may be newer than the scan."""
        pauses = self._spool.control.pauses()
        if pauses.holds_instance(self._instance) or name in pauses.repositories:
            return None
        return self._spool.claim(name)

    def _wait(self) -> None:
        """Sleep until the next scan is due, or something wakes us."""
        flush_journal()
        self._report("idle")
        due = time.monotonic() + self._habits.rescan_seconds
        while not self._is_stopping and time.monotonic() < due:
            self._notifier.watchdog()
            if self._wake.wait(min(_PING_SECONDS, max(0.0, due - time.monotonic()))):
                return

    def _refuse(self, refused: Unclaimable) -> None:
        now = time.time()
        error = InvalidRequest(refused.message, hint=refused.hint)
        result = failure(error) | envelope(
            request_id=str(uuid.uuid4()),
            repo=refused.name,
            options={},
            instance=self._instance,
            started_at=now,
            finished_at=now,
        )
        if self._spool.reject(refused, result):
            self._log.warning("request.rejected", repo=refused.name, reason=refused.message)

    def _work_on(self, claim: Claim) -> None:
        self._progress = Progress(repo=claim.repo, request_id=claim.request_id)
        self._progress.stop_requested = self._is_stopping
        self._heed_cancel(claim)
        commands = Commands(keep_descriptors=(claim.lock.descriptor,))
        failed: list[BaseException] = []

        def work() -> None:
            try:
                process_claim(
                    claim,
                    spool=self._spool,
                    instance=self._instance,
                    settings=self._settings,
                    commands=commands,
                    progress=self._progress,
                    maximum_attempts=self._habits.maximum_attempts,
                )
            except BaseException as error:  # noqa: BLE001 # raised again in the main thread
                failed.append(error)

        thread = threading.Thread(target=work, name=f"work-{claim.repo}", daemon=True)
        thread.start()
        self._accompany(claim, thread, commands)
        claim.lock.release()
        self._progress = Progress()
        if failed:
            raise failed[0]

    def _heed_cancel(self, claim: Claim) -> None:
        if self._spool.control.cancel_for(claim.repo, claim.request_id) is not None:
            self._progress.cancel_requested = True

    def _accompany(self, claim: Claim, thread: threading.Thread, commands: Commands) -> None:
        """Report, ping and look for a cancel until the work has ended, or has to be left."""
        stop_by = None
        stalled = _Stall(self._progress)
        while thread.is_alive():
            self._notifier.watchdog()
            self._report(str(self._progress) + stalled.words())
            self._heed_cancel(claim)
            flush_journal()
            if self._is_stopping:
                stop_by = stop_by or time.monotonic() + self._habits.stop_seconds
                if time.monotonic() > stop_by:
                    self._leave(commands)
            thread.join(_TICK_SECONDS)

    def _leave(self, commands: Commands) -> None:
        """End the process in the middle of a step; the next start rolls it back."""
        commands.kill_all()
        self._notifier.stopping()
        self._log.warning("worker.left", repo=self._progress.repo, step=self._progress.step)
        flush_journal()
        os._exit(0)

    def _report(self, text: str) -> None:
        self._notifier.status(text)
        self._spool.write_status(
            {
                "instance": self._instance,
                "pid": os.getpid(),
                "status": text,
                "at": iso_time(time.time()),
                **self._progress.to_json(),
            }
        )


class _Stall:
    """Notices that work makes no progress: long I/O is no hang, but people want to know."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._seen = -1
        self._since = time.monotonic()

    def words(self) -> str:
        """Return what to add to a status line."""
        if self._progress.steps_done != self._seen:
            self._seen = self._progress.steps_done
            self._since = time.monotonic()
        idle = time.monotonic() - self._since
        return f", no progress for {idle / 60:.0f} min" if idle > _STALL_SECONDS else ""


def process_claim(
    claim: Claim,
    *,
    spool: Spool,
    instance: int,
    settings: Settings,
    commands: Commands,
    progress: Progress,
    maximum_attempts: int,
) -> None:
    """Do what a claim asks for and publish its result: the one place that catches DsgmigdError."""
    structlog.contextvars.bind_contextvars(repo=claim.repo, request_id=claim.request_id)
    log = structlog.get_logger()
    started_at = time.time()
    attempts_before = len(claim.attempts)
    log.info("request.claimed", attempt=attempts_before + 1)
    migration = None
    differences = DiscrepancyFile(spool.results.discrepancies_path(claim.repo))
    try:
        job = Job(claim.repo, claim.options, claim.request_id)
        migration = Migration(job, settings, commands, progress, note=differences.add)
        _begin_attempt(claim, spool, instance, progress, maximum_attempts)
        outcome = success(migration.run())
    except InterruptedByStop:
        spool.end_attempt(claim, "stopped")
        log.info("request.interrupted", step=progress.step, snapshot=progress.snapshot)
        return
    except RequestCancelled as error:
        outcome = _give_up(claim, spool, migration) if migration else failure(error)
    except DsgmigdError as error:
        outcome = failure(error, migration.report if migration else None)
    differences.close()
    if len(claim.attempts) > attempts_before:
        claim.attempts[-1]["ended"] = outcome["outcome"]
    result = outcome | envelope(
        request_id=claim.request_id,
        repo=claim.repo,
        options=claim.record["options"],
        instance=instance,
        started_at=started_at,
        finished_at=time.time(),
    )
    result["discrepancies_file"] = spool.results.publish_discrepancies(claim.repo)
    result["submitted_by_uid"] = claim.record["submitted_by_uid"]
    result["attempts"] = claim.attempts
    if result["outcome"] == "rejected":
        spool.reject_claim(claim, result)
    else:
        spool.finish(claim, result)
    spool.control.drop_cancel(claim.repo)  # while the lock is ours, it can be meant for no other
    _log_result(log, result)


def _give_up(claim: Claim, spool: Spool, migration: Migration) -> dict[str, Any]:
    """Leave nothing of a cancelled request but, unless it is to be discarded, its staging."""
    wish = spool.control.cancel_for(claim.repo, claim.request_id)
    is_discarded = wish is not None and wish.discard
    if is_discarded:
        is_discarded = _try(migration.discard, migration.report)
    _try(migration.release_pins, migration.report)
    return failure(RequestCancelled(is_discarded=is_discarded), migration.report)


def _try(action: Callable[[], None], report: Report) -> bool:
    """Clean up; what cannot be is a warning of the report, and left to doctor."""
    try:
        action()
    except DsgmigdError as error:
        report.warnings.append(f"could not be cleaned up: {error.message}")
        return False
    return True


def _begin_attempt(
    claim: Claim, spool: Spool, instance: int, progress: Progress, maximum_attempts: int
) -> None:
    if progress.cancel_requested:
        raise RequestCancelled
    if claim.crashes >= maximum_attempts:
        raise CrashLoop(
            f"{claim.crashes} attempts on this request died without a word",
            hint="see the journal of those attempts; submit again when the cause is gone",
        )
    attempt = {
        "instance": instance,
        "pid": os.getpid(),
        "started_at": iso_time(time.time()),
    }
    spool.begin_attempt(claim, attempt)


def _log_result(log: Any, result: dict[str, Any]) -> None:
    """Write the one canonical record of a request."""
    rows = result["snapshots"]
    fields = {
        "outcome": result["outcome"],
        "snapshots": len(rows),
        "files": sum(row["files"] for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
        "duration_usec": int(result["seconds"] * 1_000_000),
    }
    if result["outcome"] == "cancelled":
        log.warning("request.cancelled", **fields)
    elif result["error"]:
        error = result["error"]
        log.error(
            "request.failed",
            error_code=error["code"],
            reason=error["message"],
            hint=error["hint"],
            **fields,
        )
    else:
        log.info("request.finished", warnings=len(result["warnings"]), **fields)
