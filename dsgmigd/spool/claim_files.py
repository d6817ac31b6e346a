"""The claims in a spool's directory, and the record that each holds from its first attempt on.

    REPO.claim.I    the request for REPO, taken by instance I

Whoever may write to the spool may put anything under such a name: what is no regular file is moved
aside, unread, and a record is believed only if it is ours (see dsgmigd.claim).

Leaving errors: StateTooNew, OSError when the spool's file system fails.
"""

import contextlib
import errno
import json
import os
import stat
import uuid
from typing import Any

from dsgmigd.claim import DEFERRED, RECORD_LIMIT_BYTES, RECORD_MODE, Claim, own_record
from dsgmigd.deferral import Deferral
from dsgmigd.durable import open_regular, sync_directory, write_durably
from dsgmigd.errors import InvalidName
from dsgmigd.names import RepoName, parse_repo_name

DEFERRAL = "deferral"

_CLAIM = ".claim."
# A directory on which a user mounted a FUSE file system of his own is closed even to root.
_OUT_OF_REACH = frozenset({errno.ENOENT, errno.EACCES, errno.ENOTCONN})


class ClaimRecords:
    """The claims in the spool `directory`, as one instance writes them."""

    def __init__(self, directory: str, *, work: str, aside: str, instance: int) -> None:
        self._directory = directory
        self._work = work
        self._aside = aside
        self._instance = instance

    def path(self, repo: RepoName | str, instance: int | str) -> str:
        """Return where the claim of `repo` by `instance` is."""
        return os.path.join(self._directory, f"{repo}{_CLAIM}{instance}")

    def claims(self) -> list[tuple[RepoName, int]]:
        """Return (repository, instance) of every claim; what only has the name of one is none."""
        found = []
        for name in os.listdir(self._directory):
            repo, _, instance = name.rpartition(_CLAIM)
            if repo and instance.isdecimal() and is_regular(self.path(repo, instance)):
                with contextlib.suppress(InvalidName):
                    found.append((parse_repo_name(repo), int(instance)))
        return sorted(found)

    def begin_attempt(self, claim: Claim, attempt: dict[str, Any]) -> None:
        """Note durably, before any work, that an attempt begins."""
        claim.attempts.append(attempt)
        claim.record.pop(DEFERRAL, None)
        self.write(claim)

    def end_attempt(self, claim: Claim, ended: str) -> None:
        """Note durably that the last attempt ended in an orderly way."""
        claim.attempts[-1]["ended"] = ended
        self.write(claim)

    def defer(self, claim: Claim, deferral: Deferral) -> None:
        """Note durably that the last attempt failed, and when the claim is due again."""
        claim.attempts[-1] |= {"error": deferral.error, "not_before": deferral.not_before}
        claim.record[DEFERRAL] = deferral.to_json()
        self.end_attempt(claim, DEFERRED)

    def deferral(self, repo: RepoName, instance: int) -> Deferral | None:
        """Return why that claim waits and until when; None if it does not, or is gone."""
        record = self.read(repo, instance)
        return Deferral.from_json(record.get(DEFERRAL)) if record else None

    def is_begun(self, repo: RepoName, instance: int) -> bool:
        """Say whether that claim is ours by its record: any file may have the name of one."""
        return self.read(repo, instance) is not None

    def read(self, repo: RepoName, instance: int) -> dict[str, Any] | None:
        """Return the record of a claim; None if it has none yet, or is gone."""
        try:
            return own_record(repo, *read_regular(self.path(repo, instance)))
        except FileNotFoundError:
            return None

    def write(self, claim: Claim) -> None:
        """Replace what the claim file holds by the claim's record; it is on disk."""
        temporary = os.path.join(self._work, f"{claim.repo}.claim.{self._instance}")
        write_durably(temporary, json.dumps(claim.record).encode(), RECORD_MODE)
        self.put_aside_unless_regular(claim.path)  # until now the file may be a user's
        os.rename(temporary, claim.path)
        sync_directory(self._directory)

    def put_aside_unless_regular(self, path: str) -> None:
        """Move away what a user put in the place of a claim, unread."""
        if os.path.lexists(path) and not is_regular(path):
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, os.path.join(self._aside, str(uuid.uuid4())))


def read_regular(path: str) -> tuple[bytes, os.stat_result]:
    """Return what a regular file holds, and whose it is; FileNotFoundError for anything else."""
    with open(open_regular(path), "rb") as file:
        return file.read(RECORD_LIMIT_BYTES), os.fstat(file.fileno())


def is_regular(path: str) -> bool:
    """Say whether a regular file is there, and no link to one."""
    status = look_at(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def look_at(path: str) -> os.stat_result | None:
    """Return what lstat says; None if nothing is there, or what is closed even to root."""
    try:
        return os.lstat(path)
    except OSError as error:
        if error.errno in _OUT_OF_REACH:
            return None
        raise
