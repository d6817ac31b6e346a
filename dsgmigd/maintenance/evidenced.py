"""The snapshots of a published dataset of which there is evidence, for reading.

The repository's lock must be held, because there is one view only.

Raises: TargetMissing, TargetUnavailable, EvidenceMissing, EvidenceDamaged, and those of
dsgmigd.target.staging.
"""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from dsgmigd.custody.statement import Statement
from dsgmigd.custody.store import Store
from dsgmigd.errors import EvidenceMissing
from dsgmigd.names import SnapshotName
from dsgmigd.target.area import check_target
from dsgmigd.target.layout import DatasetLayout
from dsgmigd.target.publication import find_target, snapshot_names
from dsgmigd.target.staging import Staging
from dsgmigd.target.zfs import RunsCommands, Zfs


@dataclass(frozen=True)
class Evidenced:
    """Snapshots of a published dataset with their latest statements, in order.

    `without` are those of which there is no evidence.
    """

    statements: tuple[Statement, ...]
    without: tuple[SnapshotName, ...]
    staging: Staging

    @contextlib.contextmanager
    def view(self, statement: Statement) -> Iterator[str]:
        """Yield a directory in which the snapshot of a statement can be read."""
        with self.staging.view(self.staging.layout.target, statement.name) as root:
            yield root


def find_evidenced(
    commands: RunsCommands, layout: DatasetLayout, store: Store, asked: SnapshotName | None
) -> Evidenced:
    """Return the published snapshots with their evidence: all of them, or the one asked for.

    A statement belongs to a snapshot by its guid, so that one that was built again has its own.
    """
    check_target(commands, layout.parent)
    staging = Staging(Zfs(commands), layout, str(uuid.uuid4()))
    target = find_target(staging, asked)
    latest = {one.snapshot_guid: one for one in store.statements()}
    guids = {one.name: one.guid for one in target.snapshots}
    names = [name for name in snapshot_names(target) if asked in {None, name}]
    found = {name: latest[guids[str(name)]] for name in names if guids[str(name)] in latest}
    if not found:
        subject = target.name if asked is None else f"{target.name}@{asked}"
        raise EvidenceMissing(
            f"there is no evidence of {subject}",
            hint="evidence is taken while a snapshot is migrated: set [custody] evidence, and to "
            f"take it of what is there already: dsgmigd rebuild {layout.repo}",
        )
    staging.area.prepare()
    without = tuple(name for name in names if name not in found)
    return Evidenced(tuple(found.values()), without, staging)
