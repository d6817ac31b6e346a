"""The record that a claim file holds: request id, options, owner and attempts.

A new claim gets its record from the bytes of the request, which are parsed once, here. From the
first attempt on the record is in the claim file. It is believed only in a file that nobody but the
daemon's user can have written.

Raises: StateTooNew.
"""

import hashlib
import json
import os
import stat
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import takewhile
from typing import Any

from dsgmigd.errors import InvalidRequest, StateTooNew
from dsgmigd.names import RepoName, is_request_id
from dsgmigd.request import BODY_LIMIT_BYTES, Request, parse_request, request_from_mapping
from dsgmigd.spool.deferral import Deferral
from dsgmigd.spool.submitter import describe_owner

RECORD_MODE = 0o600
RECORD_LIMIT_BYTES = 16 * BODY_LIMIT_BYTES
DEFERRED = "deferred"
# A request may be retried for a year, or be stopped with every boot; its record is read whole.
_KEPT_ATTEMPTS = 50

_VERSION_KEY = "dsgmigd_claim"
_VERSION = 1


@dataclass(frozen=True)
class Rejection:
    """Why a claimed request is rejected, and what its submitter can do."""

    message: str
    hint: str


@dataclass(frozen=True)
class Attempt:
    """One attempt on a claim; without `ended` its worker crashed.

    `started_at` and `not_before` are wall-clock times for people.
    """

    instance: int
    pid: int | None = None
    started_at: str | None = None
    error: Mapping[str, str] | None = None
    not_before: str | None = None
    ended: str | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Attempt":
        """Return the attempt that a record holds."""
        return cls(
            instance=document["instance"],
            pid=document.get("pid"),
            started_at=document.get("started_at"),
            error=document.get("error"),
            not_before=document.get("not_before"),
            ended=document.get("ended"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the attempt as records and results hold it."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class ClaimRecord:
    """What is known of a claimed request.

    `rejection` is set if the file was no valid request: then `request` has no options.
    `submitted_at` is the file's modification time in seconds; its owner may have set it.
    `attempts` lacks the oldest ones if there were many: `attempts_left_out` counts them, and
    `waits_left_out` those of them that belong to the waits since the last other attempt.
    """

    request_id: str
    repo: RepoName
    request: Request
    rejection: Rejection | None
    submitted_by: Mapping[str, Any]
    submitted_at: float | None
    body_sha256: str
    attempts: tuple[Attempt, ...] = field(default=())
    deferral: Deferral | None = None
    attempts_left_out: int = 0
    waits_left_out: int = 0

    def with_attempt(self, attempt: Attempt) -> "ClaimRecord":
        """Return the record at the beginning of an attempt, without the oldest if there are many.

        Attempts that crashed always stay: they are counted.
        """
        waits_left_out = self.waits_left_out if count_last_waits(self.attempts) else 0
        ended = [index for index, one in enumerate(self.attempts) if one.ended is not None]
        if len(ended) < _KEPT_ATTEMPTS:
            attempts, left_out = self.attempts, 0
        else:
            oldest, left_out = ended[0], 1
            # Everything after it was a wait: it is one of those that are counted.
            is_last_wait = count_last_waits(self.attempts) >= len(self.attempts) - oldest
            waits_left_out += is_last_wait
            attempts = (*self.attempts[:oldest], *self.attempts[oldest + 1 :])
        return replace(
            self,
            attempts=(*attempts, attempt),
            deferral=None,
            attempts_left_out=self.attempts_left_out + left_out,
            waits_left_out=waits_left_out,
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "ClaimRecord":
        """Return the record that a claim file holds."""
        request, rejection = Request(), None
        if document["rejection"] is not None:
            rejection = Rejection(document["rejection"], document["rejection_hint"])
        else:
            try:
                request = request_from_mapping(document["options"])
            except InvalidRequest as error:  # written by a version with other options
                rejection = Rejection(error.message, error.hint)
        return cls(
            request_id=str(document["request_id"]),
            repo=document["repo"],
            request=request,
            rejection=rejection,
            submitted_by=document["submitted_by"],
            submitted_at=document.get("submitted_at"),
            body_sha256=document["body_sha256"],
            attempts=tuple(map(Attempt.from_json, document["attempts"])),
            deferral=Deferral.from_json(document.get("deferral")),
            attempts_left_out=document.get("attempts_left_out", 0),
            waits_left_out=document.get("waits_left_out", 0),
        )

    def to_json(self) -> dict[str, Any]:
        """Return what the claim file holds."""
        document = {
            _VERSION_KEY: _VERSION,
            "request_id": self.request_id,
            "repo": self.repo,
            "options": self.request.to_json(),
            "rejection": self.rejection.message if self.rejection else None,
            "rejection_hint": self.rejection.hint if self.rejection else None,
            "submitted_by": dict(self.submitted_by),
            "submitted_at": self.submitted_at,
            "body_sha256": self.body_sha256,
            "attempts": [attempt.to_json() for attempt in self.attempts],
        }
        if self.deferral:
            document["deferral"] = self.deferral.to_json()
        if self.attempts_left_out:
            document["attempts_left_out"] = self.attempts_left_out
            document["waits_left_out"] = self.waits_left_out
        return document

    def submission(self) -> dict[str, Any]:
        """Return what a result repeats: who owned the file, and the hash of what was read."""
        return {"submitted_by": dict(self.submitted_by), "body_sha256": self.body_sha256}


def count_last_waits(attempts: Sequence[Attempt]) -> int:
    """Return how many attempts at the end were deferred in a row."""
    return len(list(takewhile(lambda one: one.ended == DEFERRED, reversed(attempts))))


def new_record(
    repo: RepoName, body: bytes, status: os.stat_result, refusal: tuple[str, str] | None = None
) -> ClaimRecord:
    """Return the first record of a claim: the options in `body`, and the owner of the file.

    `refusal`, a message and a hint, rejects it whatever the body says.
    """
    request, rejection = Request(), Rejection(*refusal) if refusal else None
    if rejection is None:
        try:
            request = parse_request(body)
        except InvalidRequest as error:
            rejection = Rejection(error.message, error.hint)
    return ClaimRecord(
        request_id=str(uuid.uuid4()),
        repo=repo,
        request=request,
        rejection=rejection,
        submitted_by=describe_owner(status),
        submitted_at=status.st_mtime,
        body_sha256=hashlib.sha256(body).hexdigest(),
    )


def is_own_record_file(status: os.stat_result) -> bool:
    """Say whether nobody but the daemon's user can have written a file."""
    return status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == RECORD_MODE


def own_record(repo: RepoName, content: bytes, status: os.stat_result) -> ClaimRecord | None:
    """Return the record of a claim of `repo` in `content`; None unless dsgmigd wrote it.

    Raises StateTooNew if a newer version wrote it.
    """
    if not is_own_record_file(status):
        return None
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    version = document.get(_VERSION_KEY) if isinstance(document, dict) else None
    if not isinstance(version, int):
        return None
    if version > _VERSION:
        raise StateTooNew(
            f"a claim has a record of version {version}; this dsgmigd reads up to {_VERSION}",
            hint="a newer dsgmigd began this request: let that version finish it",
        )
    # Where users may make hard links of any file, this may be the record of another claim.
    if document.get("repo") != repo or not is_request_id(document.get("request_id")):
        return None
    return ClaimRecord.from_json(document)
