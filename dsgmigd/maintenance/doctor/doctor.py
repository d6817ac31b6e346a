"""Go through all places where a dead request may have left something, and clean up if asked to.

A repository is judged, and cleaned, while its lock is ours and it has no claim: then nobody works
on it, and nobody is going to take up what is there. Whoever works on the same source or the same
target must share this spool, for the locks are in it.

Leaving errors: SpoolUnusable, OSError when the spool's file system fails. A source or a target that
cannot be looked at is a line in the findings.
"""

import contextlib
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Protocol

from dsgmigd.command import Commands
from dsgmigd.doctor.datasets import DatasetPlace
from dsgmigd.doctor.leftover import Findings, Leftover, Treatment
from dsgmigd.doctor.pins import PinPlace
from dsgmigd.doctor.temporaries import TemporaryPlace
from dsgmigd.errors import DsgmigdError
from dsgmigd.names import DatasetName, RepoName
from dsgmigd.spool import Spool
from dsgmigd.zfs.dataset import RunsCommands


class Place(Protocol):
    """Somewhere where something may be left."""

    def repositories(self) -> set[RepoName]:
        """Return the repositories of which something is there."""

    def strangers(self) -> list[Leftover]:
        """Return what is there and belongs to no repository."""

    def find(self, repo: RepoName) -> list[Leftover]:
        """Return what is there of `repo`, as if nobody worked on it."""

    def remove(self, leftover: Leftover) -> None:
        """Remove something of ours that was found there."""


MakesPlace = Callable[[RunsCommands], Place]


class RunsWithLock(Protocol):
    """Makes what runs programs, so that they hold a lock for as long as they live."""

    def __call__(self, *, keep_descriptors: tuple[int, ...]) -> RunsCommands:
        """Return it."""


class Doctor:
    """Examines one spool with its source and its target."""

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
            lambda _: PinPlace(source_root),
            lambda run: DatasetPlace(run, parent, area),
            lambda _: TemporaryPlace(spool),
        )
        self._leftovers: list[Leftover] = []
        self._problems: list[str] = []

    def examine(self, treatments: Collection[Treatment] = ()) -> Findings:
        """Return what is left over, after removing what is to be treated as `treatments` say."""
        self._spool.prepare()
        self._leftovers, self._problems = [], []
        reachable: list[MakesPlace] = []
        repositories: set[RepoName] = set()
        for make in self._places:
            place = make(self._commands(keep_descriptors=()))
            try:
                repositories |= place.repositories()
                strangers = place.strangers()
            except DsgmigdError as error:
                self._problems.append(error.message)
                continue
            reachable.append(make)
            self._leftovers += [
                _treat(place, stranger, treatments) for stranger in self._without_living(strangers)
            ]
        for repo in sorted(repositories):
            self._visit(repo, reachable, treatments)
        return Findings(tuple(self._leftovers), tuple(self._problems))

    def _without_living(self, strangers: list[Leftover]) -> list[Leftover]:
        """Drop the probes if a repository was at work when they were listed.

        A living probe's lock was taken before the listing. Whoever does not hold it any more has
        removed his probe, or is dead; a later probe has another name.
        """
        if any(one.kind == "probe" for one in strangers) and not self._is_nobody_at_work():
            return [one for one in strangers if one.kind != "probe"]
        return strangers

    def _is_nobody_at_work(self) -> bool:
        for repo in self._spool.repositories():
            lock = self._spool.lock_repository(repo)
            if lock is None:
                return False
            lock.release()
        return True

    def _visit(
        self, repo: RepoName, reachable: list[MakesPlace], treatments: Collection[Treatment]
    ) -> None:
        lock = self._spool.lock_repository(repo)
        if lock is None:
            self._look_on(repo, reachable)
            return
        try:
            # Under this lock nobody else takes or ends a claim.
            if any(repo == claimed for claimed, _ in self._spool.records.claims()):
                self._look_on(repo, reachable)
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

    def _look_on(self, repo: RepoName, reachable: list[MakesPlace]) -> None:
        """Note only what is nobody's: the rest is in use, and may vanish while it is looked at."""
        commands = self._commands(keep_descriptors=())
        for make in reachable:
            with contextlib.suppress(DsgmigdError):
                found = make(commands).find(repo)
                self._leftovers += [leftover for leftover in found if leftover.kind == "foreign"]

    def _without_awaited(self, found: list[Leftover], repo: RepoName) -> list[Leftover]:
        """Drop the staging dataset that a request in the spool is going to go on with."""
        if repo in self._spool.incoming():
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
