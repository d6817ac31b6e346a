"""What is noted in properties of datasets and snapshots: pure rules.

The state of the work is nowhere else, so that it is always that of the datasets themselves.
"""

from dsgmigd.names import SnapshotName
from dsgmigd.plan import TargetSnapshot, TargetState
from dsgmigd.request import VERIFY_STRENGTH, VerifyLevel
from dsgmigd.zfs.dataset import Snapshot

REQUEST = "request"
SOURCE_IDENTITY = "source_uuid"
SOURCE_VERSION = "source_ctransid"
VERIFIED = "verified"
SNAPSHOT_HASH = "snapshot_hash"
# Of a staging dataset: what was the target was moved there, to make room for it.
ASIDE = "aside"
KEYS = (REQUEST, SOURCE_IDENTITY, SOURCE_VERSION, VERIFIED, SNAPSHOT_HASH, ASIDE)


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
