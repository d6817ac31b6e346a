"""Check every place where an interrupted request may have left something, and clean up on request.

A repository is checked, and cleaned, while this process holds its lock and it has no claim: then no
request works on it, and none will resume what is there. All instances that work on this source or
this target must share this spool, because the locks are in it.

Raises: SpoolUnusable, OSError when the spool's file system fails. A source or a target that
cannot be checked is one of the `problems` of the findings.
"""

import contextlib
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Protocol

from dsgmigd.errors import DsgmigdError
from dsgmigd.host.command import Commands
from dsgmigd.maintenance.doctor.datasets import DatasetPlace
from dsgmigd.maintenance.doctor.differing import DifferingPlace
from dsgmigd.maintenance.doctor.leftover import Findings, Leftover, Treatment
from dsgmigd.maintenance.doctor.pins import PinPlace
from dsgmigd.maintenance.doctor.spool_files import TemporaryPlace
from dsgmigd.names import DatasetName, RepoName
from dsgmigd.spool.spool import Spool
from dsgmigd.target.zfs import RunsCommands


class Place(Protocol):
    """A location where an interrupted request may have left something."""

    def repositories(self) -> set[RepoName]:
        """Return the repositories that have something there."""

    def unowned(self) -> list[Leftover]:
        """Return what is there and belongs to no repository."""

    def find(self, repo: RepoName) -> list[Leftover]:
        """Return what is there of `repo`; the caller knows that no request works on it."""

    def remove(self, leftover: Leftover) -> None:
        """Remove a leftover that was found there and that dsgmigd made."""


MakesPlace = Callable[[RunsCommands], Place]


class RunsWithLock(Protocol):
    """Makes what runs programs; each of these inherits the descriptors, and so holds the lock."""

    def __call__(self, *, keep_descriptors: tuple[int, ...]) -> RunsCommands:
        """Return what runs programs with these descriptors."""


class Doctor:
    """Checks one spool with its source and its target."""

    def __init__(
        self,
        spool: Spool,
        *,
        source_root: str,
        parent: DatasetName,
        area: str,
        commands: RunsWithLock = Commands,
    ) -> None:
        self._spool = spool
        self._commands = commands
        self._places: tuple[MakesPlace, ...] = (
            lambda _: PinPlace(source_root, spool.identity()),
            lambda run: DatasetPlace(run, parent, area),
            lambda run: DifferingPlace(run, parent),
            lambda _: TemporaryPlace(spool),
        )
        self._leftovers: list[Leftover] = []
        self._problems: list[str] = []

    def examine(self, treatments: Collection[Treatment] = ()) -> Findings:
        """Remove the leftovers with one of these treatments; return all that were found."""
        self._spool.prepare()
        self._leftovers, self._problems = [], []
        reachable: list[MakesPlace] = []
        repositories: set[RepoName] = set()
        for make in self._places:
            place = make(self._commands(keep_descriptors=()))
            try:
                repositories |= place.repositories()
                unowned = place.unowned()
            except DsgmigdError as error:
                if error.message not in self._problems:  # two places may be in one pool
                    self._problems.append(error.message)
                continue
            reachable.append(make)
            self._leftovers += [
                _treat(place, leftover, treatments)
                for leftover in self._without_used_probes(unowned)
            ]
        for repo in sorted(repositories):
            self._visit(repo, reachable, treatments)
        return Findings(tuple(self._leftovers), tuple(self._problems))

    def _without_used_probes(self, unowned: list[Leftover]) -> list[Leftover]:
        """Drop the probes if a repository may have been in work when they were listed.

        A request that uses a probe took its lock before the listing. If the lock is free now, the
        request has removed its probe or was killed; a later request uses another name.
        """
        if any(one.kind == "probe" for one in unowned) and self._try_locks():
            return [one for one in unowned if one.kind != "probe"]
        return unowned

    def _try_locks(self) -> bool:
        """Take and release the lock of each repository; return whether one of them is held."""
        for repo in self._spool.repositories():
            lock = self._spool.lock_repository(repo)
            if lock is None:
                return True
            lock.release()
        return False

    def _visit(
        self, repo: RepoName, reachable: list[MakesPlace], treatments: Collection[Treatment]
    ) -> None:
        lock = self._spool.lock_repository(repo)
        if lock is None:
            self._note_foreign(repo, reachable)
            return
        try:
            # While this lock is held, no other process takes or ends a claim.
            if self._spool.records.claims_of(repo):
                self._note_foreign(repo, reachable)
                return
            commands = self._commands(keep_descriptors=(lock.descriptor,))
            for make in reachable:
                self._clean(repo, make(commands), treatments)
        finally:
            lock.release()

    def _clean(self, repo: RepoName, place: Place, treatments: Collection[Treatment]) -> None:
        try:
            found = self._without_awaited(place.find(repo), repo)
        except DsgmigdError as error:
            self._problems.append(f"{repo}: {error.message}")
            return
        self._leftovers += [_treat(place, leftover, treatments) for leftover in found]

    def _note_foreign(self, repo: RepoName, reachable: list[MakesPlace]) -> None:
        """Note foreign objects only: the rest is in use, and may disappear during the check."""
        commands = self._commands(keep_descriptors=())
        for make in reachable:
            with contextlib.suppress(DsgmigdError):
                found = make(commands).find(repo)
                self._leftovers += [leftover for leftover in found if leftover.kind == "foreign"]

    def _without_awaited(self, found: list[Leftover], repo: RepoName) -> list[Leftover]:
        """Drop the staging dataset if a request in the spool is going to continue it."""
        if repo in self._spool.waiting():
            return [leftover for leftover in found if leftover.kind != "staging"]
        return found


def _treat(place: Place, leftover: Leftover, treatments: Collection[Treatment]) -> Leftover:
    if leftover.treatment not in treatments:
        return leftover
    try:
        place.remove(leftover)
    except DsgmigdError as error:
        return replace(leftover, error=error.message)
    return replace(leftover, is_removed=True)
