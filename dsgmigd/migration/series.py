"""The series s1 … sN that a dataset has to hold: pure rules.

A *source snapshot* has an identity (a btrfs uuid) and a version (btrfs's ctransid, which
moves with every change of the subvolume, a reader's atime update included). A *target snapshot*
remembers both of the source snapshot that it was made from, so it stands for a source snapshot
that was deleted since.

Raises: NoSnapshots, SnapshotGap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dsgmigd.errors import NoSnapshots, SnapshotGap
from dsgmigd.names import SnapshotName

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
    """One snapshot sK of a dataset; `identity` is None when dsgmigd did not make it."""

    name: SnapshotName
    identity: str | None
    version: int = 0
    is_verified: bool = True


@dataclass(frozen=True)
class TargetState:
    """A dataset as it was found; `snapshots` are those called sK.

    `empty_dataset` is the name of a dataset in which nothing is, not even another snapshot.
    """

    snapshots: tuple[TargetSnapshot, ...]
    empty_dataset: str | None = None


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


def first_of(evidence: list[str], separator: str) -> str:
    """Return the first few pieces of evidence, and how many more there are."""
    more = len(evidence) - _EVIDENCE_SHOWN
    return separator.join(evidence[:_EVIDENCE_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _gap(missing: list[int], wanted: range, hint: str) -> SnapshotGap:
    words = first_of([f"s{number}" for number in missing], ", ")
    return SnapshotGap(f"the series s1 … s{wanted[-1]} has gaps: {words} missing", hint=hint)
