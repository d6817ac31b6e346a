"""A series of snapshots in staging, and published, on a zfs that keeps its pool in memory."""

from collections.abc import Callable
from pathlib import Path

from dsgmigd.names import SnapshotName, parse_dataset_name, parse_repo_name
from dsgmigd.target.layout import SOURCE_IDENTITY, SOURCE_VERSION, DatasetLayout
from dsgmigd.target.publication import Publication
from dsgmigd.target.staging import Staging
from dsgmigd.target.zfs import Zfs
from tests.unit.fake_zfs import FakeZfs

AREA = "zsd/.dsgmigd"
T0, T1, T2, T3 = (f"2026010{day}T000000Z" for day in (1, 2, 3, 4))


def layout_of(repo: str) -> DatasetLayout:
    """Return the dataset names of a repository below the pool zsd."""
    return DatasetLayout(parse_dataset_name("zsd"), AREA, parse_repo_name(repo))


def staging_of(
    commands: FakeZfs,
    request_id: str,
    repo: str = "SV",
    *,
    warn: Callable[[str], object] = lambda _: None,
) -> Staging:
    """Return the staging of a repository on behalf of a request."""
    zfs = Zfs(commands, native=commands.native, sleep=lambda _: None)
    return Staging(zfs, layout_of(repo), request_id, warn=warn)


def take_snapshot(staging: Staging, name: SnapshotName, text: str) -> None:
    """Write `text` into staging and make it a verified snapshot."""
    dataset = staging.read_staging()
    assert dataset is not None
    (Path(dataset.mountpoint) / "file").write_text(text)
    staging.snapshot(name, {SOURCE_IDENTITY: f"uuid-{name}", SOURCE_VERSION: str(name.number)})
    staging.mark_verified(name, "complete")


def publish(staging: Staging, when: str) -> str | None:
    """Make staging the target and mount it; return where the previous target is kept."""
    publication = Publication(staging)
    kept = publication.publish(when, staging.read_target(), {}).replaced
    mounted_root(staging)
    return kept


def mounted_root(staging: Staging) -> Path:
    """Mount the target; return its root."""
    mounted = Publication(staging).mount.mount(may_cover=False)
    assert mounted.mountpoint is not None, mounted.warnings
    return Path(mounted.mountpoint)


def publish_series(staging: Staging, *names: SnapshotName) -> None:
    """Publish a new dataset with these snapshots."""
    staging.create()
    for name in names:
        take_snapshot(staging, name, str(name))
    publish(staging, T0)


def target_names(staging: Staging) -> list[str]:
    """Return the names of the target's snapshots; none if there is no target."""
    dataset = staging.read_target()
    return [] if dataset is None else [snapshot.name for snapshot in dataset.snapshots]


def chain_names(staging: Staging) -> list[str]:
    """Return the names of the snapshots on which staging builds."""
    dataset = staging.read_staging()
    assert dataset is not None
    return [snapshot.name for snapshot in staging.read_chain(dataset)]
