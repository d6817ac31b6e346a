"""What has to be done for one request, as a value.

`make_plan` is a pure rule: source snapshots, what staging and target hold, and the request go in;
a `Plan` comes out, or a typed conflict with its evidence is raised. Resuming, extending and
"already up to date" are values of the plan; the executor has no such branches.

A *source snapshot* is told by its identity (a btrfs uuid) and its version (btrfs's ctransid, which
moves with every change of the subvolume, a reader's atime update included). A *target snapshot*
remembers both of the source snapshot that it was made from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dsgmigd.errors import NoSnapshots, SnapshotGap, TargetExists
from dsgmigd.names import SnapshotName

Method = Literal["send", "rsync"]
_EVIDENCE_SHOWN = 5


@dataclass(frozen=True)
class SourceSnapshot:
    """One snapshot of the source; `is_sendable` says that `btrfs send` can read it."""

    name: SnapshotName
    identity: str
    version: int
    is_sendable: bool = True


@dataclass(frozen=True)
class TargetSnapshot:
    """One snapshot sK of a dataset; `identity` is None when dsgmigd did not make it."""

    name: SnapshotName
    identity: str | None
    version: int = 0
    is_verified: bool = True


@dataclass(frozen=True)
class TargetState:
    """A dataset as it was found; `snapshots` holds those called sK, foreign ones are left out."""

    snapshots: tuple[TargetSnapshot, ...]


@dataclass(frozen=True)
class Step:
    """Bring staging from `parent` (None: from nothing) to `snapshot`."""

    snapshot: SnapshotName
    parent: SnapshotName | None
    method: Method


@dataclass(frozen=True)
class Create:
    """Begin with an empty staging dataset; what an older run left there is dropped."""


@dataclass(frozen=True)
class Resume:
    """Begin with the staging dataset of an interrupted run, rolled back to `snapshot`."""

    snapshot: SnapshotName


@dataclass(frozen=True)
class Extend:
    """Begin with a clone of the target at `snapshot`, its last one."""

    snapshot: SnapshotName


Base = Create | Resume | Extend


@dataclass(frozen=True)
class Plan:
    """What to do: `base`, then `steps`, then publish. Without `base` there is nothing to do.

    `rechecks` are snapshots of the target whose source moved since: they are compared in full
    before anything else, and a difference ends the run.
    """

    wanted: tuple[SnapshotName, ...]
    base: Base | None
    steps: tuple[Step, ...]
    rechecks: tuple[SnapshotName, ...] = ()
    replaces_target: bool = False

    @property
    def is_up_to_date(self) -> bool:
        """Whether the target already holds every wanted snapshot."""
        return self.base is None


def make_plan(
    source: Sequence[SourceSnapshot],
    *,
    target: TargetState | None,
    staging: TargetState | None,
    limit: int | None = None,
    replace: bool = False,
) -> Plan:
    """Return what has to be done.

    Raises NoSnapshots, SnapshotGap, and TargetExists when the target is not a prefix of the source
    and `replace` is false.
    """
    wanted = _complete_series(source, limit)
    names = tuple(snapshot.name for snapshot in wanted)
    if target is not None:
        conflicts = _conflicts(wanted, target)
        if not conflicts:
            return _continue_target(wanted, names, target, staging)
        if not replace:
            raise _target_exists(conflicts)
    done = _matching_prefix(wanted, staging.snapshots) if staging else 0
    base = Resume(names[done - 1]) if done else Create()
    return Plan(names, base, _steps(wanted, done), replaces_target=target is not None)


def _complete_series(
    source: Sequence[SourceSnapshot], limit: int | None
) -> tuple[SourceSnapshot, ...]:
    """Return s1 … sN in order, or the first `limit` of them; only what is wanted must be whole."""
    if not source:
        raise NoSnapshots(
            "the repository has no snapshots",
            hint="snapshots are directories or subvolumes called s1, s2, …",
        )
    by_number = {snapshot.name.number: snapshot for snapshot in source}
    last = max(by_number) if limit is None else min(limit, max(by_number))
    missing = [f"s{number}" for number in range(1, last + 1) if number not in by_number]
    if missing:
        raise SnapshotGap(
            f"the series s1 … s{last} has gaps: {_first_of(missing, ', ')} missing",
            hint="restore or renumber the snapshots: dsgmigd does not skip any by itself",
        )
    return tuple(by_number[number] for number in range(1, last + 1))


def _continue_target(
    wanted: tuple[SourceSnapshot, ...],
    names: tuple[SnapshotName, ...],
    target: TargetState,
    staging: TargetState | None,
) -> Plan:
    rechecks = tuple(
        mine.name
        for mine, theirs in zip(wanted, _ordered(target.snapshots), strict=False)
        if mine.version != theirs.version
    )
    held = len(target.snapshots)
    if held >= len(wanted):
        return Plan(names, None, (), rechecks)
    done = _matching_prefix(wanted, staging.snapshots) if staging else 0
    if done > held:
        return Plan(names, Resume(names[done - 1]), _steps(wanted, done), rechecks)
    return Plan(names, Extend(names[held - 1]), _steps(wanted, held), rechecks)


def _steps(wanted: tuple[SourceSnapshot, ...], done: int) -> tuple[Step, ...]:
    steps = []
    for index in range(done, len(wanted)):
        snapshot = wanted[index]
        parent = wanted[index - 1] if index else None
        is_sendable = snapshot.is_sendable and (parent is None or parent.is_sendable)
        method: Method = "send" if is_sendable else "rsync"
        steps.append(Step(snapshot.name, parent.name if parent else None, method))
    return tuple(steps)


def _matching_prefix(wanted: tuple[SourceSnapshot, ...], held: tuple[TargetSnapshot, ...]) -> int:
    count = 0
    for mine, theirs in zip(wanted, _ordered(held), strict=False):
        is_same = (mine.name, mine.identity, mine.version) == (
            theirs.name,
            theirs.identity,
            theirs.version,
        )
        if not (is_same and theirs.is_verified):
            break
        count += 1
    return count


def _conflicts(wanted: tuple[SourceSnapshot, ...], target: TargetState) -> list[str]:
    """Return in words why the target is not a prefix of the source, or an extension of it."""
    held = _ordered(target.snapshots)
    if not held:
        return ["it has no snapshots s1 … sN"]
    conflicts: list[str] = []
    for mine, theirs in zip(wanted, held, strict=False):
        if mine.name != theirs.name:
            return [*conflicts, f"it has @{theirs.name} where the source has {mine.name}"]
        if theirs.identity is None:
            conflicts.append(f"@{theirs.name} was not made by dsgmigd")
        elif theirs.identity != mine.identity:
            conflicts.append(
                f"@{theirs.name} was made from {theirs.identity}, the source is {mine.identity}"
            )
        elif not theirs.is_verified:
            conflicts.append(f"@{theirs.name} is not marked as verified")
    return conflicts


def _target_exists(conflicts: list[str]) -> TargetExists:
    return TargetExists(
        f"the target exists and is not this source's: {_first_of(conflicts, '; ')}",
        hint='submit with "replace": true to build anew and keep the old dataset aside',
    )


def _first_of(evidence: list[str], separator: str) -> str:
    more = len(evidence) - _EVIDENCE_SHOWN
    return separator.join(evidence[:_EVIDENCE_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _ordered(snapshots: tuple[TargetSnapshot, ...]) -> list[TargetSnapshot]:
    return sorted(snapshots, key=lambda snapshot: snapshot.name)
