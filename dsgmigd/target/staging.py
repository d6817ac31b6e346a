"""The staging dataset of one repository, from its creation to its publication.

Nothing is destroyed but datasets of `Places.area` that carry the property `request`, under the
repository's lock; what a power cut left half made is given it first. Marks of the snapshots say how
far the work is.

Leaving errors: those of dsgmigd.zfs and dsgmigd.file_errors, TargetChanged, TargetExists,
TargetMissing, TargetUnavailable.
"""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping

from dsgmigd.errors import TargetChanged, TargetExists, TargetMissing, TargetUnavailable
from dsgmigd.file_errors import target_errors
from dsgmigd.half_made import is_half_made
from dsgmigd.marks import ASIDE, KEYS, REQUEST, SOURCE_VERSION, VERIFIED, describe_target
from dsgmigd.names import SnapshotName
from dsgmigd.places import Places
from dsgmigd.request import VerifyLevel
from dsgmigd.zfs.dataset import Dataset, Snapshot, Zfs
from dsgmigd.zfs.mounts import mountpoint_of

# What is built is data: nobody may run it, and no device in it may be opened. Contents that were
# written are read from the disks, and not from memory, when they are verified.
_AREA_OPTIONS = {
    "devices": "off",
    "setuid": "off",
    "exec": "off",
    "atime": "off",
    "primarycache": "metadata",
}
# They stay off in what is published, unless somebody chose otherwise for the parent.
_STAY_OFF = ("devices", "setuid")
_AREA_MODE = 0o700


class Staging:
    """The datasets of one repository on behalf of one request."""

    def __init__(self, zfs: Zfs, places: Places, request_id: str) -> None:
        self._zfs = zfs
        self.places = places
        self._request_id = request_id

    # What is there.

    def check_parent(self) -> None:
        """Raise TargetMissing unless new datasets below the parent will be mounted.

        Raises TargetUnavailable if the parent is not mounted: so it is for a while after a pool is
        imported and before it is exported.
        """
        parent = self._zfs.read(self.places.parent, KEYS)
        if parent is None:
            raise TargetMissing(
                f"the target parent {self.places.parent} does not exist",
                hint=f"create it (zfs create {self.places.parent}), or mend [target] parent",
            )
        if not parent.mountpoint.startswith("/"):
            raise TargetMissing(
                f"the target parent {parent.name} has mountpoint={parent.mountpoint}",
                hint=f"set one with: zfs set mountpoint=/PATH {parent.name}",
            )
        if not parent.is_mounted:
            raise TargetUnavailable(
                f"the target parent {parent.name} is not mounted",
                hint=f"mount it with: zfs mount {parent.name} (an encrypted one after: "
                f"zfs load-key {parent.name})",
            )
        if parent.is_read_only:
            raise TargetMissing(
                f"the target parent {parent.name} is read-only",
                hint=f"let it be written: zfs set readonly=off {parent.name}, or import the pool "
                "without readonly=on",
            )

    def read_target(self) -> Dataset | None:
        """Return the published dataset, if there is one."""
        return self._zfs.read(self.places.target, KEYS)

    def read_staging(self) -> Dataset | None:
        """Return the staging dataset, if there is one."""
        return self._zfs.read(self.places.staging, KEYS)

    def read_chain(self, dataset: Dataset) -> list[Snapshot]:
        """Return the snapshots of `dataset`, with those that it has from the target by cloning.

        A clone of anything else than the target, or of a target that was moved aside, has no past
        that we can build on.
        """
        if dataset.origin is None:
            return list(dataset.snapshots)
        owner, _, last = dataset.origin.partition("@")
        if owner != self.places.target and not owner.startswith(self.places.replaced("")):
            return []
        past = self._zfs.read(owner, KEYS)
        names = [snapshot.name for snapshot in past.snapshots] if past else []
        if past is None or last not in names:
            return []
        return [*past.snapshots[: names.index(last) + 1], *dataset.snapshots]

    # Building.

    def prepare_area(self) -> None:
        """Create the area below the parent, closed to everybody else."""
        self._zfs.provide(self.places.area, _AREA_OPTIONS)
        # An older version made it with fewer options, or a power cut took them.
        sources = self._zfs.sources(self.places.area, tuple(_AREA_OPTIONS))
        for key, value in _AREA_OPTIONS.items():
            if sources[key] != "local":
                self._zfs.set_option(self.places.area, key, value)
        with target_errors(f"closing {self.places.area} to others"):
            os.chmod(self._mountpoint(self.places.area), _AREA_MODE)
        for part in ("staging", "views", "replaced"):
            self._zfs.provide(f"{self.places.area}/{part}", {})

    def create(self) -> str:
        """Make an empty staging dataset in place of what is there; return its mountpoint."""
        self.discard()
        self._zfs.create(self.places.staging, self._options(), {REQUEST: self._request_id})
        return self._mountpoint(self.places.staging)

    def clone_target(self, snapshot: SnapshotName) -> str:
        """Make the staging dataset a clone of the target; return its mountpoint."""
        self.discard()
        self._zfs.clone(
            f"{self.places.target}@{snapshot}",
            self.places.staging,
            self._options(),
            {REQUEST: self._request_id},
        )
        return self._mountpoint(self.places.staging)

    def _options(self) -> dict[str, str]:
        """Return what is set on the dataset itself, and stays when it is published."""
        sources = self._zfs.sources(self.places.parent, _STAY_OFF)
        return {key: "off" for key in _STAY_OFF if sources[key] == "default"}

    def resume(self, snapshot: SnapshotName) -> str:
        """Roll the staging dataset of a dead request back to `snapshot`; return its mountpoint."""
        dataset = self._own(self.places.staging)
        names = [one.name for one in dataset.snapshots]
        if str(snapshot) not in names:
            raise TargetChanged(
                f"{dataset.name} has no snapshot of its own to go back to: @{snapshot}",
                hint=f"look at it, then destroy it: zfs destroy -r {dataset.name}",
            )
        self._zfs.set_property(dataset.name, REQUEST, self._request_id)
        self._drop_view()  # it may show a snapshot that has to go
        for name in reversed(names[names.index(str(snapshot)) + 1 :]):
            self._zfs.destroy(f"{dataset.name}@{name}")
        self._zfs.unmount(dataset.name)
        self._zfs.rollback(f"{dataset.name}@{snapshot}")
        self._zfs.mount(dataset.name)
        return self._mountpoint(dataset.name)

    def retreat(self, snapshot: SnapshotName | None) -> None:
        """Give back the space of what was written after `snapshot`; without it, of everything."""
        dataset = self._own(self.places.staging)
        if snapshot is not None and any(one.name == str(snapshot) for one in dataset.snapshots):
            self.resume(snapshot)
        else:
            self.discard()

    def discard(self) -> None:
        """Destroy the staging dataset and the view, if they are there and ours."""
        for name in (self.places.view, self.places.staging):
            if self._zfs.read(name, KEYS) is not None:
                dataset = self._own(name)
                for snapshot in reversed(dataset.snapshots):
                    self._zfs.destroy(f"{name}@{snapshot.name}")
                self._zfs.destroy(name)

    def snapshot(self, name: SnapshotName, properties: Mapping[str, str]) -> None:
        """Make the snapshot `name` of staging, carrying `properties`."""
        self._zfs.snapshot(
            f"{self.places.staging}@{name}", {REQUEST: self._request_id, **properties}
        )

    def drop_snapshot(self, name: SnapshotName) -> None:
        """Destroy a snapshot of staging that turned out not to be like its source."""
        self._own(self.places.staging)
        self._zfs.destroy(f"{self.places.staging}@{name}")

    def mark_verified(self, dataset: str, name: SnapshotName, level: VerifyLevel) -> None:
        """Note on the snapshot itself that it was verified."""
        self._zfs.set_property(f"{dataset}@{name}", VERIFIED, level)

    def mark_version(self, dataset: str, name: SnapshotName, version: int) -> None:
        """Note on the snapshot itself which version of its source it was compared with."""
        self._zfs.set_property(f"{dataset}@{name}", SOURCE_VERSION, str(version))

    @contextlib.contextmanager
    def view(self, dataset: str, snapshot: SnapshotName) -> Iterator[str]:
        """Give a directory in which `dataset`@`snapshot` can be read."""
        make = functools.partial(
            self._zfs.clone,
            f"{dataset}@{snapshot}",
            self.places.view,
            {"readonly": "on"},
            {REQUEST: self._request_id},
        )
        try:
            make()
        except TargetExists:
            self._drop_view()
            make()
        try:
            yield self._mountpoint(self.places.view)
        finally:
            self._zfs.destroy(self.places.view)

    def _drop_view(self) -> None:
        """Destroy the view that a dead request left, if there is one."""
        if self._zfs.read(self.places.view, KEYS) is not None:
            self._own(self.places.view)
            self._zfs.destroy(self.places.view)

    def owner_of(self, snapshot: SnapshotName) -> str:
        """Return which dataset owns a snapshot of staging's chain: staging, or its origin's."""
        dataset = self._own(self.places.staging)
        if any(one.name == str(snapshot) for one in dataset.snapshots) or dataset.origin is None:
            return dataset.name
        return dataset.origin.partition("@")[0]

    def made_snapshot(self, name: SnapshotName) -> Snapshot:
        """Return the snapshot `name` of staging's chain."""
        chain = self.read_chain(self._own(self.places.staging))
        return next(snapshot for snapshot in chain if snapshot.name == str(name))

    def area_mountpoint(self) -> str:
        """Return where the parent of all staging datasets is mounted."""
        return self._mountpoint(f"{self.places.area}/staging")

    def replaced_mountpoint(self) -> str:
        """Return where replaced datasets are mounted below; only root may look in."""
        return self._mountpoint(f"{self.places.area}/replaced")

    def available_bytes(self) -> int:
        """Return how many bytes still fit below the parent."""
        return self._zfs.available_bytes(self.places.parent)

    # Publishing.

    def has_replaced(self, moment: str) -> bool:
        """Say whether a target was moved aside under the name of `moment` already."""
        return self._zfs.read(self.places.replaced(moment), KEYS) is not None

    def check_whole(self, identities: Mapping[SnapshotName, str]) -> None:
        """Raise TargetChanged unless staging holds all these snapshots, made from these sources."""
        chain = describe_target(self.read_chain(self._own(self.places.staging)))
        verified = {one.name: one.identity for one in chain.snapshots if one.is_verified}
        lost = [str(name) for name in identities if verified.get(name) != identities[name]]
        if lost:
            raise TargetChanged(
                f"somebody took verified snapshots out of {self.places.staging}: {', '.join(lost)}",
                hint="nobody else may work below the staging area; submit again to make them anew",
            )

    def publish(self, moment: str, planned: Dataset | None) -> str | None:
        """Let staging become the target; return where an older target was moved to.

        `planned` is the target as it was when the work was planned. Raises TargetExists or
        TargetChanged, before anything is moved, if another stands there now.

        Each step leaves a state from which a new plan finds the way to the end: the target is
        moved aside, a clone is promoted, and the rename that comes last is the commit.
        """
        replaced = None
        self._own(self.places.staging)
        standing = self._standing(planned)
        self._zfs.unmount(self.places.staging)
        if standing is not None:
            replaced = self.places.replaced(moment)
            self._zfs.set_property(self.places.staging, ASIDE, replaced)
            self._zfs.unmount(self.places.target)
            self._zfs.rename(self.places.target, replaced)
        if self._own(self.places.staging).origin is not None:
            self._zfs.promote(self.places.staging)
        self._zfs.rename(self.places.staging, self.places.target)
        return replaced

    def take_back(self) -> str | None:
        """Undo a publication that was cut off in the middle; return what came back, if any.

        The target was moved aside then, and nothing is in its place. It comes back with all its
        snapshots; staging keeps those that are new, as its clone if it was made from it. May be
        repeated from any point.
        """
        staging = self.read_staging()
        if staging is None or self.read_target() is not None:
            return None
        name = staging.properties.get(ASIDE, "")
        is_ours = name.startswith(self.places.replaced(""))
        aside = self._zfs.read(name, KEYS) if is_ours else None
        if aside is None:
            return None
        if aside.origin is not None and aside.origin.partition("@")[0] == staging.name:
            self._zfs.promote(aside.name)
        self._zfs.unmount(aside.name)
        self._zfs.rename(aside.name, self.places.target)
        return aside.name

    def _standing(self, planned: Dataset | None) -> Dataset | None:
        """Return what stands at the target; raise unless it is what the plan was made for."""
        standing = self.read_target()
        if standing is not None and planned is None:
            raise TargetExists(
                f"somebody made {standing.name} while it was being built",
                hint=f"move it away (zfs rename {standing.name} …) and submit again: "
                "all is built, only the publication is left",
            )
        if planned is not None and (standing is None or not _is_same(planned, standing)):
            what = "is gone" if standing is None else "is another, or lost a snapshot,"
            raise TargetChanged(
                f"{planned.name} {what} since the work was planned",
                hint="nothing was moved; look at: zfs list -t all -r, and submit again",
            )
        return standing

    def mount_target(self) -> str:
        """Mount the published dataset; return where."""
        self._zfs.mount(self.places.target)
        return self._mountpoint(self.places.target)

    def _own(self, name: str) -> Dataset:
        dataset = self._zfs.read(name, KEYS)
        if dataset is not None and is_half_made(self._zfs, dataset):
            self._zfs.set_property(name, REQUEST, self._request_id)
            dataset = self._zfs.read(name, KEYS)
        if dataset is None or REQUEST not in dataset.properties:
            raise TargetChanged(
                f"{name} is " + ("gone" if dataset is None else "not one that dsgmigd made"),
                hint="nobody else may work below the staging area; look at: zfs list -r",
            )
        return dataset

    def _mountpoint(self, name: str) -> str:
        with target_errors("reading what is mounted"):
            mountpoint = mountpoint_of(name)  # ten times quicker than to ask ZFS
        if mountpoint is not None:
            return mountpoint
        dataset = self._zfs.read(name, KEYS)
        if dataset is None or not dataset.is_mounted:
            raise TargetChanged(
                f"{name} is " + ("gone" if dataset is None else "not mounted"),
                hint="nobody else may work below the staging area; look at: zfs list -r",
            )
        return dataset.mountpoint


def _is_same(planned: Dataset, standing: Dataset) -> bool:
    """Say whether two datasets of one name are one that lost no snapshot of the series."""
    before, now = (
        [(one.name, one.created_at) for one in dataset.snapshots if SnapshotName.is_valid(one.name)]
        for dataset in (planned, standing)
    )
    return planned.guid == standing.guid and now[: len(before)] == before
