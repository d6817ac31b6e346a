"""The staging dataset of one repository: created, resumed, written, read through a view, destroyed.

The repository's lock must be held. Guarantees: only datasets of `DatasetLayout.area` that carry the
property `request` are destroyed, with the snapshots that others made of them, which hold nothing
else; a dataset that a power cut left half made gets the property first.
Properties of the snapshots say how far the work is.

Raises: TargetChanged, TargetExists, and those of dsgmigd.target.zfs and dsgmigd.host.file_errors.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from dsgmigd.errors import (
    DsgmigdError,
    TargetBusy,
    TargetChanged,
    TargetExists,
)
from dsgmigd.names import SnapshotName
from dsgmigd.request import VerifyLevel
from dsgmigd.target.area import Area, find_mountpoint
from dsgmigd.target.dataset import Dataset, Snapshot
from dsgmigd.target.layout import KEYS, REQUEST, VERIFIED, DatasetLayout
from dsgmigd.target.marks import Verified, mark_time
from dsgmigd.target.mounts import zfs_mounts
from dsgmigd.target.owned import Owned, destroy_with_snapshots, foreign_snapshots
from dsgmigd.target.views import Views
from dsgmigd.target.zfs import Zfs

# They stay off in what is published, unless an administrator set them on the parent.
_STAY_OFF = ("devices", "setuid")
# What snapdir=visible shows at the root.
_SNAPSHOTS = ".zfs"


class Staging:
    """The staging dataset of one repository on behalf of one request.

    `warn` is called with what other programs did to it, and what became of that.
    """

    def __init__(
        self,
        zfs: Zfs,
        layout: DatasetLayout,
        request_id: str,
        *,
        warn: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.zfs = zfs
        self.layout = layout
        self.area = Area(zfs, layout)
        self._request_id = request_id
        self._warn = warn
        self._owned = Owned(zfs, request_id)
        self._views = Views(self._owned, layout, warn)
        self._unsettled: tuple[SnapshotName, Verified] | None = None

    # What is there.

    def read_target(self) -> Dataset | None:
        """Return the published dataset, if there is one."""
        return self.zfs.read(self.layout.target, KEYS)

    def read_staging(self) -> Dataset | None:
        """Return the staging dataset, if there is one."""
        return self.zfs.read(self.layout.staging, KEYS)

    def read_chain(self, dataset: Dataset) -> list[Snapshot]:
        """Return the snapshots of `dataset`, after those of the target from which it was cloned.

        Returns none for a clone of any dataset other than the target or a kept target of this
        repository: nothing is built on such a clone.
        """
        if dataset.origin is None:
            return list(dataset.snapshots)
        owner, _, last = dataset.origin.partition("@")
        if owner != self.layout.target and not self.layout.is_replaced(owner):
            return []
        past = self.zfs.read(owner, KEYS)
        names = [snapshot.name for snapshot in past.snapshots] if past else []
        if past is None or last not in names:
            return []
        return [*past.snapshots[: names.index(last) + 1], *dataset.snapshots]

    def is_empty(self, dataset: Dataset) -> bool:
        """Say whether `dataset` has no snapshot, no child dataset and no file; False if unknown."""
        mounts = [one for one in zfs_mounts() if one.dataset == dataset.name and one.is_whole]
        if dataset.snapshots or not mounts or self.zfs.has_children(dataset.name):
            return False
        with contextlib.suppress(OSError):
            # Another file system may be mounted over it, and what is in the dataset is hidden.
            is_visible = os.stat(mounts[0].mountpoint).st_dev == mounts[0].device
            return is_visible and not {*os.listdir(mounts[0].mountpoint)} - {_SNAPSHOTS}
        return False

    # Building.

    def create(self) -> str:
        """Replace the staging dataset, if any, by an empty one; return its mountpoint."""
        self.discard()
        self.zfs.create(self.layout.staging, self._options(), {REQUEST: self._request_id})
        return find_mountpoint(self.zfs, self.layout.staging)

    def clone_target(self, snapshot: SnapshotName) -> str:
        """Replace the staging dataset, if any, by a clone of the target; return its mountpoint."""
        self.discard()
        self.zfs.clone(
            f"{self.layout.target}@{snapshot}",
            self.layout.staging,
            self._options(),
            {REQUEST: self._request_id},
        )
        return find_mountpoint(self.zfs, self.layout.staging)

    def _options(self) -> dict[str, str]:
        """Return the native properties of the dataset; it keeps them when it is published."""
        return dict.fromkeys(self.area.defaults_of_parent(_STAY_OFF), "off")

    def resume(self, snapshot: SnapshotName) -> str:
        """Roll an interrupted request's staging dataset back to `snapshot`; return its mountpoint.

        The dataset belongs to this request from then on.
        """
        dataset = self.ensure_owned(self.layout.staging)
        names = [one.name for one in dataset.snapshots]
        if str(snapshot) not in names:
            raise _nothing_to_resume(dataset.name, snapshot)
        self.zfs.set_property(dataset.name, REQUEST, self._request_id)
        self._views.drop_all()  # one may be a clone of a snapshot that is destroyed below
        self._destroy_snapshots(dataset, dataset.snapshots[names.index(str(snapshot)) + 1 :])
        self.zfs.unmount(dataset.name)
        self.zfs.rollback(f"{dataset.name}@{snapshot}")
        self.zfs.mount(dataset.name)
        return find_mountpoint(self.zfs, dataset.name)

    def roll_back(self, snapshot: SnapshotName | None) -> None:
        """Free the space of everything written after `snapshot`; of all if there is no snapshot."""
        with contextlib.suppress(DsgmigdError):  # without it, the next run verifies it again
            self.settle_mark()
        dataset = self.ensure_owned(self.layout.staging)
        if snapshot is not None and any(one.name == str(snapshot) for one in dataset.snapshots):
            self.resume(snapshot)
        else:
            self.discard()

    def discard(self) -> None:
        """Destroy the staging dataset and its views, if they exist; TargetChanged if not ours."""
        self._views.drop_all()
        self._unsettled = None
        if self.zfs.read(self.layout.staging, KEYS) is not None:
            destroy_with_snapshots(self.zfs, self.ensure_owned(self.layout.staging))

    def snapshot(self, name: SnapshotName, properties: Mapping[str, str]) -> None:
        """Create the snapshot `name` of staging with `properties`; settle the mark of the last."""
        full = f"{self.layout.staging}@{name}"
        marks = {REQUEST: self._request_id, **properties}
        try:
            self._take(full, marks)
        except TargetExists:
            dataset = self.ensure_owned(self.layout.staging)
            if not any(one.name == str(name) for one in foreign_snapshots(dataset)):
                raise
            self.zfs.destroy(full)
            self._warn(f"{full} was made by another program, and was destroyed")
            self._take(full, marks)

    def _take(self, full: str, properties: Mapping[str, str]) -> None:
        if self._unsettled is None:
            self.zfs.snapshot(full, properties)
            return
        name, mark = self._unsettled
        marked = f"{self.layout.staging}@{name}"
        self.zfs.mark_and_snapshot(marked, (VERIFIED, str(mark)), full, properties)
        self._unsettled = None

    def drop_snapshot(self, name: SnapshotName) -> None:
        """Destroy a snapshot of staging that differs from its source.

        If something keeps it, the next run does so: it has no mark that it was verified.
        """
        self.ensure_owned(self.layout.staging)
        with contextlib.suppress(TargetBusy):
            self.zfs.destroy(f"{self.layout.staging}@{name}")

    def drop_foreign_snapshots(self) -> Dataset:
        """Destroy the snapshots of staging that other programs made, and those without a name sK.

        They hold nothing but states of our work, and most of them half of one. Returns staging as
        it is then. Raises TargetBusy if something keeps one of them.
        """
        dataset = self.ensure_owned(self.layout.staging)
        foreign = _beside_the_series(dataset)
        if not foreign:
            return dataset
        self._destroy_snapshots(dataset, foreign)
        return self.ensure_owned(self.layout.staging)

    def _destroy_snapshots(self, dataset: Dataset, snapshots: Sequence[Snapshot]) -> None:
        """Destroy snapshots of staging, the newest first; warn of those that others made."""
        foreign = {one.name for one in _beside_the_series(dataset)}
        self.zfs.destroy_snapshots([f"{dataset.name}@{one.name}" for one in reversed(snapshots)])
        for one in reversed(snapshots):
            if one.name in foreign:
                self._warn(
                    f"{dataset.name}@{one.name} is not part of the series, and was destroyed"
                )

    def mark_verified(self, name: SnapshotName, level: VerifyLevel) -> None:
        """Record on the snapshot itself that it was verified at `level`, just now."""
        self._mark(name, self._mark_at(level))

    def _mark_at(self, level: VerifyLevel) -> Verified:
        return Verified(level, mark_time(time.time()), self._request_id)

    def _mark(self, name: SnapshotName, mark: Verified) -> None:
        self.zfs.set_property(f"{self.layout.staging}@{name}", VERIFIED, str(mark))

    def mark_with_next(self, name: SnapshotName, level: VerifyLevel) -> None:
        """Record it in the transaction of the next snapshot of staging, where that is possible.

        Until then, or until `settle_mark`, a crash makes this snapshot one that is not verified.
        """
        if self.zfs.joins_changes:
            self._unsettled = name, self._mark_at(level)
        else:
            self.mark_verified(name, level)

    def settle_mark(self) -> None:
        """Record what `mark_with_next` left to the next snapshot: there may be none."""
        if self._unsettled is not None:
            self._mark(*self._unsettled)
            self._unsettled = None

    @contextlib.contextmanager
    def view(self, dataset: str, snapshot: SnapshotName) -> Iterator[str]:
        """Yield a directory in which `dataset`@`snapshot` can be read; it ends with the block."""
        with self._views.show(f"{dataset}@{snapshot}") as root:
            yield root

    def owner_of(self, snapshot: SnapshotName) -> str:
        """Return the dataset of a snapshot of staging's chain: staging, or that of its origin."""
        dataset = self.ensure_owned(self.layout.staging)
        if any(one.name == str(snapshot) for one in dataset.snapshots) or dataset.origin is None:
            return dataset.name
        return dataset.origin.partition("@")[0]

    def made_snapshot(self, name: SnapshotName) -> Snapshot:
        """Return the snapshot `name` of staging's chain; TargetChanged if it has none."""
        dataset = self.ensure_owned(self.layout.staging)
        for snapshot in self.read_chain(dataset):
            if snapshot.name == str(name):
                return snapshot
        raise _nothing_to_resume(dataset.name, name)

    def ensure_owned(self, name: str) -> Dataset:
        """Return the dataset `name`, marked as ours first if it is half made; else TargetChanged.

        A dataset that carries no request is not ours, and is never written, moved or destroyed.
        """
        return self._owned.ensure(name)


def _beside_the_series(dataset: Dataset) -> list[Snapshot]:
    """Return the snapshots of staging that are not ours, and those that somebody renamed."""
    foreign = {one.name for one in foreign_snapshots(dataset)}
    return [
        one
        for one in dataset.snapshots
        if one.name in foreign or not SnapshotName.is_valid(one.name)
    ]


def _nothing_to_resume(dataset: str, snapshot: SnapshotName) -> TargetChanged:
    return TargetChanged(
        f"{dataset} has no snapshot {snapshot} from which the work could resume",
        hint=f"look at it; to start over: zfs destroy -r {dataset}, then submit again",
    )
