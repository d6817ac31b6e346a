"""The newest snapshot of a published dataset, for reading.

Its `.dsg/` has the manifests of all snapshots before it, so it has the whole history, even if the
live files were changed since. The repository's lock must be held, because there is one view only.

Raises: NoSnapshots, TargetMissing, TargetUnavailable, and those of dsgmigd.target.staging.
"""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from dsgmigd.errors import NoSnapshots
from dsgmigd.names import SnapshotName
from dsgmigd.target.area import check_target
from dsgmigd.target.dataset import Dataset
from dsgmigd.target.layout import DatasetLayout
from dsgmigd.target.publication import find_target, snapshot_names
from dsgmigd.target.staging import Staging
from dsgmigd.target.zfs import RunsCommands, Zfs


@dataclass(frozen=True)
class Newest:
    """The snapshot `name` of `target`, readable at `root`."""

    target: Dataset
    name: SnapshotName
    root: str
    staging: Staging


@contextlib.contextmanager
def newest_snapshot(commands: RunsCommands, layout: DatasetLayout) -> Iterator[Newest]:
    """Yield the newest of the snapshots s1 … sN; snapshots with other names do not count."""
    check_target(commands, layout.parent)
    staging = Staging(Zfs(commands), layout, str(uuid.uuid4()))
    target = find_target(staging, None)
    names = snapshot_names(target)
    if not names:
        raise NoSnapshots(
            f"{target.name} has no snapshot s1 … sN",
            hint=f"see what it has with: zfs list -r -t snapshot {target.name}",
        )
    staging.area.prepare()
    with staging.view(target.name, names[-1]) as root:
        yield Newest(target, names[-1], root, staging)
