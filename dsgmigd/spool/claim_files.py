"""The claims in a spool's directory, and the record that each holds from its first attempt on.

    REPO.claim.I    the request for REPO, claimed by instance I

Anybody who may write to the spool may put anything under such a name. What is not a regular file
is moved away, unread, and a record is believed only if dsgmigd wrote it (see
dsgmigd.spool.claim_record). A file without such a record is a claim only if instance I ever ran
here, and is served like a request: it may be one that instance I had just claimed when it crashed.

Raises: StateTooNew, OSError when the spool's file system fails.
"""

import contextlib
import errno
import json
import os
import stat
import uuid
from collections.abc import Callable, Iterator

from dsgmigd.host.durable import sync_directory, write_durably
from dsgmigd.host.file_errors import EXHAUSTED
from dsgmigd.host.log import get_logger
from dsgmigd.host.regular import open_regular
from dsgmigd.names import RepoName
from dsgmigd.spool.claim import Claim
from dsgmigd.spool.claim_record import (
    RECORD_LIMIT_BYTES,
    RECORD_MODE,
    Attempt,
    ClaimRecord,
    is_own_record_file,
    own_record,
)
from dsgmigd.spool.deferral import Deferral
from dsgmigd.spool.file_names import parse_claim_name
from dsgmigd.spool.layout import SpoolLayout
from dsgmigd.spool.rejected import move_to_rejected

# A directory on which a user mounted a FUSE file system of his own is closed even to root.
_OUT_OF_REACH = frozenset({errno.ENOENT, errno.EACCES, errno.ENOTCONN})
# What only this one name has, and no waiting ends: a user mounted a FUSE file system of his own on
# it, for example, which is closed even to root; or its inode cannot be read.
STUCK = frozenset(
    {errno.EACCES, errno.EPERM, errno.EBUSY, errno.EIO, errno.EISDIR, errno.ENOTCONN, errno.ESTALE}
)


class ClaimRecords:
    """The claims in one spool, as one instance writes them.

    `numbers` returns the number of every instance that ever ran there.
    """

    def __init__(self, layout: SpoolLayout, instance: int, numbers: Callable[[], set[int]]) -> None:
        self._layout = layout
        self._instance = instance
        self._numbers = numbers

    def path(self, repo: RepoName, instance: int) -> str:
        """Return the path of the claim of `repo` by `instance`."""
        return self._layout.claim(repo, instance)

    def claims(self) -> list[tuple[RepoName, int]]:
        """Return (repository, instance) of every claim; one that cannot be looked at is none."""
        found, numbers = [], self._numbers()
        for repo, instance in self._named_claims():
            with skipping_failures():
                if self._is_claim(repo, instance, numbers):
                    found.append((repo, instance))
        return found

    def claims_of(self, repo: RepoName) -> list[int]:
        """Return the instances with a claim of `repo`; raise OSError if one cannot be looked at."""
        numbers = self._numbers()
        return [
            instance
            for name, instance in self._named_claims()
            if name == repo and self._is_claim(repo, instance, numbers)
        ]

    def _is_claim(self, repo: RepoName, instance: int, numbers: set[int]) -> bool:
        status = look_at(self.path(repo, instance))
        if status is None or not stat.S_ISREG(status.st_mode):
            return False
        return instance in numbers or is_own_record_file(status)

    def arrivals(self) -> list[tuple[int, RepoName, int]]:
        """Return (time of its last rename in nanoseconds, repository, instance) of every claim.

        The time is 0 for a claim that has a record: it comes before all that is not begun.
        """
        found = []
        for repo, instance in self.claims():
            with skipping_failures():
                status = look_at(self.path(repo, instance))
                if status is not None:
                    arrival = 0 if is_own_record_file(status) else status.st_ctime_ns
                    found.append((arrival, repo, instance))
        return found

    def _named_claims(self) -> list[tuple[RepoName, int]]:
        return sorted(filter(None, map(parse_claim_name, os.listdir(self._layout.directory))))

    def begin_attempt(self, claim: Claim, attempt: Attempt) -> None:
        """Record durably, before any work, that an attempt begins."""
        claim.begin_attempt(attempt)
        self.write(claim)

    def end_attempt(self, claim: Claim, ended: str) -> None:
        """Record durably that the last attempt ended without a crash."""
        claim.end_attempt(ended)
        self.write(claim)

    def defer(self, claim: Claim, deferral: Deferral) -> None:
        """Record durably that the last attempt failed, and when the next one is due."""
        claim.defer(deferral)
        self.write(claim)

    def deferral(self, repo: RepoName, instance: int) -> Deferral | None:
        """Return why and until when that claim waits; None if it does not, or is gone."""
        record = self.read(repo, instance)
        return record.deferral if record else None

    def is_begun(self, repo: RepoName, instance: int) -> bool:
        """Say whether that claim has a record of dsgmigd: any file may have the name of one."""
        return self.read(repo, instance) is not None

    def read(self, repo: RepoName, instance: int) -> ClaimRecord | None:
        """Return the record of a claim; None if it has none yet, or is gone."""
        try:
            return own_record(repo, *read_regular(self.path(repo, instance)))
        except FileNotFoundError:
            return None

    def write(self, claim: Claim) -> None:
        """Replace the content of the claim file by the claim's record; it is on disk on return."""
        temporary = self._layout.work_file(claim.repo, "claim", self._instance)
        write_durably(temporary, json.dumps(claim.record.to_json()).encode(), RECORD_MODE)
        self.move_away_unless_regular(claim.path)  # until now the file may be a user's
        os.rename(temporary, claim.path)
        sync_directory(self._layout.directory)

    def move_away_unless_regular(self, path: str) -> None:
        """Move away, unread, what a user put under the name of a claim."""
        if os.path.lexists(path) and not is_regular(path):
            with contextlib.suppress(FileNotFoundError):
                move_to_rejected(self._layout, path, str(uuid.uuid4()))


def read_regular(path: str) -> tuple[bytes, os.stat_result]:
    """Return content and status of a regular file; FileNotFoundError for anything else."""
    with open(open_regular(path), "rb") as file:
        return file.read(RECORD_LIMIT_BYTES), os.fstat(file.fileno())


def is_regular(path: str) -> bool:
    """Say whether `path` is a regular file; a symbolic link to one is not."""
    status = look_at(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def look_at(path: str) -> os.stat_result | None:
    """Return what lstat says; None if nothing is there, or if even root may not look at it."""
    try:
        return os.lstat(path)
    except OSError as error:
        if error.errno in _OUT_OF_REACH:
            return None
        raise


@contextlib.contextmanager
def skipping_failures() -> Iterator[None]:
    """End the block at the failure of one name: it never ends a look at all of the spool.

    An exhausted host fails for every name, so that is raised.
    """
    try:
        yield
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise


@contextlib.contextmanager
def leaving_stuck_names() -> Iterator[None]:
    """Log a name that the block cannot remove or replace, and leave it; the next name is tried."""
    try:
        yield
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in STUCK:
            raise
        get_logger().error(
            "spool.stuck",
            name=os.path.basename(str(error.filename)),
            reason=str(error.strerror),
            hint="unmount what is mounted there, and remove it",
        )
