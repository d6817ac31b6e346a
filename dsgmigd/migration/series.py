"""The series s1 … sN that a dataset has to hold: pure rules.

A *source snapshot* has an identity (a btrfs uuid) and a version (btrfs's ctransid, which
moves with every change of the subvolume, a reader's atime update included). A *target snapshot*
remembers both of the source snapshot that it was made from, so it stands for a source snapshot
that was deleted since.

Raises: NoSnapshots, SnapshotGap, TargetDiffers, TargetExists.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dsgmigd.errors import NoSnapshots, SnapshotGap, TargetDiffers, TargetExists
from dsgmigd.names import SnapshotName
from dsgmigd.request import VERIFY_STRENGTH, VerifyLevel
from dsgmigd.target.marks import Differs

_EVIDENCE_SHOWN = 5


@dataclass(frozen=True)
class SourceSnapshot:
    """One snapshot of the source; `is_sendable` says that `btrfs send` can read it.

    One that is not `is_present` was deleted: only the target still has it.
    """

    name: SnapshotName
    identity: str
    version: int
    is_sendable: bool = True
    is_present: bool = True


@dataclass(frozen=True)
class TargetSnapshot:
    """One snapshot sK of a dataset; `identity` is None when dsgmigd did not make it.

    `level` is that of its last verification, `differs` what a verification found against it.
    """

    name: SnapshotName
    identity: str | None
    version: int = 0
    level: VerifyLevel | None = "complete"
    differs: Differs | None = None

    @property
    def is_verified(self) -> bool:
        """Whether it was compared with its source at some level, and was equal."""
        return self.level is not None

    def is_weaker_than(self, level: VerifyLevel | None) -> bool:
        """Say whether its verification was weaker than `level`, if there is one."""
        strength = VERIFY_STRENGTH.get(self.level or "", 0)
        return level is not None and strength < VERIFY_STRENGTH[level]


@dataclass(frozen=True)
class TargetState:
    """A dataset as it was found; `snapshots` are those called sK.

    `empty_dataset` is the name of a dataset in which nothing is, not even another snapshot.
    `repo` is for the commands in hints. `shared` counts the snapshots that staging has from the
    target of which it is a clone.
    """

    snapshots: tuple[TargetSnapshot, ...]
    empty_dataset: str | None = None
    shared: int = 0
    repo: str = "REPO"

    def without_differences(self) -> "TargetState":
        """Return the same as if no verification had found differences."""
        return replace(self, snapshots=tuple(replace(one, differs=None) for one in self.snapshots))


Series = tuple[SourceSnapshot, ...]


def wanted_numbers(source: Sequence[SourceSnapshot], limit: int | None) -> range:
    """Return the numbers of s1 … sN, or the first `limit` of them."""
    if not source:
        raise NoSnapshots(
            "the repository has no snapshots",
            hint="snapshots are directories or subvolumes called s1, s2, …",
        )
    last = max(snapshot.name.number for snapshot in source)
    return range(1, (last if limit is None else min(limit, last)) + 1)


def present_series(
    source: Sequence[SourceSnapshot], wanted: range, *, may_renumber: bool
) -> Series:
    """Return the wanted snapshots of the source; only what is wanted must be whole."""
    by_number = {snapshot.name.number: snapshot for snapshot in source}
    missing = [number for number in wanted if number not in by_number]
    if missing:
        remedy = "restore or renumber the snapshots" if may_renumber else "restore the snapshots"
        raise _gap(missing, wanted, f"{remedy}: dsgmigd skips none by itself")
    return tuple(by_number[number] for number in wanted)


def known_series(source: Sequence[SourceSnapshot], target: TargetState, wanted: range) -> Series:
    """Return those wanted that the source has, or had when the target was made from it.

    A number that neither has is left out.
    """
    known = {
        one.name.number: SourceSnapshot(
            one.name, one.identity, one.version, is_sendable=False, is_present=False
        )
        for one in target.snapshots
        if one.identity is not None and one.is_verified
    }
    known |= {snapshot.name.number: snapshot for snapshot in source}
    return tuple(known[number] for number in wanted if number in known)


def check_meets(series: Series, target: TargetState, wanted: range) -> None:
    """Raise SnapshotGap unless a target that agrees with the known `series` can go on with it.

    No number may be missing, and source and target need a snapshot in common: to extend the target,
    its last one.
    """
    known = {one.name.number for one in series}
    deleted = {one.name.number for one in series if not one.is_present}
    needed = known if known == deleted else set[int]()
    if len(series) > len(target.snapshots):
        needed = {max(one.name.number for one in target.snapshots)}
    missing = [number for number in wanted if number not in known or number in needed & deleted]
    if missing:
        raise _gap(
            missing,
            wanted,
            "restore them: the target goes on only after a snapshot that the source still has, "
            "and renumbered snapshots would not match",
        )


def differing_among(target: TargetState, wanted: range) -> list[TargetSnapshot]:
    """Return the wanted snapshots of the target that are marked as different."""
    return [one for one in target.snapshots if one.differs and one.name.number in wanted]


def check_equal(differing: Sequence[TargetSnapshot], repo: str) -> None:
    """Raise TargetDiffers unless no snapshot of the target is marked as different."""
    if not differing:
        return
    found = sorted(differing, key=lambda one: one.name)
    words = [f"@{one.name} {one.differs.describe()}" for one in found if one.differs]
    raise TargetDiffers(
        f"the target differs from its source: {first_of(words, '; ')}",
        hint=f"to see the differences: dsgmigd verify {repo}; if the source is right: "
        f"dsgmigd rebuild {repo} --from {found[0].name}",
    )


def kept_before(
    first: SnapshotName, known: Series, target: TargetState, source: Sequence[SourceSnapshot]
) -> int:
    """Return how many snapshots of the target stay if `first` and those after it are built again.

    Raises TargetExists if those before it cannot be kept, SnapshotGap if the source lacks one that
    would have to be built.
    """
    present = {one.name for one in source}
    held = {one.name: one for one in target.snapshots}
    lost = [
        str(name)
        for name in sorted({*held, first, *(one.name for one in known)})
        if name >= first and name not in present
    ]
    if lost:
        raise SnapshotGap(
            f"the source does not have (or no longer has) {first_of(lost, ', ')}",
            hint="only what the source has can be built again: choose a later --from",
        )
    before = [one for one in known if one.name < first]
    wrong = [f"@{one.name}" for one in before if not _may_stay(one, held.get(one.name))]
    if len(before) != first.number - 1 or wrong:
        raise TargetExists(
            f"the snapshots of the target before {first} cannot be kept: "
            f"{first_of(wrong, ', ') or 'some are missing'}",
            hint="choose an earlier --from; s1 builds everything again",
        )
    if before and not before[-1].is_present:
        raise SnapshotGap(
            f"the source no longer has {before[-1].name}, after which {first} would be built",
            hint="choose another --from",
        )
    return len(before)


def _may_stay(source: SourceSnapshot, held: TargetSnapshot | None) -> bool:
    return (
        held is not None
        and held.is_verified
        and held.differs is None
        and held.identity == source.identity
    )


def first_of(evidence: list[str], separator: str) -> str:
    """Return the first few pieces of evidence, and how many more there are."""
    more = len(evidence) - _EVIDENCE_SHOWN
    return separator.join(evidence[:_EVIDENCE_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _gap(missing: list[int], wanted: range, hint: str) -> SnapshotGap:
    words = first_of([f"s{number}" for number in missing], ", ")
    return SnapshotGap(f"the series s1 … s{wanted[-1]} has gaps: {words} missing", hint=hint)
