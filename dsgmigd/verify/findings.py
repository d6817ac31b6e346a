"""What the check of one snapshot saw: pure data."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from dsgmigd.request import Loss as LossName
from dsgmigd.request import VerifyLevel
from dsgmigd.verify.checks import CHECKS, DOCUMENT_CHECKS, check_of
from dsgmigd.verify.compare import Discrepancy, printable

_KEPT_DISCREPANCIES = 100
_KEPT_EXAMPLES = 10


@dataclass
class Loss:
    """Something that the target cannot hold: how often it was met, and the first paths."""

    loss: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, count: int, examples: list[str]) -> None:
        """Count further cases, and keep the first examples."""
        self.count += count
        self.examples += examples[: _KEPT_EXAMPLES - len(self.examples)]


@dataclass
class Verification:
    """What the check of one snapshot saw.

    Without `is_full_walk` it looked at changed paths only. `borders` are the paths, as the file
    system gave them, where another subvolume or file system begins: nothing beyond was migrated.
    `failures` counts discrepancies by the checks they fail; `note` gets every one of them.
    `unlisted` are the first paths of those that were migrated and stand in no manifest.
    """

    level: VerifyLevel
    is_full_walk: bool = True
    entries: int = 0
    files: int = 0
    files_read: int = 0
    files_proven: int = 0
    source_bytes_read: int = 0
    target_bytes_read: int = 0
    discrepancy_count: int = 0
    discrepancies: list[Discrepancy] = field(default_factory=list)
    losses: dict[LossName, Loss] = field(default_factory=dict)
    borders: list[str] = field(default_factory=list)
    is_push_checked: bool = False
    failures: Counter[str] = field(default_factory=Counter)
    note: Callable[[list[Discrepancy]], None] = lambda _: None
    unlisted_count: int = 0
    unlisted: list[str] = field(default_factory=list)

    def add(self, found: list[Discrepancy]) -> None:
        """Count discrepancies, and keep the first of them."""
        self.discrepancy_count += len(found)
        self.failures.update(check_of(one) for one in found)
        self.note(found)
        room = _KEPT_DISCREPANCIES - len(self.discrepancies)
        self.discrepancies += found[:room]

    def add_loss(self, kind: LossName, path: str) -> None:
        """Count a path of which the target cannot hold something."""
        loss = self.losses.get(kind) or self.losses.setdefault(kind, Loss(kind))
        loss.count += 1
        if len(loss.examples) < _KEPT_EXAMPLES:
            loss.examples.append(printable(path))

    def add_border(self, path: str) -> None:
        """Note a path where another subvolume or file system begins, which was not migrated."""
        self.borders.append(path)

    def add_unlisted(self, path: str) -> None:
        """Count what was migrated but has no place in a manifest, and keep the first paths."""
        self.unlisted_count += 1
        if len(self.unlisted) < _KEPT_EXAMPLES:
            self.unlisted.append(printable(path))

    def to_json(self) -> dict[str, Any]:
        """Return the check as it stands in a result's row."""
        kept = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "note"}
        return kept | {
            "discrepancies": [item.to_json() for item in self.discrepancies],
            "losses": [asdict(loss) for loss in self.losses.values()],
            "borders": [printable(path) for path in self.borders],
        }


def count_checks(rows: Iterable[Verification]) -> dict[str, dict[str, int]]:
    """Return how much each check looked at, and how often it failed, over all snapshots."""
    counts = {name: {"checked": 0, "failed": 0} for name in CHECKS}
    for seen in rows:
        counts["file_transfer"]["checked"] += seen.entries
        counts["file_contents"]["checked"] += seen.files_read + seen.files_proven
        for name in DOCUMENT_CHECKS:
            counts[name]["checked"] += name != "push_log_data" or seen.is_push_checked
        for name, failed in seen.failures.items():
            counts[name]["failed"] += failed
    return counts
