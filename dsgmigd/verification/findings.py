"""The result of checking one snapshot, and counts over all snapshots: pure data and rules.

Raises: nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from dsgmigd.request import Loss as LossName
from dsgmigd.request import VerifyLevel
from dsgmigd.verification.compare import Discrepancy, printable

_KEPT_DISCREPANCIES = 100
_KEPT_EXAMPLES = 10

# The checks by the names that a result shows. `file_transfer`, `file_contents`, `manifests_exist`
# and `push_log_data` concern a whole snapshot; each other check concerns one part of its metadata.
DOCUMENT_CHECKS = (
    *("manifests_exist", "push_log_data", "metadata_version", "manifest_entries", "entry_count"),
    *("entries_hash", "sync_messages", "snapshot_chain", "snapshot_hash", "archives"),
)
CHECKS = ("file_transfer", "file_contents", *DOCUMENT_CHECKS)

_BY_ATTRIBUTE = {
    "content": "file_contents",
    "manifest": "manifest_entries",
    "manifest entry": "manifest_entries",
    "manifest reference": "manifest_entries",
}
_BY_ATTRIBUTE_OF_DOCUMENTS = {
    "metadata_version": "metadata_version",
    "entry_count": "entry_count",
    "entries_hash": "entries_hash",
    "sync-messages.json": "sync_messages",
    "snapshot_hash": "snapshot_hash",
    "created_by": "push_log_data",
    "created_at": "push_log_data",
    "snapshot_message": "push_log_data",
}


@dataclass
class Loss:
    """Something that the target cannot store: how often it occurred, and the first paths."""

    loss: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, count: int, examples: list[str]) -> None:
        """Count more occurrences, and keep the first examples."""
        self.count += count
        self.examples += examples[: _KEPT_EXAMPLES - len(self.examples)]


@dataclass
class Verification:
    """The result of checking one snapshot.

    Without `is_full_walk`, only changed paths were compared. `nested_subvolumes` are the paths, as
    the file system gave them, of nested subvolumes and other file systems: their contents are not
    migrated. `failures` counts the discrepancies of each check; `note` is called for every
    discrepancy. `hashes_unchecked` counts the hashes in the manifest that nobody compared with the
    content, because the level reads none. `unlisted` are the first paths that were migrated and are
    not in the manifest.
    """

    level: VerifyLevel
    is_full_walk: bool = True
    entries: int = 0
    files: int = 0
    files_read: int = 0
    files_proven: int = 0
    hashes_unchecked: int = 0
    source_bytes_read: int = 0
    target_bytes_read: int = 0
    discrepancy_count: int = 0
    discrepancies: list[Discrepancy] = field(default_factory=list)
    losses: dict[LossName, Loss] = field(default_factory=dict)
    nested_subvolumes: list[str] = field(default_factory=list)
    is_push_checked: bool = False
    failures: Counter[str] = field(default_factory=Counter)
    note: Callable[[list[Discrepancy]], None] = lambda _: None
    unlisted_count: int = 0
    unlisted: list[str] = field(default_factory=list)

    def add(self, found: list[Discrepancy]) -> None:
        """Count discrepancies, and keep the first ones."""
        self.discrepancy_count += len(found)
        self.failures.update(check_of(one) for one in found)
        self.note(found)
        room = _KEPT_DISCREPANCIES - len(self.discrepancies)
        self.discrepancies += found[:room]

    def add_loss(self, kind: LossName, path: str) -> None:
        """Count a path at which the target cannot store something."""
        loss = self.losses.get(kind) or self.losses.setdefault(kind, Loss(kind))
        loss.count += 1
        if len(loss.examples) < _KEPT_EXAMPLES:
            loss.examples.append(printable(path))

    def add_unlisted(self, path: str) -> None:
        """Count a path that is migrated but never listed in a manifest; keep the first paths."""
        self.unlisted_count += 1
        if len(self.unlisted) < _KEPT_EXAMPLES:
            self.unlisted.append(printable(path))

    def to_json(self) -> dict[str, Any]:
        """Return the check as a row of a result contains it."""
        names = {one.name for one in fields(self)} - {"note", "nested_subvolumes"}
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name in names} | {
            "discrepancies": [item.to_json() for item in self.discrepancies],
            "losses": [asdict(loss) for loss in self.losses.values()],
            "borders": [printable(path) for path in self.nested_subvolumes],
        }


def count_checks(rows: Iterable[Verification]) -> dict[str, dict[str, int | str]]:
    """Return how many things each check covered, and how often it failed, over all snapshots.

    A check that covered nothing says why.
    """
    rows = list(rows)
    counts = _count(rows)
    reasons = {name: _reason_for_none(name, rows) for name in CHECKS if not counts[name]["checked"]}
    return {
        name: {**count, "reason": reasons[name]} if name in reasons else {**count}
        for name, count in counts.items()
    }


def _reason_for_none(check: str, rows: list[Verification]) -> str:
    """Return why a check covered nothing."""
    if not rows:
        return "no snapshot was verified"
    if check == "push_log_data":
        return "compared only when a snapshot is made"
    if all(one.level == "structure" for one in rows):
        return "not part of the level structure"
    return "the snapshots have no files"


def _count(rows: Iterable[Verification]) -> dict[str, dict[str, int]]:
    counts = {name: {"checked": 0, "failed": 0} for name in CHECKS}
    for seen in rows:
        counts["file_transfer"]["checked"] += seen.entries
        counts["file_contents"]["checked"] += seen.files_read + seen.files_proven
        for name in DOCUMENT_CHECKS:
            counts[name]["checked"] += name != "push_log_data" or seen.is_push_checked
        for name, failed in seen.failures.items():
            counts[name]["failed"] += failed
    return counts


def check_of(found: Discrepancy) -> str:
    """Return the check that a discrepancy fails."""
    if found.path == ".dsg/archive":
        return "archives"
    if found.path != ".dsg":
        return _BY_ATTRIBUTE.get(found.attribute, "file_transfer")
    if found.attribute.startswith("chain "):
        return "snapshot_chain"
    if found.attribute.startswith("metadata "):  # … of a snapshot in sync-messages.json
        return "sync_messages"
    return _BY_ATTRIBUTE_OF_DOCUMENTS.get(found.attribute, "manifests_exist")
