"""What needs no zfs command on a host with the kernel's ZFS: transactions, and views by mount(2).

zfs-fuse has neither the library nor mounts of snapshots: there, everything is done by the command.

Raises: nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dsgmigd.target.libzfs_core import open_libzfs_core
from dsgmigd.target.snapshot_mounts import SnapshotMounts


class ChangesSnapshots(Protocol):
    """The methods of `dsgmigd.target.libzfs_core.LibzfsCore`."""

    def exists(self, name: str) -> bool | None:
        """Say whether a dataset or snapshot exists; None if that could not be found out."""

    def snapshot(self, name: str, properties: Mapping[str, str]) -> None:
        """Make a snapshot with its properties in one transaction."""

    def set_properties(self, name: str, properties: Mapping[str, str]) -> None:
        """Set user properties in one transaction."""

    def mark_and_snapshot(
        self, marked: str, mark: tuple[str, str], name: str, properties: Mapping[str, str]
    ) -> bool:
        """Set a property of one snapshot and make another in one transaction; False if it fails."""

    def destroy_snapshots(self, names: Sequence[str]) -> None:
        """Destroy all of these snapshots in one transaction, or none."""


class MountsSnapshots(Protocol):
    """The methods of `dsgmigd.target.snapshot_mounts.SnapshotMounts`."""

    def mount(self, snapshot: str, directory: str) -> None:
        """Mount a snapshot."""

    def unmount(self, directory: str) -> None:
        """Unmount a snapshot."""

    def mounted_in(self, directory: str) -> dict[str, str]:
        """Return what is mounted directly in `directory`, by place."""


@dataclass(frozen=True)
class Native:
    """Both ways around the zfs command."""

    core: ChangesSnapshots
    mounts: MountsSnapshots


def find_native() -> Native | None:
    """Return both; None on a host that has only the command."""
    core = open_libzfs_core()
    return Native(core, SnapshotMounts()) if core else None
