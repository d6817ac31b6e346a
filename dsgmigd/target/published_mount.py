"""The mount of the published dataset: where users see it, and nothing of theirs is hidden.

A failure is only a warning: the data is complete, and an administrator can mount it.

Raises: those of dsgmigd.target.zfs but for mounting, and of dsgmigd.host.file_errors.
"""

import os
from dataclasses import dataclass

from dsgmigd.errors import CommandFailed, DsgmigdError, TargetBusy, TargetChanged
from dsgmigd.target.area import find_mountpoint
from dsgmigd.target.dataset import Dataset
from dsgmigd.target.layout import DatasetLayout
from dsgmigd.target.mount_flags import restrict_mount
from dsgmigd.target.mountpoint import find_obstacle
from dsgmigd.target.zfs import Zfs


@dataclass(frozen=True)
class Mounted:
    """Where the dataset is mounted, if it is, and what an administrator must know of it."""

    mountpoint: str | None
    warnings: tuple[str, ...] = ()


class PublishedMount:
    """The mount of the target of one repository."""

    def __init__(self, zfs: Zfs, layout: DatasetLayout) -> None:
        self._zfs = zfs
        self._layout = layout

    def find_obstacle(self, target: Dataset | None = None) -> str | None:
        """Return in words what is at the mountpoint of the target while it is not mounted.

        `target` is the target if it was just read. One that does not exist yet inherits its
        mountpoint from the parent.
        """
        layout = self._layout
        target = target or self._zfs.read(layout.target, ())
        if target is not None:
            place = "" if target.is_mounted else target.mountpoint
        else:
            parent = self._zfs.read(layout.parent, (), with_snapshots=False)
            place = os.path.join(parent.mountpoint, layout.repo) if parent else ""
        return find_obstacle(place) if place.startswith("/") else None

    def mount(self, *, may_cover: bool, target: Dataset | None = None) -> Mounted:
        """Mount the target; over something only if it `may_cover` that, as the previous one did.

        `target` is the target if it was just read.
        """
        name = self._layout.target
        obstacle = self.find_obstacle(target)
        if obstacle and not may_cover:
            remedy = f"move that away, then: zfs mount {name}"
            return _not_mounted(name, f"{obstacle}; {remedy}")
        try:
            self._zfs.mount(name)
            mountpoint = find_mountpoint(self._zfs, name)
        except (CommandFailed, TargetBusy, TargetChanged) as error:
            return _not_mounted(name, error.message)
        covered = (f"{name} is mounted over something: {obstacle}",) if obstacle else ()
        restricted = self.restrict(mountpoint)
        return Mounted(restricted.mountpoint, (*covered, *restricted.warnings))

    def restrict(self, mountpoint: str) -> Mounted:
        """See that no set-ID program and no device in the target, mounted there, can be used."""
        try:
            warning = restrict_mount(self._zfs, self._layout.target)
        except DsgmigdError as error:
            target = self._zfs.read(self._layout.target, ())
            is_mounted = target is not None and target.is_mounted
            return Mounted(mountpoint if is_mounted else None, (f"{error.message}; {error.hint}",))
        return Mounted(mountpoint, (warning,) if warning else ())


def _not_mounted(name: str, why: str) -> Mounted:
    return Mounted(None, (f"{name} is published, but not mounted: {why}",))
