"""A request in somebody's hands: what may be claimed, and the record that a claim file holds.

The record is ours alone: it is believed only in a file that nobody but this daemon's user can have
written.

Leaving errors: InvalidRequest (from `Claim.options`), StateTooNew, OSError when the
spool's file system fails.
"""

import errno
import fcntl
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, cast

from dsgmigd.deferral import Deferral
from dsgmigd.durable import open_regular
from dsgmigd.errors import InvalidRequest, StateTooNew
from dsgmigd.locks import Lock
from dsgmigd.names import RepoName
from dsgmigd.request import BODY_LIMIT_BYTES, Request, parse_request, request_from_mapping
from dsgmigd.submitter import describe_owner

RECORD_MODE = 0o600
DEFERRED = "deferred"
RECORD_LIMIT_BYTES = 16 * BODY_LIMIT_BYTES

_RECORD_KEY = "dsgmigd_claim"
_RECORD_VERSION = 1
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
    def deferral(self) -> Deferral | None:
        """Until when it waits, and why; None if it does not."""
        return Deferral.from_json(self.record.get("deferral"))

    @property
    def times_deferred(self) -> int:
        """How often in a row it was put off before the present attempt."""
        return len(list(takewhile(_was_deferred, reversed(self.attempts[:-1]))))

    @property
    def options(self) -> Request:
        """What is asked for; raises InvalidRequest if the body did not say."""
        if self.record["rejection"] is not None:
            raise InvalidRequest(self.record["rejection"], hint=self.record["rejection_hint"])
        return request_from_mapping(self.record["options"])


def _was_deferred(attempt: dict[str, Any]) -> bool:
    return attempt.get("ended") == DEFERRED


@dataclass(frozen=True)
class Unclaimable:
    """A file called `name`.request that can never be a request; `repo` is None for a bad name.

    Its `request_id` is always the same: who finds it again after a crash answers it once.
    """

    name: str
    repo: RepoName | None
    message: str
    hint: str
    submitted_by: Mapping[str, Any]
    request_id: str


def new_record(
    repo: RepoName, body: bytes, status: os.stat_result, refusal: tuple[str, str] | None = None
) -> dict[str, Any]:
    """Return the first record of a claim: what `body` asks for, and whose file it was.

    `refusal`, a message and a hint, rejects it whatever the body says.
    """
    options: dict[str, Any] = {}
    rejection, hint = refusal or (None, None)
    try:
        options = {} if refusal else parse_request(body).to_json()
    except InvalidRequest as error:
        rejection, hint = error.message, error.hint
    return {
        _RECORD_KEY: _RECORD_VERSION,
        "request_id": str(uuid.uuid4()),
        "repo": repo,
        "options": options,
        "rejection": rejection,
        "rejection_hint": hint,
        "submitted_by": describe_owner(status),
        "submitted_at": status.st_mtime,
        "body_sha256": hashlib.sha256(body).hexdigest(),
        "attempts": [],
    }


def submission(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result repeats of a record: whose file it was, and what was read of it."""
    return {key: record[key] for key in ("submitted_by", "body_sha256")}


def why_no_request(path: str, repo: RepoName, status: os.stat_result) -> Unclaimable | None:
    """Say why a file cannot be a request, from what lstat says: it is never opened."""
    name = os.path.basename(path)
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        what = _KINDS.get(kind, "a special file")
        message, hint = f"{name} is {what}", "a request is a regular file"
    elif status.st_nlink != 1:
        message = f"{name} has {status.st_nlink} hard links"
        hint = "a request is a file of its own: write a new one, do not link"
    elif status.st_size > BODY_LIMIT_BYTES:
        message = f"{name} has {status.st_size} bytes"
        hint = f"a request has at most {BODY_LIMIT_BYTES} bytes"
    else:
        return None
    return unclaimable(repo, repo, (message, hint), status)


def unclaimable(
    name: str, repo: RepoName | None, refusal: tuple[str, str], status: os.stat_result
) -> Unclaimable:
    """Return the file of that status as one that is refused, by a message and a hint."""
    # A name may be any bytes, which stand in it as lone surrogates that no encoding takes.
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
        # Without leases on this file system the parser has to tell a whole body from a half.
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False


def own_record(repo: RepoName, content: bytes, status: os.stat_result) -> dict[str, Any] | None:
    """Return the record of a claim of `repo` in `content`, if only we can have written it.

    Raises StateTooNew if a newer version of ours did.
    """
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != RECORD_MODE:
        return None
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        return None
    version = record.get(_RECORD_KEY) if isinstance(record, dict) else None
    if not isinstance(version, int):
        return None
    if version > _RECORD_VERSION:
        raise StateTooNew(
            f"a claim has version {version} of the record, known is {_RECORD_VERSION}",
            hint="a newer dsgmigd began this request: let that one end it",
        )
    # Where users may make hard links of any file, one of another claim may stand here.
    return cast("dict[str, Any]", record) if record.get("repo") == repo else None
