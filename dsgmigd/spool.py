"""The spool: one flat directory, and every path, rename and unlink in it.

    REPO.request       a request: an empty file or a JSON object
    REPO.claim.I       the same request, taken by instance I; from its first attempt on it holds
                       our own record: request id, options, attempts
    REPO.result.json   the newest result of REPO; it repeats the request id and the options
    rejected/          what could not be a request, unread
    .dsgmigd/          ours: locks/REPO, instances/I, results/REPO.ID.json (all results), work/

The legal states of a repository, and what recovery does with them:

    request                        incoming: claim it
    claim, lock taken              somebody works on it; a request beside it is the next run
    claim, lock free               its worker is dead: adopt it
    claim, result of the same id   done: only the claim is removed
    result                         done

A claim is worked on under the repository's lock. The lock is a flock, and its descriptor is
inherited by every child that touches the dataset, so the kernel frees it when the last of them is
gone; nothing is judged by age or process number. The directory is the truth, events are hints.

Leaving errors: SpoolUnusable, InvalidRequest (from `Claim.options`), AlreadyRunning, OSError when
the spool's file system fails.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import uuid
from dataclasses import dataclass, field
from typing import Any

from dsgmigd.durable import READ_SAFELY, read_json, sync_directory, write_durably
from dsgmigd.errors import AlreadyRunning, InvalidName, InvalidRequest, SpoolUnusable
from dsgmigd.locks import Lock, try_lock
from dsgmigd.names import RepoName, parse_repo_name
from dsgmigd.request import BODY_LIMIT_BYTES, Request, parse_request, request_from_mapping
from dsgmigd.syscalls import rename_noreplace

_REQUEST = ".request"
_CLAIM = ".claim."
_RESULT = ".result.json"
_REJECTED = "rejected"
_PRIVATE = ".dsgmigd"
_RECORD_KEY = "dsgmigd_claim"
_RECORD_VERSION = 1
_RECORD_MODE = 0o600
_RECORD_LIMIT_BYTES = 16 * BODY_LIMIT_BYTES
_RESULT_MODE = 0o644
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass
class Claim:
    """A request in our hands. `record` is what the claim file holds once it is ours."""

    repo: RepoName
    path: str
    lock: Lock
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def request_id(self) -> str:
        """What tells this request from every other."""
        return str(self.record["request_id"])

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Every attempt so far; one without `ended` died."""
        attempts: list[dict[str, Any]] = self.record["attempts"]
        return attempts

    @property
    def crashes(self) -> int:
        """How many attempts ended without a word."""
        return sum("ended" not in attempt for attempt in self.attempts)

    @property
    def options(self) -> Request:
        """What is asked for; raises InvalidRequest if the body did not say."""
        if self.record["rejection"] is not None:
            raise InvalidRequest(self.record["rejection"], hint=self.record["rejection_hint"])
        return request_from_mapping(self.record["options"])


class Spool:
    """One spool directory as one instance sees it; instance 0 only submits and looks."""

    def __init__(self, directory: str, instance: int = 0) -> None:
        self.directory = directory
        self._instance = instance
        self._private = os.path.join(directory, _PRIVATE)

    def check(self) -> None:
        """Raise SpoolUnusable if there is no spool."""
        if not os.path.isdir(self.directory):
            raise SpoolUnusable(
                f"the spool directory {self.directory} does not exist",
                hint=f"make it: install -d -m 3730 -g dsgmigd {self.directory}",
            )

    def prepare(self, *, is_made_if_missing: bool = False) -> None:
        """Make what is ours in the spool; raise SpoolUnusable if that cannot be.

        A spool that has to be made is for root alone: its locks are needed even without a queue.
        """
        if not is_made_if_missing:
            self.check()
        try:
            os.makedirs(self.directory, 0o700, exist_ok=True)
            for name, mode in (
                (_PRIVATE, 0o755),
                (f"{_PRIVATE}/locks", 0o700),
                (f"{_PRIVATE}/work", 0o700),
                (f"{_PRIVATE}/instances", 0o755),
                (f"{_PRIVATE}/results", 0o755),
                (_REJECTED, 0o755),
            ):
                path = os.path.join(self.directory, name)
                os.makedirs(path, mode, exist_ok=True)
                os.chmod(path, mode, follow_symlinks=False)
        except (OSError, NotImplementedError) as error:
            raise SpoolUnusable(
                f"cannot use the spool {self.directory}: {error}",
                hint="it must be a local directory that dsgmigd may write",
            ) from error

    # Locks.

    def lock_repository(self, repo: RepoName) -> Lock | None:
        """Take the repository's lock; None if somebody has it."""
        return try_lock(os.path.join(self._private, "locks", repo))

    def lock_instance(self) -> Lock:
        """Take this instance's number; raise AlreadyRunning if another process has it."""
        lock = try_lock(self._instance_path(self._instance, "lock"))
        if lock is None:
            raise AlreadyRunning(
                f"instance {self._instance} runs already on {self.directory}",
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
        with os.scandir(self.directory) as entries:
            found = []
            for entry in entries:
                if entry.name.endswith(_REQUEST):
                    with contextlib.suppress(FileNotFoundError):
                        arrived = entry.stat(follow_symlinks=False).st_ctime_ns
                        found.append((arrived, entry.name.removesuffix(_REQUEST)))
        return [name for _, name in sorted(found)]

    def claims(self) -> list[tuple[RepoName, int]]:
        """Return (repository, instance) of every claim."""
        found = []
        for name in os.listdir(self.directory):
            repo, _, instance = name.rpartition(_CLAIM)
            if repo and instance.isdecimal():
                with contextlib.suppress(InvalidName):
                    found.append((parse_repo_name(repo), int(instance)))
        return sorted(found)

    def read_result(self, repo: RepoName) -> dict[str, Any] | None:
        """Return the newest result of `repo`."""
        return read_json(self._path(repo, _RESULT))

    def _path(self, repo: str, ending: str) -> str:
        return os.path.join(self.directory, repo + ending)

    # Submitting.

    def submit(self, repo: RepoName, options: Request) -> bool:
        """Drop a request; False if one for `repo` waits already."""
        self.check()
        document = options.to_json()
        body = json.dumps(document).encode() if document else b""
        temporary = os.path.join(self.directory, f".submit.{uuid.uuid4().hex}")
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

    def claim(self, name: str) -> "Claim | Unclaimable | None":
        """Take the request `name`, if it is one and free now.

        None: somebody was quicker, works on that repository, or still writes the file.
        """
        try:
            repo = parse_repo_name(name)
        except InvalidName as error:
            return Unclaimable(name, None, error.message, error.hint)
        lock = self.lock_repository(repo)
        if lock is None:
            return None
        claim = self._claim_locked(repo, lock)
        if not isinstance(claim, Claim):
            lock.release()
        return claim

    def _claim_locked(self, repo: RepoName, lock: Lock) -> "Claim | Unclaimable | None":
        path = self._path(repo, _REQUEST)
        try:
            refused = _why_no_request(repo, repo, os.lstat(path))
            if refused is not None:
                return refused
            if self._has_claim(repo) or _is_being_written(path):
                return None
            claimed = self._path(repo, f"{_CLAIM}{self._instance}")
            rename_noreplace(path, claimed)
        except (FileNotFoundError, FileExistsError):
            return None
        sync_directory(self.directory)
        return self._open_claim(repo, claimed, lock)

    def _has_claim(self, repo: RepoName) -> bool:
        return any(claimed == repo for claimed, _ in self.claims())

    def adopt(self, repo: RepoName, instance: int) -> Claim | None:
        """Take over a claim of a dead worker, or an own one of an earlier run.

        None if its worker lives, or if it was done and only had to be cleaned up.
        """
        lock = self.lock_repository(repo)
        if lock is None:
            return None
        path = self._path(repo, f"{_CLAIM}{instance}")
        own = self._path(repo, f"{_CLAIM}{self._instance}")
        try:
            if path != own:
                rename_noreplace(path, own)
                sync_directory(self.directory)
            claim = self._open_claim(repo, own, lock)
        except (FileNotFoundError, FileExistsError):
            lock.release()
            return None
        if self._finish_if_done(claim):
            lock.release()
            return None
        return claim

    def _open_claim(self, repo: RepoName, path: str, lock: Lock) -> Claim:
        descriptor = os.open(path, READ_SAFELY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            content = file.read(_RECORD_LIMIT_BYTES)
        claim = Claim(repo, path, lock)
        claim.record = _own_record(content, status) or self._new_record(repo, content, status)
        return claim

    def _new_record(self, repo: RepoName, body: bytes, status: os.stat_result) -> dict[str, Any]:
        options: dict[str, Any] = {}
        rejection = hint = None
        try:
            options = parse_request(body).to_json()
        except InvalidRequest as error:
            rejection, hint = error.message, error.hint
        return {
            _RECORD_KEY: _RECORD_VERSION,
            "request_id": str(uuid.uuid4()),
            "repo": repo,
            "options": options,
            "rejection": rejection,
            "rejection_hint": hint,
            "submitted_by_uid": status.st_uid,
            "submitted_at": status.st_mtime,
            "body_sha256": hashlib.sha256(body).hexdigest(),
            "attempts": [],
        }

    def begin_attempt(self, claim: Claim, attempt: dict[str, Any]) -> None:
        """Note durably, before any work, that an attempt begins."""
        claim.attempts.append(attempt)
        self._write_record(claim)

    def end_attempt(self, claim: Claim, ended: str) -> None:
        """Note durably that the last attempt ended in an orderly way."""
        claim.attempts[-1]["ended"] = ended
        self._write_record(claim)

    def _write_record(self, claim: Claim) -> None:
        temporary = os.path.join(self._private, "work", f"{claim.repo}.claim.{self._instance}")
        write_durably(temporary, json.dumps(claim.record).encode(), _RECORD_MODE)
        os.rename(temporary, claim.path)
        sync_directory(self.directory)

    # Ending.

    def finish(self, claim: Claim, result: dict[str, Any]) -> None:
        """Publish the result of a claim, then remove the claim.

        The result is on disk under its own name before the newest-result name moves; a name that
        a user occupied with a directory keeps only the former.
        """
        self._publish_result(claim.repo, claim.request_id, result)
        os.unlink(claim.path)
        sync_directory(self.directory)

    def _publish_result(self, repo: RepoName, request_id: str, result: dict[str, Any]) -> None:
        kept = self._kept_result(repo, request_id)
        temporary = os.path.join(self._private, "work", f"{repo}.result.{self._instance}")
        write_durably(temporary, _to_json(result), _RESULT_MODE)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, kept)
        sync_directory(os.path.dirname(kept))
        self._show_result(repo, temporary)

    def _show_result(self, repo: RepoName, temporary: str) -> None:
        try:
            os.rename(temporary, self._path(repo, _RESULT))
        except IsADirectoryError:
            os.unlink(temporary)
        sync_directory(self.directory)

    def _kept_result(self, repo: RepoName, request_id: str) -> str:
        return os.path.join(self._private, "results", f"{repo}.{request_id}.json")

    def _finish_if_done(self, claim: Claim) -> bool:
        """Finish what a crash left between result and claim: True if that was all."""
        kept = self._kept_result(claim.repo, claim.request_id)
        if read_json(kept) is None:
            return False
        shown = self.read_result(claim.repo)
        if shown is None or shown.get("request_id") != claim.request_id:
            temporary = os.path.join(self._private, "work", f"{claim.repo}.show.{self._instance}")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            os.link(kept, temporary)
            self._show_result(claim.repo, temporary)
        os.unlink(claim.path)
        sync_directory(self.directory)
        return True

    def reject_claim(self, claim: Claim, result: dict[str, Any]) -> None:
        """Publish the result of a claim whose body is no request; keep the body aside."""
        aside = os.path.join(self.directory, _REJECTED, f"{claim.repo}.{claim.request_id}")
        self._publish_result(claim.repo, claim.request_id, result)
        os.rename(claim.path, aside)
        sync_directory(self.directory)

    def reject(self, refused: "Unclaimable", result: dict[str, Any]) -> bool:
        """Move away, unread, what can never be a request, and publish why.

        False if another instance did so already. A name that is no repository's has its result
        beside what was moved.
        """
        request_id = result["request_id"]
        aside = os.path.join(self.directory, _REJECTED, request_id)
        try:
            os.rename(self._path(refused.name, _REQUEST), aside)
        except FileNotFoundError:
            return False
        sync_directory(self.directory)
        if refused.repo is not None:
            self._publish_result(refused.repo, request_id, result)
        else:
            write_durably(aside + _RESULT, _to_json(result), _RESULT_MODE)
        return True

    # What instances say of themselves.

    def write_status(self, status: dict[str, Any]) -> None:
        """Say what this instance does; a hint for people, so not durable."""
        temporary = os.path.join(self._private, "work", f"status.{self._instance}")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(status, file)
        os.rename(temporary, self._instance_path(self._instance, "json"))

    def read_statuses(self) -> dict[int, dict[str, Any]]:
        """Return what each living instance said last."""
        statuses = {}
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(os.path.join(self._private, "instances")):
                number, _, ending = name.partition(".")
                if ending == "json" and number.isdecimal() and self.is_instance_alive(int(number)):
                    statuses[int(number)] = read_json(self._instance_path(int(number), ending))
        return {number: status for number, status in sorted(statuses.items()) if status}


@dataclass(frozen=True)
class Unclaimable:
    """A file called `name`.request that can never be a request; `repo` is None for a bad name."""

    name: str
    repo: RepoName | None
    message: str
    hint: str


def _why_no_request(name: str, repo: RepoName, status: os.stat_result) -> Unclaimable | None:
    """Say why a file cannot be a request, from what lstat says: it is never opened."""
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        what = _KINDS.get(kind, "a special file")
        message, hint = f"{name}{_REQUEST} is {what}", "a request is a regular file"
    elif status.st_nlink != 1:
        message = f"{name}{_REQUEST} has {status.st_nlink} hard links"
        hint = "a request is a file of its own: write a new one, do not link"
    elif status.st_size > BODY_LIMIT_BYTES:
        message = f"{name}{_REQUEST} has {status.st_size} bytes"
        hint = f"a request has at most {BODY_LIMIT_BYTES} bytes"
    else:
        return None
    return Unclaimable(name, repo, message, hint)


def _is_being_written(path: str) -> bool:
    """Say whether a process has the file open for writing (fcntl(2), leases)."""
    descriptor = os.open(path, READ_SAFELY)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        # Without leases on this file system the parser has to tell a whole body from a half.
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False


def _own_record(content: bytes, status: os.stat_result) -> dict[str, Any] | None:
    """Return the claim record in `content`, if only we can have written it."""
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != _RECORD_MODE:
        return None
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get(_RECORD_KEY) != _RECORD_VERSION:
        return None
    return record


def _to_json(result: dict[str, Any]) -> bytes:
    return json.dumps(result, indent=1).encode() + b"\n"
