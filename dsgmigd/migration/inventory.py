"""Source and target as the plan sees them."""

import os
from dataclasses import replace

from dsgmigd.errors import DsgmigdError
from dsgmigd.migration.report import Record
from dsgmigd.migration.series import SourceSnapshot, TargetSnapshot, TargetState
from dsgmigd.names import SnapshotName
from dsgmigd.request import VerifyLevel
from dsgmigd.source.pins import Pins
from dsgmigd.source.repository import HeldSnapshot, Repository
from dsgmigd.target.dataset import Dataset, Snapshot
from dsgmigd.target.layout import SOURCE_IDENTITY, SOURCE_VERSION
from dsgmigd.target.marks import differs_mark, verified_mark
from dsgmigd.target.staging import Staging


def describe_source(
    repository: Repository, pins: Pins | None = None, *, may_send: bool = True
) -> list[SourceSnapshot]:
    """Return the snapshots as the plan sees them; a pin that this request has already counts."""
    described = []
    for snapshot in repository.snapshots:
        subvolume = snapshot.subvolume
        pin = pins.existing(snapshot) if pins else None
        described.append(
            SourceSnapshot(
                name=snapshot.name,
                identity=snapshot.identity,
                version=pin.ctransid if pin else snapshot.version,
                is_sendable=may_send and subvolume is not None,
            )
        )
    return described


def describe_origins(repository: Repository, target: TargetState) -> dict[str, str]:
    """Return the directory, SV-norm/ or SV/, of each identity that both or one of them has.

    Empty unless the target has a snapshot from another source, and if the original cannot be read:
    it is only for the words of an error.
    """
    known = {None, *(snapshot.identity for snapshot in repository.snapshots)}
    if known.issuperset(snapshot.identity for snapshot in target.snapshots):
        return {}
    try:
        original = repository.original()
    except DsgmigdError:
        return {}
    return {
        snapshot.identity: f"{os.path.basename(place.directory)}/"
        for place in (original, repository)
        if place
        for snapshot in place.snapshots
        if snapshot.subvolume
    }


def describe_cause(made: Snapshot, source: HeldSnapshot) -> str:
    """Return what may have made a published snapshot differ from its source."""
    if made.properties.get(SOURCE_VERSION) != str(source.version):
        return "the source changed since it was migrated"
    if source.subvolume is None:
        return "the source is no subvolume, so nothing says whether it changed since"
    return (
        "the source did not change since it was migrated, so suspect the disks and the memory of "
        "both sides"
    )


def describe_published(staging: Staging, target: Dataset) -> TargetState:
    """Return the published dataset as the plan sees it."""
    state = replace(describe_target(list(target.snapshots)), repo=staging.layout.repo)
    return replace(state, empty_dataset=target.name) if staging.is_empty(target) else state


def describe_staging(staging: Staging, dataset: Dataset, weakest: VerifyLevel) -> TargetState:
    """Return the staging dataset as the plan sees it; marks weaker than `weakest` do not count."""
    chain = staging.read_chain(dataset)
    state = describe_target(chain, weakest=weakest)
    return replace(state, shared=max(len(chain) - len(dataset.snapshots), 0))


def describe_record(target: Dataset) -> list[Record]:
    """Return what the snapshots s1 … sN say of their verifications, in order."""
    series = [one for one in target.snapshots if SnapshotName.is_valid(one.name)]
    return [
        Record(one.name, verified_mark(one.properties), differs_mark(one.properties))
        for one in sorted(series, key=lambda one: SnapshotName.parse(one.name))
    ]


def describe_target(
    snapshots: list[Snapshot], *, weakest: VerifyLevel | None = None
) -> TargetState:
    """Return snapshots as the plan sees them; marks weaker than `weakest` do not count."""
    described = []
    for snapshot in snapshots:
        if not SnapshotName.is_valid(snapshot.name):
            continue
        mark = verified_mark(snapshot.properties)
        described.append(
            TargetSnapshot(
                name=SnapshotName.parse(snapshot.name),
                identity=snapshot.properties.get(SOURCE_IDENTITY),
                version=int(snapshot.properties.get(SOURCE_VERSION, "0")),
                level=mark.level if mark and mark.is_at_least(weakest) else None,
                differs=differs_mark(snapshot.properties),
            )
        )
    return TargetState(tuple(described))
