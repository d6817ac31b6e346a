"""Build staging, snapshot by snapshot, each verified before the next is begun.

Leaving errors: those of dsgmigd.step, dsgmigd.staging and dsgmigd.verify; TargetFull with the
space that was needed, after what did not fit is given back.
"""

import time
from collections.abc import Sequence

import structlog

from dsgmigd.checker import SnapshotChecker
from dsgmigd.dsg.pushlog import Push
from dsgmigd.dsg.tags import TagLink
from dsgmigd.errors import SourceChanged, TargetFull
from dsgmigd.marks import SNAPSHOT_HASH, SOURCE_IDENTITY, SOURCE_VERSION, VERIFIED
from dsgmigd.names import SnapshotName
from dsgmigd.plan import Method, Step
from dsgmigd.progress import Progress
from dsgmigd.report import Report, SnapshotRow
from dsgmigd.request import VERIFY_STRENGTH, VerifyLevel
from dsgmigd.source import (
    HeldSnapshot,
    Repository,
    allocated_bytes,
    check_unchanged,
    excluded_names,
)
from dsgmigd.staging import Staging
from dsgmigd.step import SnapshotWriter
from dsgmigd.verify.verifier import Verifier

_REFUSED_SHOWN = 20


class Build:
    """One run on a staging dataset that is prepared already."""

    def __init__(
        self,
        *,
        repository: Repository,
        held: dict[SnapshotName, HeldSnapshot],
        staging: Staging,
        writer: SnapshotWriter,
        verifier: Verifier,
        nested: dict[SnapshotName, frozenset[bytes]],
        level: VerifyLevel,
        report: Report,
        progress: Progress,
    ) -> None:
        self._repository = repository
        self._held = held
        self._staging = staging
        self._writer = writer
        self._nested = nested
        self._checker = SnapshotChecker(verifier, staging, level)
        self._level = level
        self._report = report
        self._progress = progress
        self._refused: set[str] = set()
        self._log = structlog.get_logger()

    def close(self) -> None:
        """Leave nothing running."""
        self._writer.close()

    def go_on_after(self, name: SnapshotName) -> None:
        """Take up what snapshot `name` left in staging: entries, chain and proofs."""
        held = self._held[name]
        made = self._staging.made_snapshot(name)
        if made.properties.get(SOURCE_VERSION) != str(held.version):
            raise SourceChanged(
                f"{name} of the source changed between planning and pinning",
                hint="submit again when nobody changes the source",
            )
        self._writer.load()
        # A mark below this run's level proves less than its verification is going to build on.
        strength = VERIFY_STRENGTH.get(made.properties.get(VERIFIED, ""), 0)
        is_verified_before = strength >= VERIFY_STRENGTH[self._level]
        found = self._checker.check(
            *(held, self._staging.owner_of(name), float(made.created_at)),
            is_last=True,
            is_verified_before=is_verified_before,
        )
        self._report.judge(name, found)
        self._writer.set_borders(found.borders)

    def take(
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
                self._writer.begin(self._held[following.snapshot], held)
            self._verify(held, push, row, target_moment, is_last=following is None)
        except TargetFull as error:
            self._staging.retreat(step.parent)
            raise self._explain_full(error, held) from error

    def _method(self, step: Step) -> Method:
        """Return how a step can be taken, now that it is known what could be pinned."""
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
        row.bytes, row.changed = written.bytes_written, written.files_hashed
        row.metadata_seconds, row.scope = written.metadata_seconds, str(written.scope)
        if written.scope.warning:
            self._report.warnings.append(f"{held.name}: {written.scope.warning}")
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
        """Name paths once that DSG's client would not take; not those of earlier snapshots."""
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
        is_last: bool,
    ) -> None:
        started = time.monotonic()
        self._progress.enter("verify")
        staging = self._staging.places.staging
        is_full_walk = is_last or row.method != "send"
        found = self._checker.check(
            *(held, staging, target_moment), is_last=is_full_walk, push=push
        )
        row.verify_seconds = time.monotonic() - started
        row.files, row.verification = found.files, found
        if found.discrepancy_count:
            self._staging.drop_snapshot(held.name)
        self._report.judge(held.name, found)
        if found.is_full_walk:
            self._writer.set_borders(found.borders)
        self._staging.mark_verified(staging, held.name, self._level)
        self._log.info(
            "snapshot.verified",
            snapshot=row.name,
            level=self._level,
            files=found.files_read,
            bytes=found.target_bytes_read,
        )

    def _explain_full(self, error: TargetFull, held: HeldSnapshot) -> TargetFull:
        needed = allocated_bytes(held.path)
        free = self._staging.available_bytes()
        return TargetFull(
            f"{error.message}; {held.name} occupies {needed} bytes in the source, "
            f"{free} bytes are free in {self._staging.places.parent}",
            hint="free space in the pool or raise the quota, then submit again: "
            "the work resumes after the last verified snapshot",
        )
