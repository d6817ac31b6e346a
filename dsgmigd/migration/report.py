"""What is known about one migration, from its start to its result."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dsgmigd.errors import TargetDiffers, VerificationFailed
from dsgmigd.migration.plan import Method, Plan
from dsgmigd.names import SnapshotName
from dsgmigd.request import VERIFY_STRENGTH
from dsgmigd.source.btrfs_send import SendProtocol
from dsgmigd.target.marks import Differs, Verified, weakest
from dsgmigd.target.publication import TargetFacts
from dsgmigd.verification.compare import printable
from dsgmigd.verification.findings import Loss, Verification, count_checks

_KEPT_EXAMPLES = 5

Outcome = Literal["done", "up_to_date", "verified"]


@dataclass(frozen=True)
class SourceFacts:
    """What a result says of the source: where it is, and how many snapshots it has."""

    directory: str
    snapshots: int

    def to_json(self) -> dict[str, str | int]:
        """Return the object `source` of a result, see docs/schemas/result.schema.json."""
        return {"directory": self.directory, "snapshots": self.snapshots}


@dataclass
class SnapshotRow:
    """One snapshot that this run made; `bytes` were written, `changed` files were hashed.

    Without a method it was not made, but only compared. `send_protocol` is None unless the method
    is "send". `seconds` made it (or compared it, if
    that is all), of which `metadata_seconds` went into DSG's metadata; `verify_seconds` compared it
    with its source after that. `scope` is what the manifest of a snapshot that was made may list.
    `evidence` has root hash and counts of the evidence that was taken.
    """

    name: str
    method: Method | None
    is_pinned: bool
    send_protocol: SendProtocol | None = None
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
    evidence: dict[str, str | int] | None = None
    verification: Verification | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row as a result contains it."""
        document = {key: value for key, value in vars(self).items() if key != "verification"}
        document["seconds"] = round(self.seconds, 3)
        document["metadata_seconds"] = round(self.metadata_seconds, 3)
        document["verify_seconds"] = round(self.verify_seconds, 3)
        document["verification"] = self.verification.to_json() if self.verification else None
        return document


@dataclass(frozen=True)
class Record:
    """What the marks of one published snapshot say of its verifications."""

    name: str
    verified: Verified | None
    differs: Differs | None

    def to_json(self) -> dict[str, Any]:
        """Return an item of the list `on_record` of a result."""
        return {
            "name": self.name,
            "last_verified": self.verified.to_json() if self.verified else None,
            "differs": self.differs.to_json() if self.differs else None,
        }


@dataclass
class Report:
    """What one run found and did; filled while it runs, so that a failed request shows it too.

    `has_source` is false if the target was checked against its own manifests, and nothing else.
    `on_record` is what the target's snapshots say of all verifications, those of this run included.
    """

    source: SourceFacts | None = None
    target: TargetFacts | None = None
    plan: Plan | None = None
    level: str = ""
    outcome: Outcome = "done"
    has_source: bool = True
    snapshots: list[SnapshotRow] = field(default_factory=list)
    on_record: list[Record] = field(default_factory=list)
    losses: dict[str, Loss] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    nested_subvolumes: set[str] = field(default_factory=set)
    has_unchecked_hashes: bool = False

    def raise_on_discrepancies(
        self,
        name: SnapshotName,
        found: Verification,
        *,
        published: str | None = None,
        cause: str | None = None,
    ) -> None:
        """Raise VerificationFailed if there were differences; otherwise record the losses.

        `published` is the dataset of the snapshot, unless it is what this run builds: then
        TargetDiffers is raised, with the `cause` if it is known.
        """
        if found.discrepancy_count:
            asked = "source" if self.has_source else "its manifests"
            message = (
                f"{name}: {found.discrepancy_count} differences between {asked} and target, "
                f"first: {found.discrepancies[0]}"
            )
            if published is None:
                raise VerificationFailed(
                    message, hint="the result lists them; nothing was published from this run"
                )
            raise TargetDiffers(
                f"{message}; {cause}" if cause else message,
                hint=_remedy(published, name, has_source=self.has_source),
            )
        for kind, lost in found.losses.items():
            loss = self.losses.setdefault(kind, Loss(kind))
            loss.add(lost.count, [f"{name}/{path}" for path in lost.examples])
        self._warn_of_nested_subvolumes(name, found.nested_subvolumes)
        # Who verifies at this level asked for it; who migrates publishes the manifests.
        if found.hashes_unchecked and published is None and not self.has_unchecked_hashes:
            self.has_unchecked_hashes = True
            self.warnings.append(
                "the level structure reads no contents: the hashes in the manifests were not "
                f"checked ({name} has {found.hashes_unchecked}); to check them: dsgmigd verify REPO"
            )

    def _warn_of_nested_subvolumes(self, name: SnapshotName, borders: list[str]) -> None:
        """Warn once about each nested subvolume that was not migrated."""
        new = [path for path in borders if path not in self.nested_subvolumes]
        self.nested_subvolumes.update(new)
        if new:
            examples = ", ".join(repr(printable(path)) for path in new[:_KEPT_EXAMPLES])
            self.warnings.append(
                f"{name}: {len(new)} paths are nested subvolumes or other file systems; "
                f"only an empty directory was created for each: {examples}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the part of a result that the migration itself fills."""
        source = self.source.to_json() if self.source else {}
        last = weakest([one.verified for one in self.on_record])
        return {
            "source": source if self.has_source else None,
            "target": self.target.to_json() if self.target else {},
            "plan": self.plan.to_json() if self.plan else {},
            "verified_now": self._verified_now(),
            "last_verified": last.to_json() if last else None,
            "on_record": [one.to_json() for one in self.on_record],
            "snapshots": [row.to_json() for row in self.snapshots],
            "checks": count_checks(row.verification for row in self.snapshots if row.verification),
            "losses": [asdict(loss) for loss in self.losses.values()],
            "warnings": self.warnings,
        }

    def _verified_now(self) -> dict[str, Any] | None:
        """Return what this run verified, at the weakest of its levels; None if nothing."""
        found = [row.verification for row in self.snapshots if row.verification]
        if not found:
            return None
        return {
            "level": min((one.level for one in found), key=VERIFY_STRENGTH.__getitem__),
            "against": "source" if self.has_source else "manifests",
            "snapshots": len(found),
            "files_read": sum(one.files_read for one in found),
            "files_proven": sum(one.files_proven for one in found),
        }


def _remedy(published: str, name: SnapshotName, *, has_source: bool) -> str:
    """Return what to do about a published dataset that is not what it should be."""
    repo = published.rpartition("/")[2]
    rebuild = f"dsgmigd rebuild {repo} --from {name}"
    if has_source:
        return f"the result lists them; if the source is right: {rebuild}"
    return (
        "the result lists them; check the pool: zpool status -v; if there is still a source: "
        f"{rebuild}"
    )
