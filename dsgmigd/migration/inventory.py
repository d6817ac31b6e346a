"""Source and target as the plan sees them."""

import os
from dataclasses import replace

from dsgmigd.errors import DsgmigdError
from dsgmigd.migration.series import SourceSnapshot, TargetSnapshot, TargetState
from dsgmigd.names import SnapshotName
from dsgmigd.request import VERIFY_STRENGTH, VerifyLevel
from dsgmigd.source.pins import Pins
from dsgmigd.source.repository import Repository
from dsgmigd.target.dataset import Dataset, Snapshot
from dsgmigd.target.layout import SOURCE_IDENTITY, SOURCE_VERSION, VERIFIED
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


def describe_published(staging: Staging, target: Dataset) -> TargetState:
    """Return the published dataset as the plan sees it."""
    state = describe_target(list(target.snapshots))
    return replace(state, empty_dataset=target.name) if staging.is_empty(target) else state


def describe_target(
    snapshots: list[Snapshot], *, weakest: VerifyLevel | None = None
) -> TargetState:
    """Return snapshots as the plan sees them; marks weaker than `weakest` do not count."""
    described = []
    for snapshot in snapshots:
        if not SnapshotName.is_valid(snapshot.name):
            continue
        mark = snapshot.properties.get(VERIFIED)
        described.append(
            TargetSnapshot(
                name=SnapshotName.parse(snapshot.name),
                identity=snapshot.properties.get(SOURCE_IDENTITY),
                version=int(snapshot.properties.get(SOURCE_VERSION, "0")),
                is_verified=mark in VERIFY_STRENGTH
                and VERIFY_STRENGTH[mark] >= VERIFY_STRENGTH.get(weakest or "", 0),
            )
        )
    return TargetState(tuple(described))
