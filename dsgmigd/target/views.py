"""The views of one repository: where snapshots are read, for a short time.

With the kernel's ZFS a snapshot of staging is mounted by itself, which needs no transaction of the
pool. Every other view is a clone in the area: it has the area's primarycache, so that what is read
comes from the disks, and zfs-fuse mounts no snapshots.

Tools that make snapshots by a timetable meet clones, and so do holds and other clones; somebody may
use a directory of either kind. Nothing of that ever ends a migration: snapshots of a view go with
it, and what cannot go is left to doctor, while the next view takes another name. The repository's
lock must be held.

Raises: TargetChanged, TargetBusy, and those of dsgmigd.target.zfs and .snapshot_mounts.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator

from dsgmigd.errors import CommandFailed, TargetBusy, TargetChanged, TargetExists, TargetMissing
from dsgmigd.target.area import find_mountpoint
from dsgmigd.target.layout import REQUEST, DatasetLayout, view_owner
from dsgmigd.target.native import MountsSnapshots
from dsgmigd.target.owned import Owned, destroy_view


class Views:
    """Makes and ends views; `warn` is called once for each that has to be left."""

    def __init__(self, owned: Owned, layout: DatasetLayout, warn: Callable[[str], object]) -> None:
        self._owned = owned
        self._zfs = owned.zfs
        self._layout = layout
        self._warn = warn
        self._left: set[str] = set()

    @contextlib.contextmanager
    def show(self, snapshot: str) -> Iterator[str]:
        """Yield a directory in which `snapshot` can be read; it ends with the block."""
        mounts = self._zfs.mounts
        if mounts and snapshot.partition("@")[0] == self._layout.staging:
            with self._mounted(mounts, snapshot) as directory:
                yield directory
            return
        name = self._make(snapshot)
        try:
            yield find_mountpoint(self._zfs, name)
        finally:
            self._end(name)

    # Mounted snapshots.

    @contextlib.contextmanager
    def _mounted(self, mounts: MountsSnapshots, snapshot: str) -> Iterator[str]:
        above = self._above()
        used = mounts.mounted_in(above)
        for name in self._layout.view_names():
            directory = os.path.join(above, os.path.basename(name))
            if name in self._left or not self._is_freed(name, directory, used.get(directory)):
                continue
            mounts.mount(snapshot, directory)
            try:
                yield directory
            finally:
                self._unmount(name, directory)
            return
        raise self._all_kept()

    def _above(self) -> str:
        """Return the directory in which the views of all repositories are."""
        return find_mountpoint(self._zfs, self._layout.view.rpartition("/")[0])

    def _is_freed(self, name: str, directory: str, mounted: str | None) -> bool:
        """End the view `name` that an interrupted run left, if it did; say whether it is gone."""
        if mounted is None:
            return True
        return self._unmount(name, directory) if "@" in mounted else self._drop(name)

    def _unmount(self, name: str, directory: str) -> bool:
        mounts = self._zfs.mounts
        try:
            if mounts:
                self._zfs.while_busy(functools.partial(mounts.unmount, directory))
        except (TargetBusy, CommandFailed) as error:
            self._leave(name, error.message)
            return False
        return True

    def _free_places(self) -> None:
        """Unmount the snapshots that interrupted runs left mounted."""
        if self._zfs.mounts is None:
            return
        with contextlib.suppress(TargetChanged):  # without the area there is none
            above = self._above()
            for place, what in self._zfs.mounts.mounted_in(above).items():
                name = f"{self._layout.view.rpartition('/')[0]}/{os.path.basename(place)}"
                if "@" in what and view_owner(os.path.basename(place)) == self._layout.repo:
                    self._unmount(name, place)

    # Clones.

    def _make(self, snapshot: str) -> str:
        """Clone `snapshot` under the first free name; drop views that an interrupted run left."""
        make = functools.partial(
            self._zfs.clone,
            snapshot,
            options={"readonly": "on"},
            properties={REQUEST: self._owned.request_id},
        )
        self._free_places()
        for name in self._layout.view_names():
            if name in self._left:
                continue
            with contextlib.suppress(TargetExists):
                make(name)
                return name
            if self._drop(name):
                make(name)
                return name
        raise self._all_kept()

    def _end(self, name: str) -> None:
        try:
            self._zfs.destroy(name)
        except TargetChanged:  # somebody made a snapshot of it
            self._drop(name)
        except (TargetBusy, CommandFailed) as error:
            self._leave(name, error.message)

    def drop_all(self) -> None:
        """End the views that interrupted requests left."""
        self._free_places()
        for name in self._clones():
            self._drop(name)

    def _clones(self) -> list[str]:
        names = self._layout.view_names()
        if self._zfs.mounts is not None:  # no program is needed for a look at each
            return list(filter(self._zfs.exists, names))
        try:
            there = frozenset(self._zfs.children(self._layout.view.rpartition("/")[0]))
        except TargetMissing:
            return []
        return list(filter(there.__contains__, names))

    def _drop(self, name: str) -> bool:
        """Destroy a view with the snapshots that others made of it; say whether it is gone.

        A view that a hold, a clone or a child keeps stays for doctor: no work depends on it.
        """
        self._owned.ensure(name)
        try:
            destroy_view(self._zfs, name)
        except (TargetBusy, TargetChanged, CommandFailed) as error:
            self._leave(name, error.message)
            return False
        return True

    def _leave(self, name: str, why: str) -> None:
        if name not in self._left:
            self._left.add(name)
            self._warn(f"{name} could not be destroyed, see dsgmigd doctor: {why}")

    def _all_kept(self) -> TargetBusy:
        return TargetBusy(
            f"something keeps every view of {self._layout.repo}",
            hint="see what: dsgmigd doctor; remove it, then: dsgmigd doctor --fix",
        )
