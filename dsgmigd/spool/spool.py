"""The spool: one flat directory, and every path, rename and unlink of requests in it.

    REPO.request       a request: an empty file or a JSON object
    REPO.claim.I       the same request, taken by instance I; from its first attempt on it holds
                       our own record: request id, options, attempts
    REPO.result.json   the newest result of REPO; it repeats the request id and the options (see
                       dsgmigd.results)
    rejected/          what could not be a request, unread
    .dsgmigd/          ours: locks/REPO, instances/I, results/ (all results), work/,
                       control/ (see dsgmigd.control)

The legal states of a repository, and what recovery does with them:

    request                        incoming: claim it
    claim, lock taken              somebody works on it; a request beside it is the next run
    claim, lock free               its worker is dead: adopt it
    claim, lock free, deferred     its target is to come back: left until it is due
    claim, result of the same id   done: only the claim is removed
    result                         done

What operators say adds to these, REPO.cancel and REPO.ID.withdrawn standing in control/:

    request, REPO or all paused    incoming: left where it is
    claim, paused                  goes on; a paused instance adopts its own claims only
    claim, cancel of the same id   told to stop: ended as `cancelled`, by whoever adopts it too
    cancel, no claim of that id    done before it could be stopped: the cancel is dropped
    withdrawn                      taken out of the spool: its result `cancelled` is published
    withdrawn, result of its id    done: shown unless a newer result is, then it is removed

A claim is worked on under the repository's lock. The lock is a flock, and its descriptor is
inherited by every child that touches the dataset, so the kernel frees it when the last of them is
gone; nothing is judged by age or process number. The directory is the truth, events are hints.

Leaving errors: SpoolUnusable, InvalidRequest (from `Claim.options`), StateTooNew, AlreadyRunning,
OSError when the spool's file system fails.
"""

import contextlib
import json
import os
import time
import uuid
from typing import Any

from dsgmigd.claim import (
    Claim,
    Unclaimable,
    is_being_written,
    new_record,
    own_record,
    unclaimable,
    why_no_request,
)
from dsgmigd.claim_records import DEFERRAL, ClaimRecords, is_regular, look_at, read_regular
from dsgmigd.control import Control
from dsgmigd.deferral import Deferral
from dsgmigd.durable import sync_directory, sync_file, write_durably
from dsgmigd.errors import InvalidName, SpoolUnusable, StateTooNew
from dsgmigd.instances import Instances
from dsgmigd.locks import Lock, try_lock
from dsgmigd.names import RepoName, parse_repo_name
from dsgmigd.request import Request
from dsgmigd.result_record import log_result
from dsgmigd.results import Results, write_beside
from dsgmigd.spool_place import check_own_directory, check_place, check_renaming
from dsgmigd.submitter import why_not_allowed
from dsgmigd.syscalls import rename_noreplace

_REQUEST = ".request"
_SUBMIT = ".submit."
_REJECTED = "rejected"
_PRIVATE = ".dsgmigd"
_TICK_SECONDS = 0.05


class Spool:
    """One spool directory as one instance sees it; instance 0 only submits and looks."""

    def __init__(self, directory: str, instance: int = 0) -> None:
        self.directory = directory
        self.instance = instance
        self._private = os.path.join(directory, _PRIVATE)
        self.control = Control(os.path.join(self._private, "control"))
        self.work_directory = os.path.join(self._private, "work")
        self._rejected = os.path.join(directory, _REJECTED)
        self.instances = Instances(
            os.path.join(self._private, "instances"), work=self.work_directory, instance=instance
        )
        self.records = ClaimRecords(
            directory, work=self.work_directory, aside=self._rejected, instance=instance
        )
        self.results = Results(
            directory,
            kept=os.path.join(self._private, "results"),
            work=self.work_directory,
            aside=self._rejected,
            instance=instance,
        )

    def check(self) -> None:
        """Raise SpoolUnusable if there is no spool."""
        if not os.path.isdir(self.directory):
            raise SpoolUnusable(
                f"the spool directory {self.directory} does not exist",
                hint=f"make it: install -d -m 3730 -g dsgmigd {self.directory}",
            )

    def check_place(self) -> str | None:
        """Return what to warn of in the spool's place; raise SpoolUnusable if it is not safe."""
        self.check()
        return check_place(self.directory)

    def prepare(self, *, is_made_if_missing: bool = False) -> str | None:
        """Make what is ours in the spool; return a warning, raise SpoolUnusable, see `check_place`.

        A spool that has to be made is for root alone: its locks are needed even without a queue.
        """
        try:
            if is_made_if_missing:
                os.makedirs(self.directory, 0o700, exist_ok=True)
            warning = self.check_place()
            for name, mode in (
                (_PRIVATE, 0o755),
                (f"{_PRIVATE}/locks", 0o700),
                (f"{_PRIVATE}/work", 0o700),
                (f"{_PRIVATE}/control", 0o700),
                (f"{_PRIVATE}/instances", 0o755),
                (f"{_PRIVATE}/results", 0o755),
                (_REJECTED, 0o755),
            ):
                path = os.path.join(self.directory, name)
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, mode)
                check_own_directory(path)
                os.chmod(path, mode)
            check_renaming(self.work_directory)
        except OSError as error:
            raise SpoolUnusable(
                f"cannot use the spool {self.directory}: {error}",
                hint="it must be a local directory that dsgmigd may write",
            ) from error
        return warning

    # Locks.

    def lock_repository(self, repo: RepoName, *, patience_seconds: float = 0) -> Lock | None:
        """Take the repository's lock; None if somebody keeps it that long."""
        path = os.path.join(self._private, "locks", repo)
        deadline = time.monotonic() + patience_seconds
        while (lock := try_lock(path)) is None and time.monotonic() < deadline:
            time.sleep(_TICK_SECONDS)
        return lock

    # What lies in the spool.

    def incoming(self) -> list[str]:
        """Return the names before `.request`, oldest arrival first, whatever they are."""
        found = []
        for name in os.listdir(self.directory):
            if name.endswith(_REQUEST):
                status = look_at(f"{self.directory}/{name}")
                if status is not None:
                    found.append((status.st_ctime_ns, name.removesuffix(_REQUEST)))
        return [name for _, name in sorted(found)]

    def repositories(self) -> list[RepoName]:
        """Return every repository that anybody ever worked on."""
        return [RepoName(name) for name in os.listdir(os.path.join(self._private, "locks"))]

    def submissions(self) -> list[str]:
        """Return the paths of requests on their way into the spool."""
        names = sorted(os.listdir(self.directory))
        return [os.path.join(self.directory, name) for name in names if name.startswith(_SUBMIT)]

    def _path(self, repo: str, ending: str) -> str:
        return os.path.join(self.directory, repo + ending)

    # Submitting.

    def submit(self, repo: RepoName, options: Request) -> bool:
        """Drop a request; False if one for `repo` waits already.

        Raises SpoolUnusable if the caller may not write to the spool.
        """
        self.check()
        document = options.to_json()
        body = json.dumps(document).encode() if document else b""
        temporary = os.path.join(self.directory, f"{_SUBMIT}{uuid.uuid4().hex}")
        try:
            write_durably(temporary, body, 0o644)
            rename_noreplace(temporary, self._path(repo, _REQUEST))
        except FileExistsError:
            return False
        except PermissionError as error:
            raise SpoolUnusable(
                f"you may not write to the spool {self.directory}",
                hint="only root and the members of its group may submit",
            ) from error
        finally:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                os.unlink(temporary)
        self._sync_submitted(repo)
        return True

    def _sync_submitted(self, repo: RepoName) -> None:
        try:
            sync_directory(self.directory)
        except PermissionError:  # the group may write to the spool, not read it
            # Claimed already, it is on disk; what has its name then may be another's.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                sync_file(self._path(repo, _REQUEST))

    # Claiming.

    def claim(self, name: str) -> Claim | Unclaimable | None:
        """Take the request `name`, if it is one and free now.

        None: somebody was quicker, works on that repository, or still writes the file.
        """
        try:
            repo = parse_repo_name(name)
        except InvalidName as error:
            return self._misnamed(name, error)
        lock = self.lock_repository(repo)
        if lock is None:
            return None
        with contextlib.ExitStack() as stack:
            stack.callback(lock.release)
            claim = self._claim_locked(repo, lock)
            if isinstance(claim, Claim):
                stack.pop_all()
            return claim

    def _misnamed(self, name: str, error: InvalidName) -> Unclaimable | None:
        try:
            status = os.lstat(self._path(name, _REQUEST))
        except FileNotFoundError:
            return None
        return unclaimable(name, None, (error.message, error.hint), status)

    def _claim_locked(self, repo: RepoName, lock: Lock) -> Claim | Unclaimable | None:
        path = self._path(repo, _REQUEST)
        try:
            refused = why_no_request(path, repo, os.lstat(path))
            if refused is not None:
                return refused
            if self._has_claim(repo) or is_being_written(path):
                return None
            claimed = self.records.path(repo, self.instance)
            self.records.put_aside_unless_regular(claimed)
            rename_noreplace(path, claimed)
            sync_directory(self.directory)
            return self._open_claim(repo, claimed, lock)
        except (FileNotFoundError, FileExistsError):
            return None

    def _has_claim(self, repo: RepoName) -> bool:
        # The spool may hold very many files, so it is not listed: who ever claimed has a number.
        return any(
            is_regular(self.records.path(repo, number)) for number in self.instances.numbers()
        )

    def adopt(self, repo: RepoName, instance: int) -> Claim | None:
        """Take over a claim of a dead worker, or an own one of an earlier run.

        None if its worker lives, or if it was done and only had to be cleaned up.
        """
        lock = self.lock_repository(repo)
        if lock is None:
            return None
        with contextlib.ExitStack() as stack:
            stack.callback(lock.release)
            claim = self._adopt_locked(repo, instance, lock)
            if claim is not None:
                stack.pop_all()
            return claim

    def _adopt_locked(self, repo: RepoName, instance: int, lock: Lock) -> Claim | None:
        path = self.records.path(repo, instance)
        own = self.records.path(repo, self.instance)
        self.records.read(repo, instance)  # what a newer version wrote is not touched
        try:
            if path != own:
                self.records.put_aside_unless_regular(own)
                rename_noreplace(path, own)
                sync_directory(self.directory)
            claim = self._open_claim(repo, own, lock)
        except (FileNotFoundError, FileExistsError):
            return None
        return None if self._finish_if_done(claim) else claim

    def _open_claim(self, repo: RepoName, path: str, lock: Lock) -> Claim:
        content, status = read_regular(path)
        record = own_record(repo, content, status)
        if record is None:
            # What was looked at by its name may have been exchanged before it was ours.
            refused = why_no_request(self._path(repo, _REQUEST), repo, status)
            group = os.stat(self.directory).st_gid
            refusal = why_not_allowed(status.st_uid, group)
            refusal = (refused.message, refused.hint) if refused else refusal
            record = new_record(repo, content, status, refusal)
        return Claim(repo, path, lock, record)

    def deferrals(self) -> list[tuple[RepoName, Deferral]]:
        """Return what waits for its target, as far as the reader may see it."""
        found = []
        for repo, instance in self.records.claims():
            with contextlib.suppress(PermissionError, StateTooNew):
                found.append((repo, self.records.deferral(repo, instance)))
        return [(repo, deferral) for repo, deferral in found if deferral]

    def end_deferral(self, repo: RepoName) -> bool:
        """Let the claim of `repo` be due now; False if it does not wait, or is worked on."""
        lock = self.lock_repository(repo)
        if lock is None:
            return False
        try:
            for claimed, instance in self.records.claims():
                record = self.records.read(repo, instance) if claimed == repo else None
                if record and record.pop(DEFERRAL, None):
                    path = self.records.path(repo, instance)
                    self.records.write(Claim(repo, path, lock, record))
                    return True
            return False
        finally:
            lock.release()

    # Taking out, while `control.held()`.

    def claimed_request_id(self, repo: RepoName) -> str | None:
        """Return the id of the claimed request: None without a claim, "" if none is noted yet."""
        for claimed, instance in self.records.claims():
            if claimed == repo:
                record = self.records.read(repo, instance)  # None too if it ends at this moment
                return str(record["request_id"]) if record else ""
        return None

    def withdraw_request(self, repo: RepoName) -> str | None:
        """Take the waiting request out of the spool; return its id from now on, None without one.

        What is no request is left to a worker, who rejects it.
        """
        path = self._path(repo, _REQUEST)
        try:
            if why_no_request(path, repo, os.lstat(path)) is not None:
                return None
            return self._withdraw(repo, path)
        except FileNotFoundError:
            return None

    def withdraw_orphan(self, repo: RepoName) -> str | None:
        """Take out a claim whose worker died before it noted an id; None if there is none."""
        lock = self.lock_repository(repo)
        if lock is None:
            return None
        try:
            if self.claimed_request_id(repo) != "":
                return None
            instance = dict(self.records.claims())[repo]
            return self._withdraw(repo, self.records.path(repo, instance))
        finally:
            lock.release()

    def _withdraw(self, repo: RepoName, path: str) -> str:
        request_id = str(uuid.uuid4())
        rename_noreplace(path, self.control.withdrawn_path(repo, request_id))
        sync_directory(self.control.directory)
        sync_directory(self.directory)
        return request_id

    def read_withdrawn(self, repo: RepoName, request_id: str) -> dict[str, Any]:
        """Return what a claim's record would say of a request that was taken out."""
        path = self.control.withdrawn_path(repo, request_id)
        status = os.lstat(path)
        # Who can write to the spool may have exchanged it just before it was taken out.
        if why_no_request(path, repo, status) is not None:
            return new_record(repo, b"", status)
        return new_record(repo, *read_regular(path))

    def publish_withdrawn(self, repo: RepoName, request_id: str, result: dict[str, Any]) -> None:
        """Publish the result of what was taken out, then remove it; a newer result stays on top."""
        kept = self.results.of_request(repo, request_id)
        if kept is None or self.results.last(repo) == kept:
            self.results.publish(repo, request_id, kept or result)
        path = self.control.withdrawn_path(repo, request_id)
        try:
            os.unlink(path)
        except IsADirectoryError:
            os.rename(path, os.path.join(self._rejected, request_id))
        sync_directory(self.control.directory)

    # Ending.

    def finish(self, claim: Claim, result: dict[str, Any]) -> None:
        """Publish the result of a claim, then remove the claim; may be repeated from any point."""
        self.results.publish(claim.repo, claim.request_id, result)
        log_result(result)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(claim.path)
        sync_directory(self.directory)

    def _finish_if_done(self, claim: Claim) -> bool:
        """Finish what a crash left between result and claim: True if that was all."""
        result = self.results.of_request(claim.repo, claim.request_id)
        if result is None:
            return False
        self.results.show_again(claim.repo, claim.request_id)
        log_result(result, repo=claim.repo, request_id=claim.request_id, replayed=1)
        os.unlink(claim.path)
        sync_directory(self.directory)
        return True

    def reject_claim(self, claim: Claim, result: dict[str, Any]) -> None:
        """Publish the result of a claim whose body is no request; keep the body aside.

        May be repeated from any point.
        """
        aside = os.path.join(self._rejected, f"{claim.repo}.{claim.request_id}")
        self.results.publish(claim.repo, claim.request_id, result)
        log_result(result)
        with contextlib.suppress(FileNotFoundError):
            os.rename(claim.path, aside)
        sync_directory(self.directory)

    def reject(self, refused: Unclaimable, result: dict[str, Any]) -> bool:
        """Publish why something can never be a request, and move it away, unread.

        False if another instance did so already. A name that is no repository's has its result
        beside what was moved.
        """
        aside = os.path.join(self._rejected, refused.request_id)
        if refused.repo is None:
            write_beside(aside, result)
        elif self.results.of_request(refused.repo, refused.request_id):
            self.results.show_again(refused.repo, refused.request_id)
        else:
            self.results.publish(refused.repo, refused.request_id, result)
        try:
            os.rename(self._path(refused.name, _REQUEST), aside)
        except FileNotFoundError:
            return False
        sync_directory(self.directory)
        return True
