"""Which datasets of the area are ours, and how they are destroyed.

A dataset that carries no request is not ours, and is never written, moved or destroyed. Snapshots
that other programs make of ours hold nothing but what is ours, and go with it.

Raises: TargetChanged, and those of dsgmigd.target.zfs and dsgmigd.host.file_errors.
"""

import os

from dsgmigd.errors import CommandFailed, TargetBusy, TargetChanged
from dsgmigd.host.file_errors import target_errors
from dsgmigd.target.dataset import Dataset, Snapshot
from dsgmigd.target.layout import KEYS, REQUEST
from dsgmigd.target.zfs import Zfs

_ATTEMPTS = 5


class Owned:
    """The datasets of the area, on behalf of one request."""

    def __init__(self, zfs: Zfs, request_id: str) -> None:
        self.zfs = zfs
        self.request_id = request_id

    def ensure(self, name: str) -> Dataset:
        """Return the dataset `name`, marked as ours first if it is half made.

        Raises TargetChanged if it is not ours.
        """
        dataset = self.zfs.read(name, KEYS)
        if dataset is not None and _is_half_made(self.zfs, dataset):
            self.zfs.set_property(name, REQUEST, self.request_id)
            dataset = self.zfs.read(name, KEYS)
        if dataset is None or REQUEST not in dataset.properties:
            raise TargetChanged(
                f"{name} is " + ("gone" if dataset is None else "not one that dsgmigd made"),
                hint="only dsgmigd may change datasets below the staging area; "
                "look at: zfs list -r",
            )
        return dataset


def foreign_snapshots(dataset: Dataset) -> list[Snapshot]:
    """Return the snapshots that other programs made of one of our datasets."""
    return [one for one in dataset.snapshots if REQUEST not in one.properties]


def destroy_with_snapshots(zfs: Zfs, dataset: Dataset) -> None:
    """Destroy a file system after its snapshots, the newest first.

    The caller has checked that all of it is ours. So are snapshots that somebody makes meanwhile.
    """
    for _ in range(_ATTEMPTS):
        zfs.destroy_snapshots([f"{dataset.name}@{one.name}" for one in reversed(dataset.snapshots)])
        try:
            return zfs.destroy(dataset.name)
        except TargetChanged:
            found = zfs.read(dataset.name, ())
            if found is None or not found.snapshots:  # it has a child
                raise
            dataset = found
    raise TargetBusy(
        f"another program makes snapshots of {dataset.name} all the time",
        hint="stop it: only dsgmigd may change datasets below the staging area",
    )


def destroy_view(zfs: Zfs, name: str) -> None:
    """Destroy a view of ours with the snapshots that others made of it.

    Raises TargetChanged if they may hold something of their own: a view is read-only.
    """
    zfs.unmount(name)  # zfs-fuse calls every mounted clone writable
    view = zfs.read(name, ())
    if view is None:
        return
    if view.snapshots and not view.is_read_only:
        raise TargetChanged(
            f"{name} has snapshots, and is writable: they may hold data",
            hint=f"look at them; destroy it by hand with: zfs destroy -r {name}",
        )
    destroy_with_snapshots(zfs, view)


def _is_half_made(zfs: Zfs, dataset: Dataset) -> bool:
    """Say whether a power cut left `dataset` without its properties: it has no data of its own.

    ZFS creates a dataset and then sets its properties, in two transactions (zfs_ioctl.c: "It would
    be nice to do this atomically"). A power cut between them leaves a dataset that nobody owns. It
    has no snapshot, and nothing was ever written to it: to destroy it loses nothing.
    """
    if dataset.properties or dataset.snapshots or not dataset.is_mounted:
        return False
    if dataset.origin is not None:
        try:
            return int(zfs.option(dataset.name, "written")) == 0
        except CommandFailed:  # zfs-fuse has no such property
            return False
    with target_errors(f"looking into {dataset.name}"):
        return not os.listdir(dataset.mountpoint)
