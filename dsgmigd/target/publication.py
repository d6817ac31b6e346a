"""The published dataset of one repository, and how staging takes its place.

Guarantees: the commit point is one `zfs rename`, after every snapshot in staging was verified; what
lost a snapshot at that very moment is taken back; the target that was there before is kept, never
destroyed. After a crash at any point `take_back` or another `publish` reaches a complete state. The
repository's lock must be held.

Raises: TargetMissing, TargetExists, TargetChanged, and those of dsgmigd.target.zfs and
dsgmigd.host.file_errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dsgmigd.errors import TargetChanged, TargetExists, TargetMissing
from dsgmigd.names import SnapshotName
from dsgmigd.target.dataset import Dataset
from dsgmigd.target.kept_mountpoint import keep_unmounted, let_mount
from dsgmigd.target.layout import ASIDE, KEYS, SOURCE_IDENTITY
from dsgmigd.target.marks import verified_mark
from dsgmigd.target.published_mount import PublishedMount
from dsgmigd.target.staging import Staging


@dataclass(frozen=True)
class TargetFacts:
    """What a result says of the target: its name, where it is mounted, what it replaced."""

    dataset: str
    mountpoint: str | None = None
    replaced: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """Return the object `target` of a result, see docs/schemas/result.schema.json."""
        return {
            "dataset": self.dataset,
            "mountpoint": self.mountpoint,
            "replaced": self.replaced,
        }


@dataclass(frozen=True)
class Published:
    """What a publication made the target, and the name under which the previous one is kept."""

    target: Dataset
    replaced: str | None = None


class Publication:
    """The step from staging to the target, and back; `mount` is what users see of the target."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._layout = staging.layout
        self._zfs = staging.zfs
        self.mount = PublishedMount(staging.zfs, staging.layout)

    def has_replaced(self, moment: str) -> bool:
        """Say whether a target that was replaced at `moment` is kept."""
        return self._zfs.read(self._layout.replaced(moment), KEYS) is not None

    def check_whole(self, identities: Mapping[SnapshotName, str]) -> Dataset:
        """Return staging, after what others made of it was destroyed.

        Raises TargetChanged unless it has every snapshot, verified and from its source.
        """
        staging = self._staging.drop_foreign_snapshots()
        self._check_chain(staging, identities)
        return staging

    def _check_chain(self, dataset: Dataset, identities: Mapping[SnapshotName, str]) -> None:
        made_from = {
            one.name: one.properties.get(SOURCE_IDENTITY)
            for one in self._staging.read_chain(dataset)
            if verified_mark(one.properties)
        }
        lost = [str(name) for name in identities if made_from.get(str(name)) != identities[name]]
        if lost:
            raise TargetChanged(
                f"verified snapshots were removed from {self._layout.staging}: {', '.join(lost)}",
                hint="only dsgmigd may change datasets below the staging area; "
                "submit again to build the missing snapshots again",
            )

    def publish(
        self, moment: str, planned: Dataset | None, identities: Mapping[SnapshotName, str]
    ) -> Published:
        """Make staging the target; return it, and under which name the previous target is kept.

        `planned` is the target as it was when the work was planned, `identities` are the sources of
        all snapshots to publish. Raises TargetExists or TargetChanged, before anything is moved, if
        the target is another dataset by now, TargetBusy if something keeps a snapshot that another
        program made of staging, and TargetChanged if a snapshot of ours was removed or renamed: in
        the last moment too, then staging is back and `take_back` may be called.

        A crash between any two steps leaves a state from which a new plan reaches the end: first
        the target is renamed, then a clone is promoted; the rename of staging is the commit.
        """
        replaced = None
        self._staging.ensure_owned(self._layout.staging)
        previous = self._read_planned(planned)
        self._zfs.unmount(self._layout.staging)
        # Whoever makes a snapshot from here on finds the state of the last one of ours: see
        # dsgmigd.target.late_snapshots.
        staging = self.check_whole(identities)
        if previous is not None:
            replaced = self._layout.replaced(moment)
            self._zfs.set_property(self._layout.staging, ASIDE, replaced)
            self._zfs.unmount(self._layout.target)
            self._zfs.rename(self._layout.target, replaced)
            keep_unmounted(self._zfs, replaced)
            staging = self._staging.ensure_owned(self._layout.staging)
        if staging.origin is not None:
            self._zfs.promote(self._layout.staging)
        self._zfs.rename(self._layout.staging, self._layout.target)
        return Published(self._check_published(identities), replaced)

    def _check_published(self, identities: Mapping[SnapshotName, str]) -> Dataset:
        """Return the target; take it back to staging unless it has all that was verified.

        Until it has its final name, anybody who changes staging by its name can reach it.
        """
        target = self._staging.read_target()
        if target is None:
            raise TargetChanged(
                f"another program or user removed {self._layout.target} as it was published",
                hint=f"look for it with: zfs list -r {self._layout.parent}; then submit again",
            )
        try:
            self._check_chain(target, identities)
        except TargetChanged:
            self._zfs.rename(target.name, self._layout.staging)
            raise
        return target

    def take_back(self) -> str | None:
        """Undo a publication that was interrupted; return the kept target that came back, if any.

        The target has its kept name then, and no dataset has the target's name. The target comes
        back with all its snapshots; staging keeps the new ones, as a clone if it was one. May be
        repeated after a crash at any point.
        """
        staging = self._staging.read_staging()
        if staging is None or self._staging.read_target() is not None:
            return None
        name = staging.properties.get(ASIDE, "")
        kept = self._zfs.read(name, KEYS) if self._layout.is_replaced(name) else None
        if kept is None:
            return None
        if kept.origin is not None and kept.origin.partition("@")[0] == staging.name:
            self._zfs.promote(kept.name)
        self._zfs.unmount(kept.name)
        let_mount(self._zfs, kept)
        self._zfs.rename(kept.name, self._layout.target)
        return kept.name

    def _read_planned(self, planned: Dataset | None) -> Dataset | None:
        """Return the target; raise unless it is what the plan was made for."""
        target = self._staging.read_target()
        if target is not None and planned is None:
            raise TargetExists(
                f"another program or user created {target.name} during the migration",
                hint=f"move it away (zfs rename {target.name} …) and submit again: "
                "all snapshots are built, only the publication is left",
            )
        if planned is not None and (target is None or not _is_same(planned, target)):
            what = "is gone" if target is None else "is another dataset or lost a snapshot"
            raise TargetChanged(
                f"{planned.name} {what} since the work was planned",
                hint="nothing was moved; look at: zfs list -t all -r, and submit again",
            )
        return target


def check_is_file_system(target: Dataset | None) -> None:
    """Raise TargetExists if a volume has the target's name: it could never be moved away."""
    if target is not None and target.is_volume:
        raise TargetExists(
            f"{target.name} is a volume, not a file system",
            hint=f"rename it (zfs rename {target.name} …), or rename the repository",
        )


def _is_same(planned: Dataset, target: Dataset) -> bool:
    """Say whether both are one dataset that lost no snapshot sK since it was `planned`."""
    before, now = (
        [(one.name, one.created_at) for one in dataset.snapshots if SnapshotName.is_valid(one.name)]
        for dataset in (planned, target)
    )
    return planned.guid == target.guid and now[: len(before)] == before


def find_target(staging: Staging, asked: SnapshotName | None) -> Dataset:
    """Return the published dataset; raise TargetMissing unless it has the snapshot `asked`.

    Without this check nothing would be compared, and no difference would be found.
    """
    layout = staging.layout
    target = staging.read_target()
    if target is None:
        raise TargetMissing(
            f"{layout.repo} is not published: the dataset {layout.target} does not exist",
            hint=f"migrate it first: dsgmigd migrate {layout.repo}",
        )
    if asked is not None and asked not in snapshot_names(target):
        raise TargetMissing(
            f"the published dataset of {layout.repo} has no snapshot {asked}",
            hint=f"see what it has with: zfs list -r -t snapshot {layout.target}",
        )
    return target


def snapshot_names(target: Dataset) -> list[SnapshotName]:
    """Return the names sK among the snapshots of `target`, in order."""
    names = [one.name for one in target.snapshots if SnapshotName.is_valid(one.name)]
    return sorted(SnapshotName.parse(name) for name in names)
