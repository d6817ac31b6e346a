"""Datasets that dead requests left below the target parent.

Ours carry the property `request`; what does not, and whatever somebody hung on ours, is never
touched. A staging dataset is work that a migration goes on with, so it goes only by explicit wish.

Leaving errors: those of dsgmigd.zfs, TargetUnwritable.
"""

import os
import re

from dsgmigd.doctor.leftover import Leftover, foreign
from dsgmigd.errors import InvalidName, TargetBusy, TargetMissing, TargetUnwritable
from dsgmigd.marks import KEYS, REQUEST, VERIFIED
from dsgmigd.names import DatasetName, RepoName, parse_repo_name
from dsgmigd.places import Places
from dsgmigd.probe import PROBE_PREFIX, is_probe, remove_probe
from dsgmigd.request import VERIFY_STRENGTH
from dsgmigd.zfs.dataset import Dataset, RunsCommands, Zfs
from dsgmigd.zfs.pool import check_pool

_REPLACED = re.compile(r"(.+)-([0-9]{8}T[0-9]{6}Z)")


class DatasetPlace:
    """The area of one target parent in which everything is built."""

    def __init__(self, commands: RunsCommands, parent: DatasetName, area: str) -> None:
        self._commands = commands
        self._zfs = Zfs(commands)
        self._parent = parent
        self._area = area

    def repositories(self) -> set[RepoName]:
        """Return the repositories that have a view or a staging dataset, living or dead."""
        self._check_parent()
        names = [*self._children("views"), *self._children("staging")]
        return {repo for repo in map(_repository, names) if repo}

    def strangers(self) -> list[Leftover]:
        """Return what is no repository's, or is kept for its own sake."""
        found = [
            foreign(f"{self._area}/{part}/{name}", "no repository can have this name")
            for part in ("views", "staging")
            for name in self._children(part)
            if not _repository(name)
        ]
        return [*found, *self._replaced(), *self._probes()]

    def find(self, repo: RepoName) -> list[Leftover]:
        """Return the view and the staging dataset of `repo`."""
        places = Places(self._parent, self._area, repo)
        found = []
        view = self._zfs.read(places.view, KEYS)
        if view is not None:
            found.append(self._judge_view(view, repo))
        staging = self._zfs.read(places.staging, KEYS)
        if staging is not None:
            found.append(self._judge_staging(staging, places))
        return found

    def remove(self, leftover: Leftover) -> None:
        """Remove a view, a staging dataset with its snapshots, or a probe."""
        if leftover.kind == "probe":
            try:
                remove_probe(leftover.where)
            except OSError as error:
                raise TargetUnwritable(
                    f"cannot remove {leftover.where}: {error.strerror}", hint="try: rm"
                ) from error
        elif leftover.kind == "view":
            self._zfs.destroy(leftover.where)
        elif leftover.repo is not None:
            self._discard(Places(self._parent, self._area, leftover.repo))

    def _discard(self, places: Places) -> None:
        staging = self._zfs.read(places.staging, KEYS)
        if self._zfs.read(places.view, ()) is not None:
            raise TargetBusy(f"{places.view} may show a snapshot of it", hint="look at the view")
        # First of all, so that a dataset that somebody uses stays whole.
        self._zfs.unmount(places.staging)
        for snapshot in reversed(staging.snapshots if staging else ()):
            self._zfs.destroy(f"{places.staging}@{snapshot.name}")
        self._zfs.destroy(places.staging)

    def _check_parent(self) -> None:
        check_pool(self._commands, self._parent)
        if self._zfs.read(self._parent, ()) is None:
            raise TargetMissing(
                f"the target parent {self._parent} does not exist",
                hint=f"create it (zfs create {self._parent}), or mend [target] parent",
            )

    def _children(self, part: str) -> list[str]:
        """Return the names of the datasets in one part of the area, without what is above."""
        above = f"{self._area}/{part}"
        try:
            children = self._zfs.children(above)
        except TargetMissing:
            return []
        return [child.removeprefix(f"{above}/") for child in children]

    # Judgements.

    def _judge_view(self, view: Dataset, repo: RepoName) -> Leftover:
        why = self._why_not_ours(view)
        if why is None and (view.snapshots or view.origin is None):
            why = "a view is a clone without snapshots"
        if why is not None:
            return foreign(view.name, why)
        why = f"a request that is no more read {view.origin} through it"
        return Leftover("view", view.name, why, "remove", repo, view.properties[REQUEST])

    def _judge_staging(self, staging: Dataset, places: Places) -> Leftover:
        why = self._why_not_ours(staging)
        unmarked = [one.name for one in staging.snapshots if REQUEST not in one.properties]
        if why is None and unmarked:
            why = f"snapshots without our mark: {', '.join(unmarked)}"
        if why is not None:
            return foreign(staging.name, why)
        request_id = staging.properties[REQUEST]
        if self._is_half_published(places):
            why = f"its publication was cut off: `dsgmigd migrate {places.repo}` ends it"
            return Leftover("staging", staging.name, why, "look", places.repo, request_id)
        verified = sum(one.properties.get(VERIFIED) in VERIFY_STRENGTH for one in staging.snapshots)
        why = f"verified snapshots: {verified}; the next migration goes on after them"
        return Leftover("staging", staging.name, why, "discard", places.repo, request_id)

    def _why_not_ours(self, dataset: Dataset) -> str | None:
        if REQUEST not in dataset.properties:
            return "it carries no request"
        children = self._zfs.children(dataset.name)
        return f"it has children: {', '.join(children)}" if children else None

    def _is_half_published(self, places: Places) -> bool:
        """Say whether the old target is moved away already, and the new one not there yet.

        Either may depend on snapshots of the other, and users have neither.
        """
        if self._zfs.read(places.target, ()) is not None:
            return False
        matches = map(_REPLACED.fullmatch, self._children("replaced"))
        return any(match[1] == places.repo for match in matches if match)

    def _replaced(self) -> list[Leftover]:
        found = []
        above = f"{self._area}/replaced"
        for name in self._children("replaced"):
            full = f"{above}/{name}"
            match = _REPLACED.fullmatch(name)
            repo = _repository(match[1]) if match else None
            if match is None or repo is None:
                found.append(foreign(full, "its name is not REPO-TIME"))
                continue
            size = self._zfs.used_bytes(full) / 1e6
            why = f"the target until {match[2]}; frees {size:.1f} MB when you destroy it"
            found.append(Leftover("replaced", full, why, "keep", repo))
        return found

    def _probes(self) -> list[Leftover]:
        """Return the files by which requests tried what the target can hold."""
        staging = self._zfs.read(f"{self._area}/staging", ())
        if staging is None or not staging.is_mounted:
            return []
        try:
            names = sorted(os.listdir(staging.mountpoint))
            paths = [
                os.path.join(staging.mountpoint, name)
                for name in names
                if name.startswith(PROBE_PREFIX)
            ]
            return [probe for path in paths if (probe := _judge_probe(path))]
        except OSError as error:
            raise TargetUnwritable(
                f"cannot list {staging.mountpoint}: {error.strerror}", hint="check the pool"
            ) from error


def _repository(name: str) -> RepoName | None:
    try:
        return parse_repo_name(name)
    except InvalidName:
        return None


def _judge_probe(path: str) -> Leftover | None:
    try:
        if not is_probe(path):
            return foreign(path, "a probe is a directory of empty files")
    except FileNotFoundError:  # a living request has just removed it
        return None
    return Leftover("probe", path, "no request is at work that could have made it", "remove")
