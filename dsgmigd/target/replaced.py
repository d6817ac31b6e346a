"""What stood in a target's place before it was replaced or extended: bring it back, or destroy it.

A dataset that was only extended is kept as a clone of the one that took its place; bringing it back
turns that around. Nothing is destroyed but what carries a request id of ours, itself and in each of
its snapshots. The repository's lock is to be held.

Leaving errors: TargetMissing, TargetChanged, and those of dsgmigd.zfs.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from dsgmigd.errors import TargetChanged, TargetMissing
from dsgmigd.marks import KEYS, REQUEST
from dsgmigd.places import Places
from dsgmigd.zfs.dataset import Dataset, RunsCommands, Zfs
from dsgmigd.zfs.pool import check_pool

_MOMENT = "[0-9]{8}T[0-9]{6}Z"


def moment(seconds: float) -> str:
    """Return a moment as it stands in the name of what was moved aside."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def free_moment(seconds: float, is_taken: Callable[[str], bool]) -> str:
    """Return the first moment from `seconds` on that names nothing yet.

    Two things can be moved aside within one second, which is all that a name tells.
    """
    while is_taken(found := moment(seconds)):
        seconds += 1
    return found


@dataclass(frozen=True)
class Exchange:
    """What a rollback did: `brought` is the target now, what it was is kept as `aside`."""

    brought: str
    aside: str | None
    mountpoint: str


class ReplacedTargets:
    """The datasets that were moved aside for one repository."""

    def __init__(self, commands: RunsCommands, places: Places) -> None:
        check_pool(commands, places.parent)
        self._zfs = Zfs(commands)
        self._places = places

    def moments(self) -> list[str]:
        """Return when something was moved aside, the oldest first."""
        try:
            names = self._zfs.children(self._places.replaced("").rpartition("/")[0])
        except TargetMissing:
            return []
        form = re.compile(re.escape(self._places.replaced("")) + f"({_MOMENT})")
        return sorted(match.group(1) for match in map(form.fullmatch, names) if match)

    def used_bytes(self, when: str) -> int:
        """Return how many bytes become free when it is destroyed."""
        return self._zfs.used_bytes(self._find(when).name)

    def bring_back(self, when: str | None, now: str) -> Exchange:
        """Let what was moved aside at `when`, the last by default, be the target again.

        The target is moved aside under the name of `now`. Cut off anywhere, both datasets are
        whole, and a repetition with the same `when` ends it.
        """
        old = self._find(when or self._last())
        target = self._zfs.read(self._places.target, KEYS)
        self._zfs.unmount(old.name)
        # Staging has its snapshots if an extension was cut off in the middle of its publication.
        if (old.origin or "").partition("@")[0] in {self._places.target, self._places.staging}:
            self._zfs.promote(old.name)
        aside = self._places.replaced(now) if target else None
        if target and aside:
            self._zfs.unmount(target.name)
            self._zfs.rename(target.name, aside)
        self._zfs.rename(old.name, self._places.target)
        self._zfs.mount(self._places.target)
        brought = self._zfs.read(self._places.target, KEYS)
        return Exchange(old.name, aside, brought.mountpoint if brought else "")

    def destroy(self, when: str) -> None:
        """Destroy what was moved aside at `when`, with its snapshots."""
        old = self._find(when)
        _check_ours(old)
        self._zfs.unmount(old.name)
        for snapshot in reversed(old.snapshots):
            self._zfs.destroy(f"{old.name}@{snapshot.name}")
        self._zfs.destroy(old.name)

    def _last(self) -> str:
        moments = self.moments()
        if not moments:
            raise TargetMissing(
                f"nothing is kept that stood at {self._places.target} before",
                hint="only what was replaced or extended is kept; see: dsgmigd doctor",
            )
        return moments[-1]

    def _find(self, when: str) -> Dataset:
        is_moment = re.fullmatch(_MOMENT, when)
        dataset = self._zfs.read(self._places.replaced(when), KEYS) if is_moment else None
        if dataset is None:
            raise TargetMissing(
                f"{self._places.replaced(when)} does not exist",
                hint=f"kept are: {', '.join(self.moments()) or 'none'}",
            )
        return dataset


def _check_ours(dataset: Dataset) -> None:
    """Raise TargetChanged if any part of `dataset` is not ours to destroy."""
    foreign = [one.name for one in dataset.snapshots if REQUEST not in one.properties]
    if REQUEST not in dataset.properties or foreign:
        what = (
            f"snapshots that are not ours: {', '.join(foreign)}" if foreign else "no mark of ours"
        )
        raise TargetChanged(
            f"{dataset.name} has {what}",
            hint=f"look at it; destroy it by hand with: zfs destroy -r {dataset.name}",
        )
