"""Datasets that a power cut left half made, in the place of one of ours.

ZFS makes a dataset and then gives it its properties, in two transactions (zfs_ioctl.c: "It would be
nice to do this atomically"). A power cut between them leaves a dataset that is nobody's. It has no
snapshot, and nothing was ever written to it: to destroy it loses nothing, whoever made it.

Leaving errors: those of dsgmigd.zfs and dsgmigd.file_errors.
"""

import os

from dsgmigd.errors import CommandFailed
from dsgmigd.file_errors import target_errors
from dsgmigd.zfs.dataset import Dataset, Zfs


def is_half_made(zfs: Zfs, dataset: Dataset) -> bool:
    """Say whether a dataset without properties of ours holds no more than what it was made from."""
    if dataset.properties or dataset.snapshots or not dataset.is_mounted:
        return False
    if dataset.origin is not None:
        try:
            return zfs.written_bytes(dataset.name) == 0
        except CommandFailed:  # zfs-fuse has no such property
            return False
    with target_errors(f"looking into {dataset.name}"):
        return not os.listdir(dataset.mountpoint)
