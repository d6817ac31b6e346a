"""The datasets that were the target before it was replaced or extended: bring back, or destroy.

The previous target of an extension is kept as a clone of the new one; bringing it back promotes
it. Guarantees: only a dataset that carries a request id, itself and in each of its snapshots, is
destroyed. The repository's lock must be held.

Raises: TargetMissing, TargetChanged, and those of dsgmigd.target.area and dsgmigd.target.zfs.
"""

from dataclasses import dataclass

from dsgmigd.errors import TargetChanged, TargetMissing
from dsgmigd.target.area import check_target
from dsgmigd.target.dataset import Dataset
from dsgmigd.target.kept_mountpoint import keep_unmounted, let_mount
from dsgmigd.target.layout import KEYS, REQUEST, DatasetLayout, is_moment, replaced_parent
from dsgmigd.target.owned import destroy_with_snapshots
from dsgmigd.target.published_mount import Mounted, PublishedMount
from dsgmigd.target.zfs import RunsCommands, Zfs


@dataclass(frozen=True)
class Exchange:
    """What a rollback did: `brought` is the target now; the previous target is kept as `aside`."""

    brought: str
    aside: str | None
    mounted: Mounted


class ReplacedTargets:
    """The kept targets of one repository."""

    def __init__(self, commands: RunsCommands, layout: DatasetLayout) -> None:
        check_target(commands, layout.parent)
        self._zfs = Zfs(commands)
        self._layout = layout

    def moments(self) -> list[str]:
        """Return when the kept targets were replaced, the oldest first."""
        try:
            names = self._zfs.children(replaced_parent(self._layout.area))
        except TargetMissing:
            return []
        return sorted(filter(None, map(self._layout.replaced_moment, names)))

    def used_bytes(self, when: str) -> int:
        """Return how many bytes become free when the target of `when` is destroyed."""
        return self._zfs.used_bytes(self._find(when).name)

    def bring_back(self, when: str | None, now: str) -> Exchange:
        """Make the kept target of `when`, by default the latest one, the target again.

        The present target is kept under the moment `now`. If this is interrupted at any point, both
        datasets are complete, and another call with the same `when` finishes the work. Nothing that
        users see is hidden by the mount, unless the present target hides it already.
        """
        old = self._find(when or self._latest())
        target = self._zfs.read(self._layout.target, KEYS)
        self._zfs.unmount(old.name)
        # Staging owns its snapshots if the publication of an extension was interrupted.
        if (old.origin or "").partition("@")[0] in {self._layout.target, self._layout.staging}:
            self._zfs.promote(old.name)
        aside = self._layout.replaced(now) if target else None
        if target and aside:
            self._zfs.unmount(target.name)
            self._zfs.rename(target.name, aside)
            keep_unmounted(self._zfs, aside)
        let_mount(self._zfs, old)
        self._zfs.rename(old.name, self._layout.target)
        hid_before = target is not None and target.is_mounted
        mount = PublishedMount(self._zfs, self._layout)
        return Exchange(old.name, aside, mount.mount(may_cover=hid_before))

    def destroy(self, when: str) -> None:
        """Destroy the kept target of `when` with its snapshots."""
        old = self._find(when)
        _check_ours(old)
        self._zfs.unmount(old.name)
        destroy_with_snapshots(self._zfs, old)

    def _latest(self) -> str:
        moments = self.moments()
        if not moments:
            raise TargetMissing(
                f"no previous target of {self._layout.target} is kept",
                hint="a target is kept when it is replaced or extended; see: dsgmigd doctor",
            )
        return moments[-1]

    def _find(self, when: str) -> Dataset:
        name = self._layout.replaced(when)
        dataset = self._zfs.read(name, KEYS) if is_moment(when) else None
        if dataset is None:
            raise TargetMissing(
                f"{name} does not exist",
                hint=f"kept are: {', '.join(self.moments()) or 'none'}",
            )
        return dataset


def _check_ours(dataset: Dataset) -> None:
    """Raise TargetChanged unless all of `dataset` was made by dsgmigd."""
    unmarked = [one.name for one in dataset.snapshots if REQUEST not in one.properties]
    if REQUEST not in dataset.properties or unmarked:
        what = f"its snapshots {', '.join(unmarked)} were" if unmarked else "it was"
        raise TargetChanged(
            f"{dataset.name} is not destroyed: {what} not made by dsgmigd",
            hint=f"look at it; destroy it by hand with: zfs destroy -r {dataset.name}",
        )
