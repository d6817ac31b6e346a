"""What is known of one migration, from its first moment to its result."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dsgmigd.errors import VerificationFailed
from dsgmigd.names import SnapshotName
from dsgmigd.plan import Method
from dsgmigd.verify.compare import printable
from dsgmigd.verify.findings import Loss, Verification, count_checks

_KEPT_EXAMPLES = 5

Outcome = Literal["done", "up_to_date", "verified"]


@dataclass
class SnapshotRow:
    """One snapshot that this run made; `bytes` were written, `changed` files were hashed.

    Without a method it was not made, but only compared. `seconds` made it (or compared it, if
    that is all), of which `metadata_seconds` went into DSG's metadata; `verify_seconds` compared it
    with its source after that. `scope` is what the manifest of a snapshot that was made may list.
    """

    name: str
    method: Method | None
    is_pinned: bool
    files: int = 0
    bytes: int = 0
    changed: int = 0
    seconds: float = 0.0
    metadata_seconds: float = 0.0
    verify_seconds: float = 0.0
    entries_hash: str = ""
    snapshot_hash: str = ""
    scope: str = ""
    excluded: list[str] = field(default_factory=list)
    verification: Verification | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row as it stands in a result."""
        document = {key: value for key, value in vars(self).items() if key != "verification"}
        document["seconds"] = round(self.seconds, 3)
        document["metadata_seconds"] = round(self.metadata_seconds, 3)
        document["verify_seconds"] = round(self.verify_seconds, 3)
        document["verification"] = self.verification.to_json() if self.verification else None
        return document


@dataclass
class Report:
    """What one run found and did; filled while it runs, so that a failure can show it too.

    `has_source` is false if the target was checked against its own manifests, and nothing else.
    """

    source: dict[str, Any] = field(default_factory=dict)
    target: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    level: str = ""
    outcome: Outcome = "done"
    has_source: bool = True
    snapshots: list[SnapshotRow] = field(default_factory=list)
    losses: dict[str, Loss] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    borders: set[str] = field(default_factory=set)

    def judge(self, name: SnapshotName, found: Verification) -> None:
        """Raise VerificationFailed if there were differences; note what was lost."""
        if found.discrepancy_count:
            asked, hint = "source", "nothing was published from this run"
            if not self.has_source:
                asked, hint = "its manifests", "see whether the pool is damaged: zpool status -v"
            raise VerificationFailed(
                f"{name}: {found.discrepancy_count} differences between {asked} and target, "
                f"first: {found.discrepancies[0]}",
                hint=f"the result lists them; {hint}",
            )
        for kind, lost in found.losses.items():
            loss = self.losses.setdefault(kind, Loss(kind))
            loss.add(lost.count, [f"{name}/{path}" for path in lost.examples])
        self._warn_of_borders(name, found.borders)

    def _warn_of_borders(self, name: SnapshotName, borders: list[str]) -> None:
        """Say once of each path that what begins there was not migrated."""
        new = [path for path in borders if path not in self.borders]
        self.borders.update(new)
        if new:
            examples = ", ".join(repr(printable(path)) for path in new[:_KEPT_EXAMPLES])
            self.warnings.append(
                f"{name}: other subvolumes or file systems begin at {len(new)} paths, of which "
                f"nothing was migrated but an empty directory: {examples}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the part of a result that the migration itself fills."""
        return {
            "source": self.source if self.has_source else None,
            "target": self.target,
            "plan": self.plan,
            "verification_level": self.level,
            "snapshots": [row.to_json() for row in self.snapshots],
            "checks": count_checks(row.verification for row in self.snapshots if row.verification),
            "losses": [asdict(loss) for loss in self.losses.values()],
            "warnings": self.warnings,
        }
