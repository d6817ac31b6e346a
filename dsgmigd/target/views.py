"""The views of one repository: clones through which snapshots are read, for a short time.

Tools that make snapshots by a timetable meet them, and so do holds and clones. What others put on a
view never ends a migration: snapshots of it go with it, and what cannot go is left to doctor, while
the next view takes another name. The repository's lock must be held.

Raises: TargetChanged, TargetBusy, and those of dsgmigd.target.zfs.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator

from dsgmigd.errors import CommandFailed, TargetBusy, TargetChanged, TargetExists, TargetMissing
from dsgmigd.target.area import find_mountpoint
from dsgmigd.target.layout import REQUEST, DatasetLayout
from dsgmigd.target.owned import Owned, destroy_view


class Views:
    """Makes and destroys views; `warn` is called once for each that has to be left."""

    def __init__(self, owned: Owned, layout: DatasetLayout, warn: Callable[[str], object]) -> None:
        self._owned = owned
        self._zfs = owned.zfs
        self._layout = layout
        self._warn = warn
        self._left: set[str] = set()

    @contextlib.contextmanager
    def show(self, snapshot: str) -> Iterator[str]:
        """Yield a directory in which `snapshot` can be read; it ends with the block."""
        name = self._make(snapshot)
        try:
            yield find_mountpoint(self._zfs, name)
        finally:
            self._end(name)

    def _make(self, snapshot: str) -> str:
        """Clone `snapshot` under the first free name; drop views that an interrupted run left."""
        make = functools.partial(
            self._zfs.clone,
            snapshot,
            options={"readonly": "on"},
            properties={REQUEST: self._owned.request_id},
        )
        for name in self._layout.view_names():
            if name in self._left:
                continue
            with contextlib.suppress(TargetExists):
                make(name)
                return name
            if self._drop(name):
                make(name)
                return name
        raise TargetBusy(
            f"something keeps every view of {self._layout.repo}",
            hint="see what: dsgmigd doctor; remove it, then: dsgmigd doctor --fix",
        )

    def _end(self, name: str) -> None:
        try:
            self._zfs.destroy(name)
        except TargetChanged:  # somebody made a snapshot of it
            self._drop(name)
        except (TargetBusy, CommandFailed) as error:
            self._leave(name, error.message)

    def drop_all(self) -> None:
        """Destroy the views that interrupted requests left."""
        above = self._layout.view.rpartition("/")[0]
        with contextlib.suppress(TargetMissing):
            there = frozenset(self._zfs.children(above))
            for name in filter(there.__contains__, self._layout.view_names()):
                self._drop(name)

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
