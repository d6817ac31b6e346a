"""The snapshots that other programs made of staging too late to be seen before its publication.

ZFS cannot forbid them. They hold what the last snapshot of the series holds, because staging was
unmounted by then; but what others made of staging is not to be published. The history of a pool of
OpenZFS says under which name each snapshot was made, with the number (`objsetid`) that it keeps
through every rename. What was made of the published dataset is somebody's own, and only named.

Raises: those of dsgmigd.target.zfs.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import takewhile
from typing import IO, Protocol

from dsgmigd.errors import DsgmigdError
from dsgmigd.names import SnapshotName
from dsgmigd.target.dataset import Dataset
from dsgmigd.target.layout import DatasetLayout, pool_of
from dsgmigd.target.zfs import Zfs


class RunsPipes(Protocol):
    """The part of `dsgmigd.host.command.Commands` that this module uses."""

    def pipe(self, *argv: str) -> AbstractContextManager[IO[bytes]]:
        """Start a program and give its output while it runs."""


def settle_late_snapshots(
    zfs: Zfs, commands: RunsPipes, layout: DatasetLayout, target: Dataset
) -> list[str]:
    """Destroy what was made of staging, and name the rest; return a warning for each.

    `target` is what was read just after the publication: a later snapshot was made of the target.
    """
    names = [one.name for one in target.snapshots]
    late = list(takewhile(lambda name: not SnapshotName.is_valid(name), reversed(names)))
    unwanted = _made_of_staging(zfs, commands, layout, late) if late else set()
    return [_settle(zfs, f"{layout.target}@{name}", is_unwanted=name in unwanted) for name in late]


def _settle(zfs: Zfs, full: str, *, is_unwanted: bool) -> str:
    if is_unwanted:
        try:
            zfs.destroy(full)
        except DsgmigdError as error:
            return f"{full} was made of staging by another program: {error.message}"
        return f"{full} was made of staging by another program, and was destroyed"
    return (
        f"{full} was made by another program during the publication; "
        "it holds what the last snapshot of the series holds"
    )


def _made_of_staging(
    zfs: Zfs, commands: RunsPipes, layout: DatasetLayout, names: Sequence[str]
) -> set[str]:
    pool = pool_of(layout.target)
    try:
        numbers = {name: zfs.option(f"{layout.target}@{name}", "objsetid") for name in names}
        with commands.pipe("zpool", "history", "-i", pool) as history:
            return made_of(layout.staging, numbers, history)
    except DsgmigdError:  # zfs-fuse has neither the number nor such a history
        return set()


def made_of(dataset: str, numbers: Mapping[str, str], history: Iterable[bytes]) -> set[str]:
    """Return those of the snapshots `numbers` (name: objsetid) that were made of `dataset`.

    A line of `zpool history -i`: 2026-11-29.15:30:46 [txg:123] snapshot zsd/a@b (456)
    """
    wanted = {
        name: f"] snapshot {dataset}@{name} ({number})".encode() for name, number in numbers.items()
    }
    return {name for line in history for name, words in wanted.items() if words in line}
