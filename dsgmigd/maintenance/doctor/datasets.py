"""Datasets and mounts that interrupted requests left below the target parent.

dsgmigd's datasets carry the property `request`. A dataset without it is never touched, nor is one
to which an administrator added a child, nor a staging dataset with a snapshot of his. A snapshot of
a read-only view holds nothing of its own, and goes with it. A snapshot that is mounted where views
are is a view, too. A staging dataset is work that a migration continues, so it is removed only if
the caller asks for that.

Raises: those of dsgmigd.target, TargetUnwritable.
"""

import os

from dsgmigd.errors import TargetBusy, TargetChanged, TargetMissing, TargetUnwritable
from dsgmigd.maintenance.doctor.leftover import Leftover, foreign, repository_called
from dsgmigd.names import DatasetName, RepoName
from dsgmigd.target.area import check_target, find_mountpoint
from dsgmigd.target.dataset import Dataset
from dsgmigd.target.layout import KEYS, REQUEST, DatasetLayout, split_replaced, view_owner
from dsgmigd.target.marks import verified_mark
from dsgmigd.target.native import MountsSnapshots
from dsgmigd.target.owned import destroy_view, destroy_with_snapshots
from dsgmigd.target.probe import PROBE_PREFIX, is_probe, remove_probe
from dsgmigd.target.snapshot_mounts import SnapshotMounts
from dsgmigd.target.zfs import RunsCommands, Zfs


class DatasetPlace:
    """The datasets in the area of one target parent."""

    def __init__(
        self,
        commands: RunsCommands,
        parent: DatasetName,
        area: str,
        mounts: MountsSnapshots | None = None,
    ) -> None:
        self._mounts = mounts or SnapshotMounts()
        self._commands = commands
        self._zfs = Zfs(commands)
        self._parent = parent
        self._area = area

    def repositories(self) -> set[RepoName]:
        """Return the repositories that have a view or a staging dataset, in use or not."""
        check_target(self._commands, self._parent, is_for_writing=False)
        views = [*self._children("views"), *map(os.path.basename, self._mounted_views())]
        names = [*map(view_owner, views), *self._children("staging")]
        return {repo for repo in map(repository_called, names) if repo}

    def unowned(self) -> list[Leftover]:
        """Return the probes, the kept targets, and what cannot belong to a repository."""
        found = [
            foreign(f"{self._area}/{part}/{name}", "no repository can have this name")
            for part in ("views", "staging")
            for name in self._children(part)
            if not repository_called(view_owner(name) if part == "views" else name)
        ]
        found += [
            foreign(place, "no repository can have this name")
            for place in self._mounted_views()
            if not repository_called(view_owner(os.path.basename(place)))
        ]
        return [*found, *self._replaced(), *self._probes()]

    def find(self, repo: RepoName) -> list[Leftover]:
        """Return the views and the staging dataset of `repo`."""
        layout = DatasetLayout(self._parent, self._area, repo)
        found = []
        for name in self._views(repo):
            view = self._zfs.read(name, KEYS)
            if view is not None:
                found.append(self._describe_view(view, repo))
        staging = self._zfs.read(layout.staging, KEYS)
        request_id = staging.properties.get(REQUEST) if staging else None
        for place, snapshot in self._mounted_views(repo).items():
            why = f"a request that no longer exists read {snapshot} through it"
            found.append(Leftover("view", place, why, "remove", repo, request_id))
        if staging is not None:
            found.append(self._describe_staging(staging, layout))
        return found

    def remove(self, leftover: Leftover) -> None:
        """Remove a view, a staging dataset with its snapshots, or a probe."""
        if leftover.kind == "probe":
            try:
                remove_probe(leftover.where)
            except OSError as error:
                raise TargetUnwritable(
                    f"cannot remove {leftover.where}: {error.strerror}",
                    hint=f"look at it; remove it by hand with: rm -r {leftover.where}",
                ) from error
        elif leftover.kind == "view" and leftover.where.startswith("/"):
            self._mounts.unmount(leftover.where)
        elif leftover.kind == "view":
            destroy_view(self._zfs, leftover.where)
        elif leftover.repo is not None:
            self._discard(DatasetLayout(self._parent, self._area, leftover.repo))

    def _discard(self, layout: DatasetLayout) -> None:
        staging = self._zfs.read(layout.staging, KEYS)
        for view in (*self._views(layout.repo), *self._mounted_views(layout.repo)):
            raise TargetBusy(f"{view} may show one of its snapshots", hint="inspect the view")
        # Before any snapshot is destroyed, so that a dataset in use stays complete.
        self._zfs.unmount(layout.staging)
        if staging is not None:
            destroy_with_snapshots(self._zfs, staging)

    def _views(self, repo: RepoName) -> list[str]:
        names = self._children("views")
        return [f"{self._area}/views/{name}" for name in names if view_owner(name) == repo]

    def _mounted_views(self, repo: RepoName | None = None) -> dict[str, str]:
        """Return the snapshots that are mounted as views, by place: all, or those of `repo`."""
        try:
            above = find_mountpoint(self._zfs, f"{self._area}/views")
        except TargetChanged:  # nothing was ever migrated
            return {}
        return {
            place: what
            for place, what in self._mounts.mounted_in(above).items()
            if "@" in what and repo in {None, view_owner(os.path.basename(place))}
        }

    def _children(self, part: str) -> list[str]:
        """Return the last parts of the names of the datasets in one part of the area."""
        above = f"{self._area}/{part}"
        try:
            children = self._zfs.children(above)
        except TargetMissing:
            return []
        return [child.removeprefix(f"{above}/") for child in children]

    # What each one is.

    def _describe_view(self, view: Dataset, repo: RepoName) -> Leftover:
        why = self._why_not_ours(view)
        if why is None and view.origin is None:
            why = "it is not a clone, as a view is"
        if why is not None:
            return foreign(view.name, why)
        why = f"a request that no longer exists read {view.origin} through it"
        return Leftover("view", view.name, why, "remove", repo, view.properties[REQUEST])

    def _describe_staging(self, staging: Dataset, layout: DatasetLayout) -> Leftover:
        why = self._why_not_ours(staging)
        unmarked = [one.name for one in staging.snapshots if REQUEST not in one.properties]
        if why is None and unmarked:
            why = f"it has snapshots that dsgmigd did not make: {', '.join(unmarked)}"
        if why is not None:
            return foreign(staging.name, why)
        request_id = staging.properties[REQUEST]
        if self._is_half_published(layout):
            why = f"its publication was interrupted: `dsgmigd migrate {layout.repo}` completes it"
            return Leftover("staging", staging.name, why, "look", layout.repo, request_id)
        verified = sum(verified_mark(one.properties) is not None for one in staging.snapshots)
        why = f"verified snapshots: {verified}; the next migration continues after them"
        return Leftover("staging", staging.name, why, "discard", layout.repo, request_id)

    def _why_not_ours(self, dataset: Dataset) -> str | None:
        if REQUEST not in dataset.properties:
            return "dsgmigd did not make it"
        children = self._zfs.children(dataset.name)
        return f"it has children: {', '.join(children)}" if children else None

    def _is_half_published(self, layout: DatasetLayout) -> bool:
        """Say whether the old target was moved away and the new one is not in its place yet.

        Each may depend on snapshots of the other, and users see neither.
        """
        if self._zfs.read(layout.target, ()) is not None:
            return False
        owners = map(split_replaced, self._children("replaced"))
        return any(owner[0] == layout.repo for owner in owners if owner)

    def _replaced(self) -> list[Leftover]:
        found = []
        above = f"{self._area}/replaced"
        for name in self._children("replaced"):
            full = f"{above}/{name}"
            owner, moment = split_replaced(name) or ("", "")
            repo = repository_called(owner)
            if repo is None:
                found.append(foreign(full, "its name is not REPO-TIME"))
                continue
            size = self._zfs.used_bytes(full) / 1e6
            why = f"the target until {moment}: `dsgmigd purge {repo} {moment}` frees {size:.1f} MB"
            found.append(Leftover("replaced", full, why, "keep", repo))
        return found

    def _probes(self) -> list[Leftover]:
        """Return the directories in which requests tested what the target can hold."""
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
            return [probe for path in paths if (probe := _describe_probe(path))]
        except OSError as error:
            raise TargetUnwritable(
                f"cannot list {staging.mountpoint}: {error.strerror}", hint="check the pool"
            ) from error


def _describe_probe(path: str) -> Leftover | None:
    try:
        if not is_probe(path):
            return foreign(path, "it is not a directory of empty files, as a probe is")
    except FileNotFoundError:  # a running request has just removed it
        return None
    why = "the request that tested the target here no longer runs"
    return Leftover("probe", path, why, "remove")
