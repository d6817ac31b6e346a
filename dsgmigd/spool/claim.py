"""A request that an instance has claimed, and which files may become one.

Raises: InvalidRequest (from `Claim.options`), OSError when the spool's file system fails.
"""

import errno
import fcntl
import os
import stat
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dsgmigd.errors import InvalidRequest
from dsgmigd.host.locks import Lock
from dsgmigd.host.regular import open_regular
from dsgmigd.names import RepoName
from dsgmigd.request import BODY_LIMIT_BYTES, Request
from dsgmigd.spool.claim_record import DEFERRED, Attempt, ClaimRecord, count_last_waits
from dsgmigd.spool.deferral import Deferral
from dsgmigd.spool.submitter import describe_owner

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
    """A claimed request, under the repository's lock; `record` goes into the claim file."""

    repo: RepoName
    path: str
    lock: Lock
    record: ClaimRecord

    @property
    def request_id(self) -> str:
        """Return the unique id of this request."""
        return self.record.request_id

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Return the attempts that are recorded; the worker of one without `ended` crashed."""
        return self.record.attempts

    @property
    def crashes(self) -> int:
        """Return how many attempts ended because their worker crashed."""
        return sum(attempt.ended is None for attempt in self.attempts)

    @property
    def deferral(self) -> Deferral | None:
        """Return why and until when the claim waits; None if it does not."""
        return self.record.deferral

    @property
    def times_deferred(self) -> int:
        """Return how often in a row the request was deferred before the present attempt."""
        return count_last_waits(self.attempts[:-1]) + self.record.waits_left_out

    @property
    def options(self) -> Request:
        """Return the options of the request; raise InvalidRequest if it is rejected."""
        if self.record.rejection is not None:
            raise InvalidRequest(self.record.rejection.message, hint=self.record.rejection.hint)
        return self.record.request

    def begin_attempt(self, attempt: Attempt) -> None:
        """Add an attempt, which ends the wait of the claim; nothing is written."""
        self.record = self.record.with_attempt(attempt)

    def end_attempt(self, ended: str) -> None:
        """Say how the last attempt ended; nothing is written."""
        self._change_last_attempt(ended=ended)

    def defer(self, deferral: Deferral) -> None:
        """End the last attempt and let the claim wait; nothing is written."""
        self._change_last_attempt(
            error=deferral.error, not_before=deferral.not_before, ended=DEFERRED
        )
        self.record = replace(self.record, deferral=deferral)

    def _change_last_attempt(self, **changes: Any) -> None:
        attempts = (*self.attempts[:-1], replace(self.attempts[-1], **changes))
        self.record = replace(self.record, attempts=attempts)


@dataclass(frozen=True)
class Unclaimable:
    """A file called `name`.request that can never be a request; `repo` is None for a bad name.

    The same file always has the same `request_id`, so that it is answered once even after a crash.
    """

    name: str
    repo: RepoName | None
    message: str
    hint: str
    submitted_by: Mapping[str, Any]
    request_id: str


def why_no_request(path: str, repo: RepoName, status: os.stat_result) -> Unclaimable | None:
    """Return why a file cannot be a request, judged by lstat alone: it is never opened."""
    name = os.path.basename(path)
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        what = _KINDS.get(kind, "a special file")
        message, hint = f"{name} is {what}", "a request must be a regular file: write a new one"
    elif status.st_nlink != 1:
        message = f"{name} has {status.st_nlink} hard links"
        hint = "a request must be a file of its own: write a new one instead of a link"
    elif status.st_size > BODY_LIMIT_BYTES:
        message = f"{name} has {status.st_size} bytes"
        hint = f"a request may have at most {BODY_LIMIT_BYTES} bytes"
    else:
        return None
    return unclaimable(repo, repo, (message, hint), status)


def unclaimable(
    name: str, repo: RepoName | None, refusal: tuple[str, str], status: os.stat_result
) -> Unclaimable:
    """Return the refusal of the file with that status; `refusal` is a message and a hint."""
    # A name may hold any bytes, as lone surrogates that cannot be encoded.
    identity = f"{name!a} {status.st_dev} {status.st_ino} {status.st_ctime_ns}"
    request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, identity))
    return Unclaimable(name, repo, *refusal, describe_owner(status), request_id)


def is_being_written(path: str) -> bool:
    """Say whether a process has the file open for writing (fcntl(2), leases)."""
    descriptor = open_regular(path)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        # Without leases on this file system only the parser can detect an incomplete body.
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False
