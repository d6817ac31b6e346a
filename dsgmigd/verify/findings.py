"""What the check of one snapshot saw: pure data."""

from dataclasses import asdict, dataclass, field
from typing import Any

from dsgmigd.request import Loss as LossName
from dsgmigd.request import VerifyLevel
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
    unlisted_count: int = 0
    unlisted: list[str] = field(default_factory=list)

    def add(self, found: list[Discrepancy]) -> None:
        """Count discrepancies, and keep the first of them."""
        self.discrepancy_count += len(found)
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
        return vars(self) | {
            "discrepancies": [item.to_json() for item in self.discrepancies],
            "losses": [asdict(loss) for loss in self.losses.values()],
            "borders": [printable(path) for path in self.borders],
        }
