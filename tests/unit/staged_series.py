"""A series of snapshots in staging, and published, on a zfs that keeps its pool in memory."""

from pathlib import Path

from dsgmigd.marks import SOURCE_IDENTITY, SOURCE_VERSION
from dsgmigd.names import SnapshotName, parse_dataset_name, parse_repo_name
from dsgmigd.places import Places
from dsgmigd.staging import Staging
from dsgmigd.zfs.dataset import Zfs
from tests.unit.fake_zfs import FakeZfs

AREA = "zsd/.dsgmigd"


def staging_of(commands: FakeZfs, request_id: str) -> Staging:
    """Return the staging of SV on behalf of a request."""
    places = Places(parse_dataset_name("zsd"), AREA, parse_repo_name("SV"))
    return Staging(Zfs(commands, sleep=lambda _: None), places, request_id)


def take_snapshot(staging: Staging, name: SnapshotName, text: str) -> None:
    """Write `text` into staging and make it a verified snapshot."""
    dataset = staging.read_staging()
    assert dataset is not None
    (Path(dataset.mountpoint) / "file").write_text(text)
    staging.snapshot(name, {SOURCE_IDENTITY: f"uuid-{name}", SOURCE_VERSION: str(name.number)})
    staging.mark_verified(dataset.name, name, "complete")


def publish_series(staging: Staging, *names: SnapshotName, when: str = "T0") -> None:
    """Publish a new dataset with these snapshots."""
    staging.create()
    for name in names:
        take_snapshot(staging, name, str(name))
    staging.publish(when, staging.read_target())
    staging.mount_target()
