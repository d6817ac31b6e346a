"""One instance: wake, scan, claim, work, publish the result, and again.

The main thread never touches a pool or a source: it waits, reports, and pings systemd's watchdog,
while another thread works. SIGTERM or SIGINT: no new claim, the work stops at the next point from
which it can be resumed, its claim stays; what does not stop in time is left to the next start.

A worker holds on to the directory that it began with: claims, locks and results stay together
there. When its name leads elsewhere the work stops in the same way, and the process ends with
SpoolReplaced, to begin anew in the directory that is there by then.

Leaving errors: AlreadyRunning, SpoolUnusable, SpoolReplaced. What is no DsgmigdError is a bug or a
broken host: it ends the process, and the next start recovers.
"""

import contextlib
import functools
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from types import FrameType

import structlog

from dsgmigd.cancel import clean_up
from dsgmigd.claim import Claim, Unclaimable
from dsgmigd.command import Commands
from dsgmigd.deferral import Moment
from dsgmigd.errors import DsgmigdError, HostExhausted, InvalidRequest, SpoolFailing, StateTooNew
from dsgmigd.file_errors import host_exhausted, spool_errors
from dsgmigd.journal import flush_journal
from dsgmigd.names import RepoName
from dsgmigd.notify import Notifier
from dsgmigd.processing import Processing
from dsgmigd.progress import Progress
from dsgmigd.result import envelope, failure, iso_time
from dsgmigd.settings import Habits, Settings
from dsgmigd.spool import Spool
from dsgmigd.spool_place import HeldDirectory, held_directory
from dsgmigd.stall import StallWatch, ask_pool
from dsgmigd.wake import SpoolWatcher, Wake
from dsgmigd.zfs.waking import wake_zfs_fuse

_TICK_SECONDS = 0.5
_PING_SECONDS = 5.0
_RETRY_SECONDS = 5.0


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
        self._place: HeldDirectory  # from `run` on
        self._settings = settings
        self._habits = habits
        self._notifier = notifier
        self._wake = Wake()
        self._is_stopping = False
        self._is_queue_stale = False
        self._progress = Progress()
        self._queue: deque[Callable[[], Claim | Unclaimable | None]] = deque()
        self._scan_due = 0.0
        self._log = structlog.get_logger()

    def run(self) -> None:
        """Work until asked to stop."""
        warning = self._spool.prepare()
        if warning:
            self._log.warning("spool.doubtful", reason=warning)
        with held_directory(self._spool.directory) as place:
            self._place = place
            self._spool = Spool(place.path, self._instance)
            self._run_here()

    def _run_here(self) -> None:
        lock = self._spool.instances.lock()
        watcher = SpoolWatcher(self._spool.directory, self._spool.control.directory, self._wake)
        self._listen_to_signals()
        wake_zfs_fuse()  # our last life may have ended within a request to it
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
        """Do the next thing; what spool or host cannot do now is tried again a while later."""
        try:
            self._serve_one()
        except SpoolFailing as error:
            self._log.error("spool.failing", reason=error.message, hint=error.hint)
            self._try_later(error)
        except HostExhausted as error:
            self._log.error("host.exhausted", reason=error.message, hint=error.hint)
            self._try_later(error)

    def _try_later(self, error: DsgmigdError) -> None:
        self._is_queue_stale = True
        self._wake.clear()
        self._wait(f"waiting: {error.message}", _RETRY_SECONDS)

    def _serve_one(self) -> None:
        is_old = time.monotonic() > self._scan_due  # what a dead worker left must not wait for all
        if self._is_queue_stale or is_old or not self._queue:
            self._is_queue_stale = False
            self._queue.clear()
            self._wake.clear()
            with spool_errors("looking for requests"):
                self._scan()
            self._scan_due = time.monotonic() + self._habits.rescan_seconds
        failing = None
        while self._queue and not self._is_stopping:
            try:
                found = self._next()
            except SpoolFailing as error:  # what one user made of one file is not to stop others
                failing = error
                continue
            if found is not None:
                self._work_on(found)
                return
        flush_journal()
        if failing:
            raise failing
        self._wait("idle", self._habits.rescan_seconds)

    def _next(self) -> Claim | None:
        """Return the next in the queue, if it is ours to work on."""
        with spool_errors("taking a request"):
            try:
                found = self._queue.popleft()()
            except StateTooNew as error:
                self._log.error("claim.left", reason=error.message, hint=error.hint)
                return None
            if isinstance(found, Unclaimable):
                self._refuse(found)
                return None
        return found

    def _scan(self) -> None:
        """Queue claims that may be orphans first, then requests by arrival."""
        clean_up(self._spool)
        for repo, instance in self._spool.records.claims():
            self._queue.append(functools.partial(self._adopt, repo, instance))
        for name in self._spool.incoming():
            self._queue.append(functools.partial(self._claim, name))

    def _adopt(self, repo: RepoName, instance: int) -> Claim | None:
        """Adopt a claim; while paused, only an own one that was begun; if cancelled, always."""
        control = self._spool.control
        if repo in control.cancels():
            return self._spool.adopt(repo, instance)
        pauses = control.pauses()
        is_held = pauses.holds_instance(self._instance)
        deferral = self._spool.records.deferral(repo, instance)
        if deferral is not None or not self._spool.records.is_begun(repo, instance):
            is_due = deferral is None or deferral.is_due(Moment.now())
            is_held = is_held or repo in pauses.repositories or not is_due
        elif instance == self._instance:
            is_held = False
        return None if is_held else self._spool.adopt(repo, instance)

    def _claim(self, name: str) -> Claim | Unclaimable | None:
        """Claim a request, unless a pause keeps it where it is: it may be newer than the scan."""
        pauses = self._spool.control.pauses()
        if pauses.holds_instance(self._instance) or name in pauses.repositories:
            return None
        return self._spool.claim(name)

    def _wait(self, words: str, seconds: float) -> None:
        """Sleep until `seconds` are over, or something wakes us."""
        self._report(words)
        due = time.monotonic() + seconds
        while not self._is_stopping and time.monotonic() < due:
            self._place.check()
            self._notifier.watchdog()
            if self._wake.wait(min(_PING_SECONDS, max(0.0, due - time.monotonic()))):
                return

    def _refuse(self, refused: Unclaimable) -> None:
        now = time.time()
        error = InvalidRequest(refused.message, hint=refused.hint)
        result = failure(error) | envelope(
            request_id=refused.request_id,
            repo=refused.name,
            options={},
            instance=self._instance,
            started_at=now,
            finished_at=now,
        )
        result["submitted_by"] = refused.submitted_by
        if self._spool.reject(refused, result):
            self._log.warning("request.rejected", repo=refused.name, reason=refused.message)

    def _work_on(self, claim: Claim) -> None:
        self._progress = Progress(repo=claim.repo, request_id=claim.request_id)
        self._progress.stop_requested = self._is_stopping
        self._heed_cancel(claim)
        commands = Commands(keep_descriptors=(claim.lock.descriptor,))
        failed: list[BaseException] = []

        processing = Processing(
            claim,
            spool=self._spool,
            settings=self._settings,
            commands=commands,
            progress=self._progress,
            maximum_attempts=self._habits.maximum_attempts,
            retries=self._habits.retries,
        )

        def work() -> None:
            try:
                processing.run()
            except BaseException as error:  # noqa: BLE001 # raised again in the main thread
                failed.append(error)

        thread = threading.Thread(target=work, name=f"work-{claim.repo}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # Python's word for a host that starts no thread
            claim.lock.release()
            raise host_exhausted("no thread to work in could be started") from error
        self._accompany(claim, thread, commands)
        claim.lock.release()
        self._progress = Progress()
        if failed:
            raise failed[0]

    def _heed_cancel(self, claim: Claim) -> None:
        with contextlib.suppress(OSError):  # it is asked again soon, or at the next adoption
            if self._spool.control.cancel_for(claim.repo, claim.request_id) is not None:
                self._progress.cancel_requested = True

    def _accompany(self, claim: Claim, thread: threading.Thread, commands: Commands) -> None:
        """Report, ping and look for a cancel until the work has ended, or has to be left."""
        stop_by = None
        stall = StallWatch(
            self._progress,
            seconds=self._habits.stall_seconds,
            ask=functools.partial(ask_pool, self._settings.target_parent),
        )
        while thread.is_alive():
            self._notifier.watchdog()
            self._report(str(self._progress) + stall.words())
            self._heed_cancel(claim)
            flush_journal()
            is_spool_lost = not self._place.is_in_place()
            if self._is_stopping or is_spool_lost:
                self._progress.stop_requested = True
                stop_by = stop_by or time.monotonic() + self._habits.stop_seconds
                if time.monotonic() > stop_by:
                    self._leave(commands, os.EX_TEMPFAIL if is_spool_lost else os.EX_OK)
            thread.join(_TICK_SECONDS)

    def _leave(self, commands: Commands, status: int) -> None:
        """End the process in the middle of a step; the next start rolls it back."""
        commands.kill_all()
        self._notifier.stopping()
        self._log.warning("worker.left", repo=self._progress.repo, step=self._progress.step)
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
        with contextlib.suppress(OSError):  # a hint for people; what matters says so itself
            self._spool.instances.write_status(status)
