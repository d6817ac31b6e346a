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
import errno
import json
import os
import stat
import uuid
from typing import Any

from dsgmigd.claim import (
    DEFERRED,
    RECORD_LIMIT_BYTES,
    RECORD_MODE,
    Claim,
    Unclaimable,
    is_being_written,
    new_record,
    own_record,
    why_no_request,
)
from dsgmigd.control import Control
from dsgmigd.deferral import Deferral
from dsgmigd.durable import open_regular, read_json, sync_directory, write_durably
from dsgmigd.errors import AlreadyRunning, InvalidName, SpoolUnusable, StateTooNew
from dsgmigd.locks import Lock, try_lock
from dsgmigd.names import RepoName, parse_repo_name
from dsgmigd.request import Request
from dsgmigd.results import Results, write_beside
from dsgmigd.spool_place import check_own_directory, check_place, check_renaming
from dsgmigd.submitter import describe_owner, why_not_allowed
from dsgmigd.syscalls import rename_noreplace

_REQUEST = ".request"
_CLAIM = ".claim."
_SUBMIT = ".submit."
_REJECTED = "rejected"
_DEFERRAL = "deferral"
_PRIVATE = ".dsgmigd"
# A directory on which a user mounted a FUSE file system of his own is closed even to root.
_OUT_OF_REACH = frozenset({errno.ENOENT, errno.EACCES, errno.ENOTCONN})


class Spool:
    """One spool directory as one instance sees it; instance 0 only submits and looks."""

    def __init__(self, directory: str, instance: int = 0) -> None:
        self.directory = directory
        self.instance = instance
        self._private = os.path.join(directory, _PRIVATE)
        self.control = Control(os.path.join(self._private, "control"))
        self.work_directory = os.path.join(self._private, "work")
        self._rejected = os.path.join(directory, _REJECTED)
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

    def lock_repository(self, repo: RepoName) -> Lock | None:
        """Take the repository's lock; None if somebody has it."""
        return try_lock(os.path.join(self._private, "locks", repo))

    def lock_instance(self) -> Lock:
        """Take this instance's number; raise AlreadyRunning if another process has it."""
        lock = try_lock(self._instance_path(self.instance, "lock"))
        if lock is None:
            raise AlreadyRunning(
                f"instance {self.instance} runs already on {self.directory}",
                hint="stop it, or start an instance with another number",
            )
        return lock

    def is_instance_alive(self, instance: int) -> bool:
        """Say whether a process has that instance number now."""
        path = self._instance_path(instance, "lock")
        lock = try_lock(path) if os.path.exists(path) else None
        if lock is not None:
            lock.release()
        return lock is None and os.path.exists(path)

    def _instance_path(self, instance: int, ending: str) -> str:
        return os.path.join(self._private, "instances", f"{instance}.{ending}")

    # What lies in the spool.

    def incoming(self) -> list[str]:
        """Return the names before `.request`, oldest arrival first, whatever they are."""
        found = []
        for name in os.listdir(self.directory):
            if name.endswith(_REQUEST):
                status = _look_at(f"{self.directory}/{name}")
                if status is not None:
                    found.append((status.st_ctime_ns, name.removesuffix(_REQUEST)))
        return [name for _, name in sorted(found)]

    def claims(self) -> list[tuple[RepoName, int]]:
        """Return (repository, instance) of every claim; what only has the name of one is none."""
        found = []
        for name in os.listdir(self.directory):
            repo, _, instance = name.rpartition(_CLAIM)
            if repo and instance.isdecimal() and _is_regular(self._path(repo, _CLAIM + instance)):
                with contextlib.suppress(InvalidName):
                    found.append((parse_repo_name(repo), int(instance)))
        return sorted(found)

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
        """Drop a request; False if one for `repo` waits already."""
        self.check()
        document = options.to_json()
        body = json.dumps(document).encode() if document else b""
        temporary = os.path.join(self.directory, f"{_SUBMIT}{uuid.uuid4().hex}")
        try:
            write_durably(temporary, body, 0o644)
            rename_noreplace(temporary, self._path(repo, _REQUEST))
        except FileExistsError:
            return False
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        sync_directory(self.directory)
        return True

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
            owner = describe_owner(os.lstat(self._path(name, _REQUEST)))
        except FileNotFoundError:
            return None
        return Unclaimable(name, None, error.message, error.hint, owner)

    def _claim_locked(self, repo: RepoName, lock: Lock) -> Claim | Unclaimable | None:
        path = self._path(repo, _REQUEST)
        try:
            refused = why_no_request(path, repo, os.lstat(path))
            if refused is not None:
                return refused
            if self._has_claim(repo) or is_being_written(path):
                return None
            claimed = self._path(repo, f"{_CLAIM}{self.instance}")
            self._put_aside_unless_regular(claimed)
            rename_noreplace(path, claimed)
            sync_directory(self.directory)
            return self._open_claim(repo, claimed, lock)
        except (FileNotFoundError, FileExistsError):
            return None

    def _has_claim(self, repo: RepoName) -> bool:
        # The spool may hold very many files, so it is not listed: who ever claimed has a number.
        return any(_is_regular(self._path(repo, f"{_CLAIM}{number}")) for number in self._numbers())

    def _numbers(self) -> set[int]:
        """Return the number of every instance that ever ran on this spool."""
        names = os.listdir(os.path.join(self._private, "instances"))
        return {int(name.partition(".")[0]) for name in names if name.endswith(".lock")}

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
        path = self._path(repo, f"{_CLAIM}{instance}")
        own = self._path(repo, f"{_CLAIM}{self.instance}")
        self._read_record(repo, instance)  # what a newer version wrote is not touched
        try:
            if path != own:
                self._put_aside_unless_regular(own)
                rename_noreplace(path, own)
                sync_directory(self.directory)
            claim = self._open_claim(repo, own, lock)
        except (FileNotFoundError, FileExistsError):
            return None
        return None if self._finish_if_done(claim) else claim

    def _put_aside_unless_regular(self, path: str) -> None:
        """Move away what a user put in the place of a claim, unread."""
        if os.path.lexists(path) and not _is_regular(path):
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, os.path.join(self._rejected, str(uuid.uuid4())))

    def _open_claim(self, repo: RepoName, path: str, lock: Lock) -> Claim:
        content, status = _read_regular(path)
        record = own_record(repo, content, status)
        if record is None:
            # What was looked at by its name may have been exchanged before it was ours.
            refused = why_no_request(self._path(repo, _REQUEST), repo, status)
            group = os.stat(self.directory).st_gid
            refusal = why_not_allowed(status.st_uid, group)
            refusal = (refused.message, refused.hint) if refused else refusal
            record = new_record(repo, content, status, refusal)
        return Claim(repo, path, lock, record)

    def begin_attempt(self, claim: Claim, attempt: dict[str, Any]) -> None:
        """Note durably, before any work, that an attempt begins."""
        claim.attempts.append(attempt)
        claim.record.pop(_DEFERRAL, None)
        self._write_record(claim)

    def end_attempt(self, claim: Claim, ended: str) -> None:
        """Note durably that the last attempt ended in an orderly way."""
        claim.attempts[-1]["ended"] = ended
        self._write_record(claim)

    def defer(self, claim: Claim, deferral: Deferral) -> None:
        """Note durably that the last attempt failed, and when the claim is due again."""
        claim.attempts[-1] |= {"error": deferral.error, "not_before": deferral.not_before}
        claim.record[_DEFERRAL] = deferral.to_json()
        self.end_attempt(claim, DEFERRED)

    def deferral(self, repo: RepoName, instance: int) -> Deferral | None:
        """Return why that claim waits and until when; None if it does not, or is gone."""
        record = self._read_record(repo, instance)
        return Deferral.from_json(record.get(_DEFERRAL)) if record else None

    def is_begun(self, repo: RepoName, instance: int) -> bool:
        """Say whether that claim is ours by its record: any file may have the name of one."""
        return self._read_record(repo, instance) is not None

    def deferrals(self) -> list[tuple[RepoName, Deferral]]:
        """Return what waits for its target, as far as the reader may see it."""
        found = []
        for repo, instance in self.claims():
            with contextlib.suppress(PermissionError, StateTooNew):
                found.append((repo, self.deferral(repo, instance)))
        return [(repo, deferral) for repo, deferral in found if deferral]

    def end_deferral(self, repo: RepoName) -> bool:
        """Let the claim of `repo` be due now; False if it does not wait, or is worked on."""
        lock = self.lock_repository(repo)
        if lock is None:
            return False
        try:
            for claimed, instance in self.claims():
                record = self._read_record(repo, instance) if claimed == repo else None
                if record and record.pop(_DEFERRAL, None):
                    path = self._path(repo, f"{_CLAIM}{instance}")
                    self._write_record(Claim(repo, path, lock, record))
                    return True
            return False
        finally:
            lock.release()

    def _read_record(self, repo: RepoName, instance: int) -> dict[str, Any] | None:
        """Return the record of a claim; None if it has none yet, or is gone."""
        try:
            return own_record(repo, *_read_regular(self._path(repo, f"{_CLAIM}{instance}")))
        except FileNotFoundError:
            return None

    def _write_record(self, claim: Claim) -> None:
        temporary = os.path.join(self.work_directory, f"{claim.repo}.claim.{self.instance}")
        write_durably(temporary, json.dumps(claim.record).encode(), RECORD_MODE)
        self._put_aside_unless_regular(claim.path)  # until now the file may be a user's
        os.rename(temporary, claim.path)
        sync_directory(self.directory)

    # Taking out, while `control.held()`.

    def claimed_request_id(self, repo: RepoName) -> str | None:
        """Return the id of the claimed request: None without a claim, "" if none is noted yet."""
        for claimed, instance in self.claims():
            if claimed == repo:
                record = self._read_record(repo, instance)  # None too if it ends at this moment
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
            instance = dict(self.claims())[repo]
            return self._withdraw(repo, self._path(repo, f"{_CLAIM}{instance}"))
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
        return new_record(repo, *_read_regular(path))

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
        with contextlib.suppress(FileNotFoundError):
            os.unlink(claim.path)
        sync_directory(self.directory)

    def _finish_if_done(self, claim: Claim) -> bool:
        """Finish what a crash left between result and claim: True if that was all."""
        if self.results.of_request(claim.repo, claim.request_id) is None:
            return False
        self.results.show_again(claim.repo, claim.request_id)
        os.unlink(claim.path)
        sync_directory(self.directory)
        return True

    def reject_claim(self, claim: Claim, result: dict[str, Any]) -> None:
        """Publish the result of a claim whose body is no request; keep the body aside.

        May be repeated from any point.
        """
        aside = os.path.join(self._rejected, f"{claim.repo}.{claim.request_id}")
        self.results.publish(claim.repo, claim.request_id, result)
        with contextlib.suppress(FileNotFoundError):
            os.rename(claim.path, aside)
        sync_directory(self.directory)

    def reject(self, refused: Unclaimable, result: dict[str, Any]) -> bool:
        """Move away, unread, what can never be a request, and publish why.

        False if another instance did so already. A name that is no repository's has its result
        beside what was moved.
        """
        request_id = result["request_id"]
        aside = os.path.join(self._rejected, request_id)
        try:
            os.rename(self._path(refused.name, _REQUEST), aside)
        except FileNotFoundError:
            return False
        sync_directory(self.directory)
        if refused.repo is not None:
            self.results.publish(refused.repo, request_id, result)
        else:
            write_beside(aside, result)
        return True

    # What instances say of themselves.

    def write_status(self, status: dict[str, Any]) -> None:
        """Say what this instance does; a hint for people, so not durable."""
        temporary = os.path.join(self.work_directory, f"status.{self.instance}")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(status, file)
        os.rename(temporary, self._instance_path(self.instance, "json"))

    def read_statuses(self) -> dict[int, dict[str, Any]]:
        """Return what each living instance said last."""
        statuses = {}
        with contextlib.suppress(FileNotFoundError):
            for number in sorted(self._numbers()):
                if self.is_instance_alive(number):
                    statuses[number] = read_json(self._instance_path(number, "json"))
        return {number: status for number, status in statuses.items() if status}


def _read_regular(path: str) -> tuple[bytes, os.stat_result]:
    with open(open_regular(path), "rb") as file:
        return file.read(RECORD_LIMIT_BYTES), os.fstat(file.fileno())


def _is_regular(path: str) -> bool:
    status = _look_at(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def _look_at(path: str) -> os.stat_result | None:
    """Return what lstat says; None if nothing is there, or what is closed even to root."""
    try:
        return os.lstat(path)
    except OSError as error:
        if error.errno in _OUT_OF_REACH:
            return None
        raise
