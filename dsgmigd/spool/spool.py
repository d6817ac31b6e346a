"""The spool: one flat directory, the parts of it, and the locks of the repositories.

    REPO.request       a request: an empty file or a JSON object
    REPO.claim.I       the same request, claimed by instance I; from its first attempt on it holds
                       a record: request id, options, attempts (see dsgmigd.spool.claim_record)
    REPO.result.json   the newest result of REPO; it repeats the request id and the options (see
                       dsgmigd.spool.results)
    REPO.verified.json the last result in which snapshots were verified
    rejected/          files that could not be requests, unread (see dsgmigd.spool.rejected)
    .dsgmigd/          private: locks/REPO, instances/I, results/ (all results, and the ledger:
                       see dsgmigd.spool.ledger), work/, control/ (see dsgmigd.spool.control),
                       identity: the UUID of this spool

The legal states of a repository, and what recovery does with them:

    request                        waiting: claim it
    claim, lock taken              being worked on; a request beside it is the next run
    claim, lock free               its worker crashed: adopt it
    claim of an instance that      no claim, unless it has a record of dsgmigd: left where it is
      never ran here
    claim, lock free, deferred     retrying: left until it is due
    claim, result of the same id   done: the ledger gets its line, if it lacks it, and the claim is
                                   removed
    result                         done

Operators add these states, with REPO.cancel and REPO.ID.withdrawn in control/:

    request, REPO or all paused    waiting: left where it is
    claim, paused                  continues; a paused instance adopts only its own claims
    claim, cancel of the same id   cancel requested: ended as `cancelled`, also after an adoption
    cancel, no claim of that id    done before it could be cancelled: the cancel is removed
    withdrawn                      withdrawn from the spool: its result `cancelled` is published
    withdrawn, result of its id    done: shown unless a newer result is, then it is removed

A claim is worked on under the repository's lock. The lock is a flock, and every child that touches
the dataset inherits its descriptor, so the kernel releases it when the last of them is gone;
nothing is judged by age or process number. The directory is the truth, events are hints.

The transitions are functions in dsgmigd.spool.submission, claiming and withdrawal.

Raises: SpoolUnusable, OSError when the spool's file system fails.
"""

import contextlib
import errno
import os
import time

from dsgmigd.errors import SpoolUnusable
from dsgmigd.host.locks import Lock, try_lock
from dsgmigd.names import RepoName
from dsgmigd.spool.claim_files import ClaimRecords, look_at, skipping_failures
from dsgmigd.spool.control import Control
from dsgmigd.spool.file_names import is_submission_name, parse_request_name
from dsgmigd.spool.identity import make_identity, read_identity
from dsgmigd.spool.instances import Instances
from dsgmigd.spool.layout import SpoolLayout
from dsgmigd.spool.ledger import Ledger
from dsgmigd.spool.location import (
    check_directory,
    check_own_directory,
    check_place,
    check_renaming,
)
from dsgmigd.spool.results import Results

_TICK_SECONDS = 0.05


class Spool:
    """One spool directory as one instance sees it; instance 0 only submits and looks."""

    def __init__(self, directory: str, instance: int = 0) -> None:
        self.directory = directory
        self.instance = instance
        self.layout = SpoolLayout(directory)
        self.control = Control(self.layout)
        self.instances = Instances(self.layout, instance)
        self.records = ClaimRecords(self.layout, instance, self.instances.numbers)
        self.results = Results(self.layout, instance)
        self.ledger = Ledger(self.layout, instance)

    def check(self) -> None:
        """Raise SpoolUnusable if the directory does not exist."""
        check_directory(self.directory)

    def check_place(self) -> str | None:
        """Return a warning about the location of the spool; raise SpoolUnusable if unsafe."""
        self.check()
        return check_place(self.directory)

    def check_usable(self) -> str | None:
        """Check everything that `prepare` refuses, and make nothing; return its warning.

        Raises SpoolUnusable.
        """
        warning = self.check_place()
        try:
            for path, _ in self.layout.own_directories():
                if os.path.lexists(path):
                    check_own_directory(path)
        except OSError as error:
            raise self._unusable(error) from error
        place = self.layout.work if os.path.isdir(self.layout.work) else self.directory
        if os.access(place, os.W_OK | os.X_OK):
            check_renaming(place)
        return warning

    def prepare(self, *, is_made_if_missing: bool = False) -> str | None:
        """Make dsgmigd's own directories in the spool; return a warning, see `check_place`.

        A spool that this makes is for root alone: `dsgmigd migrate` needs its locks even without a
        queue. Raises SpoolUnusable; PermissionError for a user who is not the daemon's.
        """
        try:
            if is_made_if_missing:
                os.makedirs(self.directory, 0o700, exist_ok=True)
            warning = self.check_place()
            self._check_permission()
            for path, mode in self.layout.own_directories():
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, mode)
                check_own_directory(path)
                os.chmod(path, mode)
            check_renaming(self.layout.work)
            make_identity(self.layout)
        except OSError as error:
            if isinstance(error, PermissionError) and os.geteuid() != 0:
                raise  # the spool is in order: this command must be run as root
            raise self._unusable(error) from error
        return warning

    def identity(self) -> str:
        """Return the UUID of this spool, which is prepared; what it made elsewhere carries it."""
        return read_identity(self.layout)

    def _check_permission(self) -> None:
        """Raise PermissionError for a user who is not the daemon's: he makes no directories here.

        A member of the spool's group could make them, and then no instance would use them.
        """
        if os.geteuid() in {0, os.stat(self.directory).st_uid} and os.access(
            self.directory, os.R_OK
        ):
            return
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.directory)

    def _unusable(self, error: OSError) -> SpoolUnusable:
        return SpoolUnusable(
            f"cannot use the spool {self.directory}: {error}",
            hint="it must be a local directory that dsgmigd may write to",
        )

    def lock_repository(self, repo: RepoName, *, patience_seconds: float = 0) -> Lock | None:
        """Take the repository's lock; None if another process holds it for that long."""
        path = self.layout.lock(repo)
        deadline = time.monotonic() + patience_seconds
        while (lock := try_lock(path)) is None and time.monotonic() < deadline:
            time.sleep(_TICK_SECONDS)
        return lock

    def waiting(self) -> list[str]:
        """Return the names before `.request`, valid or not, oldest arrival first."""
        return [name for _, name in sorted(self.arrivals())]

    def arrivals(self) -> list[tuple[int, str]]:
        """Return (arrival in nanoseconds, name before `.request`) of every request, unordered."""
        found = []
        for file_name in os.listdir(self.directory):
            name = parse_request_name(file_name)
            if name is not None:
                with skipping_failures():
                    status = look_at(self.layout.request(name))
                    if status is not None:
                        found.append((status.st_ctime_ns, name))
        return found

    def repositories(self) -> list[RepoName]:
        """Return every repository that any instance ever worked on."""
        return [RepoName(name) for name in os.listdir(self.layout.locks)]

    def submissions(self) -> list[str]:
        """Return the paths of requests that are being submitted."""
        names = sorted(filter(is_submission_name, os.listdir(self.directory)))
        return [os.path.join(self.directory, name) for name in names]
