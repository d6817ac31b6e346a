"""What has to be done for one request, as a value.

`make_plan` is a pure rule: source snapshots, what staging and target hold, and the request go in;
a `Plan` comes out, or a typed conflict with its evidence is raised. Resuming, extending and
"already up to date" are values of the plan; the executor has no such branches.

What a snapshot is, and which ones a dataset has to hold, is in `series`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dsgmigd.errors import TargetExists
from dsgmigd.migration.series import (
    Series,
    SourceSnapshot,
    TargetSnapshot,
    TargetState,
    check_equal,
    check_meets,
    differing_among,
    first_of,
    kept_before,
    known_series,
    present_series,
    wanted_numbers,
)
from dsgmigd.names import SnapshotName
from dsgmigd.request import VerifyLevel
from dsgmigd.source.repository import shorten

Method = Literal["send", "rsync"]


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

    Before anything else, snapshots of the target are compared with their sources, and a difference
    ends the run: `rechecks`, whose source moved since, in full; `verifies`, which were verified at
    a weaker level than is asked for now, at that level. `only_in_target` are snapshots that the
    source does not have (any more): they stay, and nothing can be compared with them.
    """

    wanted: tuple[SnapshotName, ...]
    base: Base | None
    steps: tuple[Step, ...]
    rechecks: tuple[SnapshotName, ...] = ()
    verifies: tuple[SnapshotName, ...] = ()
    replaces_target: bool = False
    only_in_target: tuple[SnapshotName, ...] = ()

    @property
    def is_up_to_date(self) -> bool:
        """Whether the target already holds every wanted snapshot."""
        return self.base is None

    def to_json(self) -> dict[str, object]:
        """Return the object `plan` of a result, see docs/schemas/result.schema.json."""
        base = "nothing" if self.base is None else type(self.base).__name__.lower()
        if isinstance(self.base, Resume | Extend):
            base += f" {self.base.snapshot}"
        return {
            "wanted": len(self.wanted),
            "base": base,
            "steps": [f"{step.snapshot} by {step.method}" for step in self.steps],
            "rechecks": [str(name) for name in self.rechecks],
            "verifies": [str(name) for name in self.verifies],
            "replaces_target": self.replaces_target,
            "only_in_target": [str(name) for name in self.only_in_target],
        }


def make_plan(
    source: Sequence[SourceSnapshot],
    *,
    target: TargetState | None,
    staging: TargetState | None,
    origins: Mapping[str, str] | None = None,
    limit: int | None = None,
    replace: bool = False,
    rebuild_from: SnapshotName | None = None,
    level: VerifyLevel | None = None,
) -> Plan:
    """Return what has to be done; `origins` has the directory of identities, for the evidence.

    With `rebuild_from`, that snapshot and all after it are built again, whatever the target has.
    Raises NoSnapshots, SnapshotGap, TargetExists when the target is not a prefix of the source and
    `replace` is false, and TargetDiffers when it is one, and a verification found differences.
    """
    wanted = wanted_numbers(source, limit)
    conflicts: list[str] = []
    if target is not None:
        known = known_series(source, target, wanted)
        if rebuild_from is not None:
            kept = kept_before(rebuild_from, known, target, source)
            moved = _moved(known[:kept], target)
            return _build_after(kept, known, staging, moved, _only_in_target(source, target, limit))
        conflicts = _conflicts(known, target, origins or {})
        differing = differing_among(target, wanted)
        if not conflicts and not (differing and replace):
            check_equal(differing, target.repo)
            check_meets(known, target, wanted)
            only_in_target = _only_in_target(source, target, limit)
            return _continue_target(known, target, staging, only_in_target, level)
    series = present_series(source, wanted, may_renumber=target is None)
    if target is None:
        return _build_new(series, staging)
    if not replace:
        raise _target_exists(conflicts, target)
    return _build_after(0, series, staging)


def _build_new(series: Series, staging: TargetState | None) -> Plan:
    names = tuple(snapshot.name for snapshot in series)
    return Plan(names, *_remaining(series, 0, staging))


def _build_after(
    kept: int,
    series: Series,
    staging: TargetState | None,
    rechecks: tuple[SnapshotName, ...] = (),
    only_in_target: tuple[SnapshotName, ...] = (),
) -> Plan:
    """Return how to replace the target, of which the first `kept` snapshots stay.

    What an interrupted run left counts only if it has the same snapshots of the target.
    """
    if staging is not None and staging.shared != kept:
        staging = None
    return Plan(
        tuple(snapshot.name for snapshot in series if snapshot.is_present),
        *_remaining(series, kept, staging),
        rechecks,
        replaces_target=True,
        only_in_target=only_in_target,
    )


def _remaining(
    series: Series, held: int, staging: TargetState | None
) -> tuple[Base, tuple[Step, ...]]:
    """Return where to begin, and the steps from there, if the target has `held` snapshots."""
    done = _matching_prefix(series, staging.snapshots) if staging else 0
    if done > held:
        return Resume(series[done - 1].name), _steps(series, done)
    base = Extend(series[held - 1].name) if held else Create()
    return base, _steps(series, held)


def describe_only_in_target(plan: Plan) -> list[str]:
    """Return a warning if the target has snapshots that the source does not have."""
    if not plan.only_in_target:
        return []
    names = shorten([str(name) for name in plan.only_in_target])
    return [
        f"the source does not have (or no longer has) {names} of the target: kept, not compared"
    ]


def _only_in_target(
    source: Sequence[SourceSnapshot], target: TargetState, limit: int | None
) -> tuple[SnapshotName, ...]:
    present = {snapshot.name for snapshot in source}
    names = sorted(snapshot.name for snapshot in target.snapshots)
    return tuple(
        name for name in names if name not in present and (limit is None or name.number <= limit)
    )


def _continue_target(
    series: Series,
    target: TargetState,
    staging: TargetState | None,
    only_in_target: tuple[SnapshotName, ...],
    level: VerifyLevel | None,
) -> Plan:
    names = tuple(snapshot.name for snapshot in series if snapshot.is_present)
    verifies = tuple(
        mine.name
        for mine, theirs in zip(series, _ordered(target.snapshots), strict=False)
        if mine.is_present and theirs.is_weaker_than(level)
    )
    held = len(target.snapshots)
    base: Base | None = None
    steps: tuple[Step, ...] = ()
    if held < len(series):
        base, steps = _remaining(series, held, staging)
    moved = _moved(series, target)
    return Plan(names, base, steps, moved, verifies, only_in_target=only_in_target)


def _moved(series: Series, target: TargetState) -> tuple[SnapshotName, ...]:
    """Return the snapshots of the target whose source changed since."""
    pairs = zip(series, _ordered(target.snapshots), strict=False)
    return tuple(mine.name for mine, theirs in pairs if mine.version != theirs.version)


def _steps(wanted: Series, done: int) -> tuple[Step, ...]:
    steps = []
    for index in range(done, len(wanted)):
        snapshot = wanted[index]
        parent = wanted[index - 1] if index else None
        is_sendable = snapshot.is_sendable and (parent is None or parent.is_sendable)
        method: Method = "send" if is_sendable else "rsync"
        steps.append(Step(snapshot.name, parent.name if parent else None, method))
    return tuple(steps)


def _matching_prefix(wanted: Series, held: tuple[TargetSnapshot, ...]) -> int:
    count = 0
    for mine, theirs in zip(wanted, _ordered(held), strict=False):
        is_same = (mine.name, mine.identity, mine.version) == (
            theirs.name,
            theirs.identity,
            theirs.version,
        )
        if not (is_same and theirs.is_verified and theirs.differs is None):
            break
        count += 1
    return count


def _conflicts(wanted: Series, target: TargetState, origins: Mapping[str, str]) -> list[str]:
    """Return in words why the target is not a prefix of the source, or an extension of it."""
    held = _ordered(target.snapshots)
    if not held:
        return ["it is empty" if target.empty_dataset else "it has no snapshots s1 … sN"]
    conflicts: list[str] = []
    for mine, theirs in zip(wanted, held, strict=False):
        if mine.name != theirs.name:
            return [*conflicts, f"it has @{theirs.name} where the source has {mine.name}"]
        if theirs.identity is None:
            conflicts.append(f"@{theirs.name} was not made by dsgmigd")
        elif theirs.identity != mine.identity:
            was, now = origins.get(theirs.identity), origins.get(mine.identity)
            conflicts.append(
                f"@{theirs.name} was made from {was}, the source is {now} now"
                if was and now and was != now
                else f"@{theirs.name} was made from {theirs.identity}, "
                f"the source is {mine.identity}"
            )
        elif not theirs.is_verified:
            conflicts.append(f"@{theirs.name} is not marked as verified")
    return conflicts


def _target_exists(conflicts: list[str], target: TargetState) -> TargetExists:
    replacing = 'submit with "replace": true to build a new dataset and keep the old one'
    empty = target.empty_dataset
    return TargetExists(
        f"the target exists but was not created from this source: {first_of(conflicts, '; ')}",
        hint=f"it is empty: zfs destroy {empty}, or {replacing}" if empty else replacing,
    )


def _ordered(snapshots: tuple[TargetSnapshot, ...]) -> list[TargetSnapshot]:
    return sorted(snapshots, key=lambda snapshot: snapshot.name)
