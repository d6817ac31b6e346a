"""What others did in the published dataset since its last snapshot.

An extension or a replacement moves the dataset aside, and with it what is in no snapshot of
dsgmigd's: files that users changed, snapshots of other programs, child datasets. Nobody may lose
sight of them without a word.

A change moves the time of status change of a file, or of its directory, to a moment after the
creation of the snapshot. The kernel's ZFS says at once whether anything was written at all; access
times count as written, and are no change.

Raises: those of dsgmigd.target.zfs and dsgmigd.host.file_errors.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dsgmigd.errors import CommandFailed, TargetInUse
from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import target_errors
from dsgmigd.host.terminal import printable
from dsgmigd.names import SnapshotName
from dsgmigd.target.dataset import Dataset, Snapshot
from dsgmigd.target.layout import pool_of
from dsgmigd.target.mounts import zfs_mounts
from dsgmigd.target.zfs import RunsCommands, Zfs

_SHOWN = 5
_NOTHING = ("0", "0B")  # as versions of zfs(8) spell it
# What snapdir=visible shows at the root, and what an extension writes anew in any case.
_LEFT_OUT = (b".zfs", b".dsg")


@dataclass(frozen=True)
class Others:
    """What belongs to others; `snapshots` are those after `last`, which is the newest sK.

    `changes` are the first changed paths, as people may read them. `is_unknown`: something was
    written, and what cannot be seen, because the dataset is not mounted.
    """

    children: tuple[str, ...] = ()
    last: str = ""
    snapshots: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    is_unknown: bool = False

    def check_may_move(self, dataset: str, *, may_replace: bool) -> list[str]:
        """Return warnings of what goes with `dataset` into replaced/.

        Raises TargetInUse for child datasets, which users would not see any more, and for changes
        since the last snapshot, unless the request says that the dataset may be replaced.
        """
        if self.children:
            raise TargetInUse(
                f"{dataset} has child datasets, which would move with it: {_first(self.children)}",
                hint=f"move them away: zfs rename {self.children[0]} …; then submit again",
            )
        if (self.changes or self.is_unknown) and not may_replace:
            changed = f"changed in {dataset} since @{self.last}: {_first(self.changes)}"
            unseen = f"{dataset} was written to since @{self.last}, and is not mounted"
            raise TargetInUse(
                unseen if self.is_unknown else changed,
                hint='to keep that in the replaced dataset: submit with "replace": true; '
                f"to discard it: zfs rollback {dataset}@{self.last}",
            )
        kept = "only the replaced dataset has"
        warnings = [f"{kept} what was changed: {_first(self.changes)}"] if self.changes else []
        if self.snapshots:
            warnings.append(f"{kept} @{_first(self.snapshots, ', @')}")
        return warnings


def settle(commands: RunsCommands, target: Dataset) -> None:
    """Let ZFS write out what users wrote to the published dataset: `written` counts it only then.

    zfs-fuse has neither, and is not asked for `written`.
    """
    if target.is_mounted:
        with contextlib.suppress(CommandFailed):
            commands.output("zpool", "sync", pool_of(target.name))


def find_others(zfs: Zfs, target: Dataset, checkpoint: Callable[[], None]) -> Others:
    """Return what others did in the published dataset since the last snapshot of the series."""
    series = [one for one in target.snapshots if SnapshotName.is_valid(one.name)]
    if not series:  # it is none of ours, and is replaced as a whole
        return Others(_look(zfs, target.name)[0])
    last = series[-1]
    after = _names(target.snapshots[target.snapshots.index(last) + 1 :])
    children, is_written = _look(zfs, target.name)
    if not after and is_written is False:
        return Others(children, last.name)
    with target_errors(f"looking for changes in {target.name}"):
        place = _visible_mountpoint(target.name)
        changes = tuple(_changed_paths(place, last, checkpoint)) if place else ()
    is_unknown = place is None and is_written is True
    return Others(children, last.name, after, changes, is_unknown)


def _look(zfs: Zfs, dataset: str) -> tuple[tuple[str, ...], bool | None]:
    """Return the children of a dataset, and whether it was written to since its last snapshot.

    None: zfs-fuse has no such property.
    """
    try:
        own, *below = zfs.rows_of(dataset, "name", "written")
        is_written = own[1] not in _NOTHING
    except CommandFailed:
        _, *below = zfs.rows_of(dataset, "name")
        is_written = None
    return tuple(row[0] for row in below), is_written


def _visible_mountpoint(dataset: str) -> str | None:
    """Return where the dataset is mounted, unless something else is mounted over it."""
    for one in zfs_mounts():
        if one.dataset == dataset and one.is_whole and os.stat(one.mountpoint).st_dev == one.device:
            return one.mountpoint
    return None


def _changed_paths(root: str, last: Snapshot, checkpoint: Callable[[], None]) -> Iterator[str]:
    """Yield the first paths whose status changed after the creation of a snapshot.

    The creation is in whole seconds, rounded down.
    """
    found = 0
    with Directories(root) as tree:
        for path, status in tree.walk(b""):
            checkpoint()
            if path.partition(b"/")[0] not in _LEFT_OUT and status.st_ctime >= last.created_at + 1:
                yield printable(os.fsdecode(path)) or "."
                found += 1
            if found > _SHOWN:
                return


def _names(snapshots: tuple[Snapshot, ...]) -> tuple[str, ...]:
    return tuple(one.name for one in snapshots)


def _first(names: tuple[str, ...], separator: str = ", ") -> str:
    more = " and more" if len(names) > _SHOWN else ""
    return separator.join(names[:_SHOWN]) + more
