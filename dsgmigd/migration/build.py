"""Build staging, snapshot by snapshot, each verified before the next is begun.

Raises: the errors of `snapshot_writer`, `target.staging` and `verification`; TargetFull with the
space that was needed, after what did not fit is given back.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dsgmigd.dsg.push_line import Push
from dsgmigd.dsg.tags import TagLink
from dsgmigd.errors import DsgmigdError, SourceChanged, TargetFull
from dsgmigd.host.log import get_logger
from dsgmigd.host.terminal import shortened
from dsgmigd.migration.bounds import TEXT_CHARACTERS
from dsgmigd.migration.evidence import Evidence
from dsgmigd.migration.plan import Method, Step
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.report import Report, SnapshotRow
from dsgmigd.migration.snapshot_writer import SnapshotWriter
from dsgmigd.names import SnapshotName
from dsgmigd.source.repository import (
    HeldSnapshot,
    Repository,
    allocated_bytes,
    check_unchanged,
    excluded_names,
)
from dsgmigd.target.dataset import Dataset
from dsgmigd.target.layout import SNAPSHOT_HASH, SOURCE_IDENTITY, SOURCE_VERSION
from dsgmigd.target.marks import verified_mark
from dsgmigd.target.published_marks import PublishedMarks
from dsgmigd.target.staging import Staging
from dsgmigd.verification.schedule import SnapshotChecker

_REFUSED_SHOWN = 20
# A snapshot that took no longer is marked together with the next one: after a crash between them,
# this is what is done again.
_REPEATED_SECONDS = 10.0


@dataclass(frozen=True)
class HeldSource:
    """The source of one run: its snapshots as they are read, and what is nested in those to build.

    `nested` are the paths of nested subvolumes, for each snapshot that is built.
    """

    repository: Repository
    held: dict[SnapshotName, HeldSnapshot]
    nested: dict[SnapshotName, frozenset[bytes]]


class Build:
    """Builds the snapshots of one run in a staging dataset that is prepared already."""

    def __init__(
        self,
        source: HeldSource,
        *,
        staging: Staging,
        marks: PublishedMarks,
        writer: SnapshotWriter,
        checker: SnapshotChecker,
        evidence: Evidence,
        report: Report,
        progress: Progress,
    ) -> None:
        self._repository = source.repository
        self._held = source.held
        self._nested = source.nested
        self._staging = staging
        self._marks = marks
        self._writer = writer
        self._checker = checker
        self._level = checker.level
        self._evidence = evidence
        self._report = report
        self._progress = progress
        self._refused: set[str] = set()
        self._log = get_logger()

    def close(self) -> None:
        """End every program that is still running, and leave no mark to a snapshot to come."""
        self._writer.close()
        with contextlib.suppress(DsgmigdError):  # without it, the next run verifies it again
            self._staging.settle_mark()

    def resume_after(self, name: SnapshotName) -> None:
        """Load what snapshot `name` left in staging: entries, chain and proofs."""
        held = self._held[name]
        made = self._staging.made_snapshot(name)
        if made.properties.get(SOURCE_VERSION) != str(held.version):
            raise SourceChanged(
                f"{name} of the source changed between planning and pinning",
                hint="submit again when the source no longer changes",
            )
        self._writer.load()
        # A mark below this run's level proves less than its verification is going to build on.
        mark = verified_mark(made.properties)
        is_verified_before = mark is not None and mark.is_at_least(self._level)
        owner = self._staging.owner_of(name)
        found = self._checker.go_on_after(held, owner, made, is_verified_before=is_verified_before)
        is_published = owner == self._staging.layout.target
        # What was proven before was not read again: that is no verification to be put on record.
        if is_published and (found.discrepancy_count or not is_verified_before):
            self._marks.note(made, found.discrepancy_count, found.level, "source")
        self._report.raise_on_discrepancies(name, found, published=owner if is_published else None)
        self._evidence.go_on_after(made)
        self._writer.set_nested(found.nested_subvolumes)
        self._writer.set_linked(self._checker.linked())

    def keep_proofs(self, target: Dataset) -> None:
        """Keep what the last snapshot's verification proved, now that `target` has it."""
        last = target.snapshots[-1]
        row = self._report.snapshots[-1] if self._report.snapshots else None
        if row is None or row.verification is None or row.name != last.name:
            return  # it was published as an earlier run had left it
        held = self._held[SnapshotName.parse(last.name)]
        try:
            self._checker.keep(held, last.guid, row.verification)
        except OSError as error:
            self._log.warning("proofs.not_kept", reason=str(error))

    def build_snapshot(
        self, step: Step, push: Push, following: Step | None = None, tags: Sequence[TagLink] = ()
    ) -> None:
        """Make one snapshot of staging and verify it; meanwhile `following` is prepared.

        `tags` are written into the last snapshot, which is the one that nothing follows.
        """
        held = self._held[step.snapshot]
        parent = self._held[step.parent] if step.parent else None
        row = SnapshotRow(str(step.snapshot), self._method(step), is_pinned=held.is_pinned)
        self._report.snapshots.append(row)
        row.excluded = excluded_names(held)
        try:
            target_moment = self._make(held, parent, push, row, None if following else tags)
            if following is not None and self._method(following) == "send":
                self._writer.prefetch(self._held[following.snapshot], held)
            self._verify(held, push, row, target_moment, has_next=following is not None)
        except TargetFull as error:
            self._staging.roll_back(step.parent)
            raise self._explain_full(error, held) from error

    def _method(self, step: Step) -> Method:
        """Return the method of a step, now that it is known which snapshots are pinned."""
        snapshots = (step.snapshot, step.parent) if step.parent else (step.snapshot,)
        return step.method if all(self._held[one].is_sendable for one in snapshots) else "rsync"

    def _make(
        self,
        held: HeldSnapshot,
        parent: HeldSnapshot | None,
        push: Push,
        row: SnapshotRow,
        tags: Sequence[TagLink] | None,
    ) -> float:
        """Write a snapshot; return a moment not later than its creation."""
        started = time.monotonic()
        self._progress.enter("copy", held.name)
        written = self._writer.write(
            *(held, parent, push),
            is_sent=row.method == "send",
            nested=self._nested[held.name],
            tags=tags,
        )
        check_unchanged(held, self._repository.snapshot(held.name))
        row.send_protocol = written.transfer.protocol
        row.bytes, row.changed = written.bytes_written, written.files_hashed
        row.metadata_seconds = written.metadata_seconds
        row.scope = shortened(str(written.scope), TEXT_CHARACTERS)
        if written.scope.warning:
            self._report.warnings.append(f"{held.name}: {written.scope.warning}")
        self._report.warnings += _describe_not_carried(row.name, written.transfer.not_carried)
        self._warn_of_refused(row.name, written.refused)
        row.entries_hash = written.metadata["entries_hash"]
        row.snapshot_hash = written.metadata["snapshot_hash"]
        self._progress.enter("snapshot")
        target_moment = time.time()
        properties = {
            SOURCE_IDENTITY: held.identity,
            SOURCE_VERSION: str(held.version),
            SNAPSHOT_HASH: row.snapshot_hash,
        }
        self._staging.snapshot(held.name, properties)
        row.seconds = time.monotonic() - started
        self._log.info("snapshot.made", snapshot=row.name, bytes=row.bytes, files=row.changed)
        return target_moment

    def _warn_of_refused(self, name: str, refused: list[str]) -> None:
        """Warn once about each path that DSG's client refuses."""
        new = sorted(set(refused) - self._refused)
        self._refused.update(new)
        if new:
            shown = ", ".join(f"{path!a}" for path in new[:_REFUSED_SHOWN])
            self._report.warnings.append(
                f"{name}: names that DSG's client refuses, {len(new)} in all: {shown}"
            )

    def _verify(
        self,
        held: HeldSnapshot,
        push: Push,
        row: SnapshotRow,
        target_moment: float,
        *,
        has_next: bool,
    ) -> None:
        started = time.monotonic()
        self._progress.enter("verify")
        staging = self._staging.layout.staging
        is_full_walk = not has_next or row.method != "send"
        found = self._checker.check(
            *(held, staging, target_moment),
            is_last=is_full_walk,
            push=push,
            take_evidence=self._evidence.taking(target_moment),
        )
        row.verify_seconds = time.monotonic() - started
        row.files, row.verification = found.files, found
        if found.discrepancy_count:
            self._staging.drop_snapshot(held.name)
        self._report.raise_on_discrepancies(held.name, found)
        if found.is_full_walk:
            self._writer.set_nested(found.nested_subvolumes)
        if self._evidence.is_wanted:
            self._evidence.state(staging, self._staging.made_snapshot(held.name), row)
        self._mark(held.name, row, has_next=has_next)
        self._log.info(
            "snapshot.verified",
            snapshot=row.name,
            level=self._level,
            files=found.files_read,
            bytes=found.target_bytes_read,
        )

    def _mark(self, name: SnapshotName, row: SnapshotRow, *, has_next: bool) -> None:
        """Record that a snapshot is verified: now, or with the next one if little is at stake."""
        if has_next and row.seconds + row.verify_seconds <= _REPEATED_SECONDS:
            self._staging.mark_with_next(name, self._level)
        else:
            self._staging.mark_verified(name, self._level)

    def _explain_full(self, error: TargetFull, held: HeldSnapshot) -> TargetFull:
        needed = allocated_bytes(held.path)
        free = self._staging.area.available_bytes()
        return TargetFull(
            f"{error.message}; {held.name} occupies {needed} bytes in the source, "
            f"{free} bytes are free in {self._staging.layout.parent}",
            hint="free space in the pool or raise the quota: "
            "the next attempt resumes after the last verified snapshot",
        )


def _describe_not_carried(name: str, counts: Mapping[str, int]) -> list[str]:
    """Return a warning for each thing that snapshot `name` has and no target gets."""
    return [f"{name}: {what} of {count} files were not copied" for what, count in counts.items()]
