"""The newest snapshot of a published dataset, for reading.

Its `.dsg/` holds the manifests of all snapshots before it, so this one tells the whole history,
whatever somebody did to the live files since. The repository's lock is to be held: the view has one
name.

Leaving errors: TargetMissing, NoSnapshots, and those of dsgmigd.staging and dsgmigd.zfs.
"""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from dsgmigd.errors import NoSnapshots
from dsgmigd.names import SnapshotName
from dsgmigd.places import Places
from dsgmigd.published import find_target, snapshot_names
from dsgmigd.staging import Staging
from dsgmigd.zfs.dataset import Dataset, RunsCommands, Zfs
from dsgmigd.zfs.pool import check_pool


@dataclass(frozen=True)
class Newest:
    """The snapshot `name` of `target`, readable at `root`."""

    target: Dataset
    name: SnapshotName
    root: str
    staging: Staging


@contextlib.contextmanager
def newest_snapshot(commands: RunsCommands, places: Places) -> Iterator[Newest]:
    """Give the newest of the snapshots s1 … sN; snapshots with other names do not count."""
    check_pool(commands, places.parent)
    staging = Staging(Zfs(commands), places, str(uuid.uuid4()))
    staging.check_parent()
    target = find_target(staging, None)
    names = snapshot_names(target)
    if not names:
        raise NoSnapshots(
            f"{target.name} has no snapshot s1 … sN",
            hint=f"see what it has with: zfs list -r -t snapshot {target.name}",
        )
    staging.prepare_area()
    with staging.view(target.name, names[-1]) as root:
        yield Newest(target, names[-1], root, staging)
