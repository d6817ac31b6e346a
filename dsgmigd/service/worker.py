"""One instance: wait, scan the spool, claim, work, publish the result, repeat.

The main thread never touches a pool or a source: it waits, reports, and pings systemd's watchdog,
while another thread works. On SIGTERM or SIGINT it claims nothing more; the work stops at the next
resumable point and its claim stays. If the work does not stop in time, the process exits, and the
next start resumes it.

A worker keeps open the directory with which it started, so that claims, locks and results stay
together. If the directory's name leads to another directory, the work stops in the same way and the
process ends with SpoolReplaced; systemd restarts it in the new directory.

Raises: AlreadyRunning, SpoolUnusable, SpoolReplaced. Any other exception is a bug or a broken host:
it ends the process, and the next start recovers.
"""

import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

import structlog

from dsgmigd.errors import DsgmigdError, HostExhausted, SpoolFailing
from dsgmigd.host.command import Commands
from dsgmigd.host.encoding import iso_time
from dsgmigd.host.file_errors import host_exhausted
from dsgmigd.migration.job import Settings
from dsgmigd.migration.progress import Progress
from dsgmigd.service.journal import flush_journal
from dsgmigd.service.notify import Notifier
from dsgmigd.service.permission import Permission
from dsgmigd.service.policy import WorkerSettings
from dsgmigd.service.processing import Processing
from dsgmigd.service.queue import Queue
from dsgmigd.service.stall import StallWatch, ask_pool
from dsgmigd.service.wake import SpoolWatcher, Wake
from dsgmigd.spool.claim import Claim
from dsgmigd.spool.location import HeldDirectory, held_directory
from dsgmigd.spool.spool import Spool
from dsgmigd.target.native import Native
from dsgmigd.target.zfs_fuse import wake_zfs_fuse

_TICK_SECONDS = 0.5
_PING_SECONDS = 5.0
_RETRY_SECONDS = 5.0
_START_SECONDS = 60.0


class Worker:
    """One instance on one spool; `find_native` returns what needs no zfs command on this host."""

    def __init__(
        self,
        instance: int,
        spool: Spool,
        settings: Settings,
        worker_settings: WorkerSettings,
        notifier: Notifier,
        *,
        find_native: Callable[[], Native | None] = lambda: None,
    ) -> None:
        self._instance = instance
        self._spool = spool
        self._place: HeldDirectory  # set by `run`
        self._settings = settings
        self._worker_settings = worker_settings
        self._permission = Permission(settings, worker_settings.members_may)
        self._notifier = notifier
        self._find_native = find_native
        self._wake = Wake()
        self._is_stopping = False
        self._is_queue_stale = False
        self._progress = Progress()
        self._queue: Queue  # set by `run`
        self._scan_due = 0.0
        self._started = time.monotonic()
        self._log = structlog.get_logger()

    def run(self) -> None:
        """Work until asked to stop."""
        warning = self._spool.prepare()
        if warning:
            self._log.warning("spool.warning", reason=warning)
        with held_directory(self._spool.directory) as place:
            self._place = place
            self._spool = Spool(place.path, self._instance)
            self._queue = Queue(self._spool, self._permission)
            self._run_here()

    def _run_here(self) -> None:
        lock = self._spool.instances.lock()
        watcher = SpoolWatcher(self._spool.directory, self._spool.control.directory, self._wake)
        self._listen_to_signals()
        wake_zfs_fuse()  # our last process may have been killed during a request to it
        try:
            watcher.start()
            self._log.info(
                "worker.started",
                spool=self._place.name,
                is_supervised=self._notifier.is_supervised,
            )
            self._report("idle")
            self._notifier.ready()
            while not self._is_stopping:
                self._place.check()
                self._serve()
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

    def _serve(self) -> None:
        """Process the next claim, or wait; retry later what the spool or the host cannot do now."""
        try:
            self._serve_one()
        except SpoolFailing as error:
            self._log.error("spool.failing", reason=error.message, hint=error.hint)
            self._wait_and_rescan(error)
        except HostExhausted as error:
            self._log.error("host.exhausted", reason=error.message, hint=error.hint)
            self._wait_and_rescan(error)

    def _work_or_go_on(self, claim: Claim) -> None:
        """Work on a claim; if its name in the spool fails, the rest of the queue comes next."""
        try:
            self._work_on(claim)
        except SpoolFailing as error:
            self._log.error("spool.failing", reason=error.message, hint=error.hint)
            self._wait(f"waiting: {error.message}", _RETRY_SECONDS)

    def _wait_and_rescan(self, error: DsgmigdError) -> None:
        self._is_queue_stale = True
        self._wake.clear()
        self._wait(f"waiting: {error.message}", _RETRY_SECONDS)

    def _serve_one(self) -> None:
        is_old = (
            time.monotonic() > self._scan_due
        )  # claims of crashed workers must not wait for ever
        if self._is_queue_stale or is_old or not self._queue:
            self._is_queue_stale = False
            self._wake.clear()
            self._queue.scan()
            self._scan_due = time.monotonic() + self._worker_settings.rescan_seconds
        failing = None
        while self._queue and not self._is_stopping:
            try:
                claim = self._queue.next_claim()
            except SpoolFailing as error:  # one bad file must not stop the others
                failing = error
                continue
            if claim is not None:
                self._work_or_go_on(claim)
                return
        flush_journal()
        if failing:
            raise failing
        self._wait("idle", self._idle_seconds())

    def _idle_seconds(self) -> float:
        """Return how long to wait for requests; at the start not long, if a claim of ours waits.

        After a kill the programs that the last process had started end a moment later.
        """
        is_starting = time.monotonic() < self._started + _START_SECONDS
        if self._queue.is_own_claim_locked and is_starting:
            return _TICK_SECONDS
        return self._worker_settings.rescan_seconds

    def _wait(self, words: str, seconds: float) -> None:
        """Sleep for `seconds`, or until a wake-up."""
        self._report(words)
        due = time.monotonic() + seconds
        while not self._is_stopping and time.monotonic() < due:
            self._place.check()
            self._notifier.watchdog()
            if self._wake.wait(min(_PING_SECONDS, max(0.0, due - time.monotonic()))):
                return

    def _work_on(self, claim: Claim) -> None:
        self._progress = Progress(repo=claim.repo, request_id=claim.request_id)
        self._progress.stop_requested = self._is_stopping
        self._check_for_cancel(claim)
        commands = Commands(keep_descriptors=(claim.lock.descriptor,))
        failed: list[BaseException] = []

        processing = Processing(
            claim,
            spool=self._spool,
            settings=self._settings,
            commands=commands,
            progress=self._progress,
            maximum_attempts=self._worker_settings.maximum_attempts,
            retries=self._worker_settings.retries,
            permission=self._permission,
            native=self._find_native(),
        )

        def work() -> None:
            try:
                processing.run()
            except BaseException as error:  # noqa: BLE001 # raised again in the main thread
                failed.append(error)

        thread = threading.Thread(target=work, name=f"work-{claim.repo}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # what Python raises if the host starts no thread
            claim.lock.release()
            raise host_exhausted("no thread to work in could be started") from error
        self._accompany(claim, thread, commands)
        claim.lock.release()
        self._progress = Progress()
        if failed:
            raise failed[0]

    def _check_for_cancel(self, claim: Claim) -> None:
        with contextlib.suppress(OSError):  # the next look finds it
            if self._spool.control.cancel_for(claim.repo, claim.request_id) is not None:
                self._progress.cancel_requested = True

    def _accompany(self, claim: Claim, thread: threading.Thread, commands: Commands) -> None:
        """Report, ping and look for a cancel until the work has ended, or must be aborted."""
        stop_by = None
        stall = StallWatch(
            self._progress,
            seconds=self._worker_settings.stall_seconds,
            ask=functools.partial(ask_pool, self._settings.target_parent),
        )
        while thread.is_alive():
            self._notifier.watchdog()
            self._report(str(self._progress) + stall.words())
            self._check_for_cancel(claim)
            flush_journal()
            is_spool_lost = not self._place.is_in_place()
            if self._is_stopping or is_spool_lost:
                self._progress.stop_requested = True
                stop_by = stop_by or time.monotonic() + self._worker_settings.stop_seconds
                if time.monotonic() > stop_by:
                    self._abort(commands, os.EX_TEMPFAIL if is_spool_lost else os.EX_OK)
            thread.join(_TICK_SECONDS)

    def _abort(self, commands: Commands, status: int) -> None:
        """End the process during a step; the next start rolls the step back."""
        commands.kill_all()
        self._notifier.stopping()
        self._log.warning("worker.aborted", repo=self._progress.repo, step=self._progress.step)
        flush_journal()
        os._exit(status)

    def _report(self, text: str) -> None:
        self._notifier.status(text)
        status = {
            "instance": self._instance,
            "pid": os.getpid(),
            "status": text,
            "at": iso_time(time.time()),
            **self._progress.to_json(),
        }
        with contextlib.suppress(OSError):  # only a display for people
            self._spool.instances.write_status(status)
