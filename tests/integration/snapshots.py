"""Source snapshots as the product holds them, for tests that do without a queue."""

from pathlib import Path

from dsgmigd.names import SnapshotName
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.source.subvolume import read_subvolume


def held_snapshot(number: int, path: Path) -> HeldSnapshot:
    """Return the read-only snapshot at `path`, held as s`number`."""
    subvolume = read_subvolume(str(path))
    assert subvolume is not None
    return HeldSnapshot(
        name=SnapshotName(number),
        place=str(path),
        identity=subvolume.uuid,
        version=subvolume.ctransid,
        created_at=subvolume.created_at,
        is_sendable=True,
        is_pinned=True,
        subvolume=subvolume,
    )
