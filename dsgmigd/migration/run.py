"""What a migration and a check of the published dataset have in common: job, plan, report.

Raises: any DsgmigdError or Interruption.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import ClassVar

from dsgmigd.custody.signing import Signer
from dsgmigd.custody.store import Store
from dsgmigd.custody.taker import Taker
from dsgmigd.errors import DsgmigdError, InvalidName
from dsgmigd.host.command import Commands
from dsgmigd.host.log import get_logger
from dsgmigd.migration.evidence import Evidence
from dsgmigd.migration.inventory import (
    describe_cause,
    describe_origins,
    describe_published,
    describe_record,
    describe_source,
    describe_staging,
)
from dsgmigd.migration.job import Job, Settings
from dsgmigd.migration.plan import Plan, make_plan
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.report import Report, SnapshotRow, SourceFacts
from dsgmigd.names import SnapshotName
from dsgmigd.request import VerifyLevel
from dsgmigd.source.half_received import describe_half_received
from dsgmigd.source.left_out import describe_left_out
from dsgmigd.source.pins import Pins
from dsgmigd.source.repository import HeldSnapshot, Repository, find_repository
from dsgmigd.target.area import check_target
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.target.dataset import Dataset
from dsgmigd.target.layout import REQUEST, SNAPSHOT_HASH
from dsgmigd.target.native import Native
from dsgmigd.target.others import find_others
from dsgmigd.target.probe import probe_capabilities
from dsgmigd.target.publication import Publication, TargetFacts, check_is_file_system
from dsgmigd.target.published_marks import PublishedMarks
from dsgmigd.target.staging import Staging
from dsgmigd.target.zfs import Zfs
from dsgmigd.verification.kept_proofs import ProofFile
from dsgmigd.verification.schedule import SnapshotChecker
from dsgmigd.verification.verifier import Note, Verifier


class Run:
    """One piece of work on one repository; it fills `report`.

    `note` is called for every discrepancy. `native` is what needs no zfs command on this host.
    `kept_proofs` are those of the last run, `evidence_store` keeps evidence if it is wanted.
    `planned_target` is the target as the plan found it. What earlier verifications found is no
    obstacle to another `is_verification`.
    """

    is_verification: ClassVar[bool] = False

    def __init__(
        self,
        job: Job,
        settings: Settings,
        commands: Commands,
        progress: Progress,
        *,
        note: Note = lambda _, __: None,
        native: Native | None = None,
        kept_proofs: ProofFile | None = None,
        evidence_store: Store | None = None,
    ) -> None:
        self.job = job
        self.note = note
        self.kept_proofs = kept_proofs
        self.settings = settings
        self.commands = commands
        self.progress = progress
        self.level: VerifyLevel = job.request.verify or settings.verify_level
        self.report = Report(level=self.level)
        self.staging = Staging(
            Zfs(commands, native=native),
            settings.layout(job.repo),
            job.request_id,
            warn=self.report.warnings.append,
        )
        self.publication = Publication(self.staging)
        self.marks = PublishedMarks(self.staging.zfs, self.staging.layout.target, job.request_id)
        self.evidence = Evidence(self._taker(evidence_store), self.staging.zfs)
        self.log = get_logger()
        self.allowed = (
            settings.allow_loss if job.request.allow_loss is None else job.request.allow_loss
        )
        replace = job.request.replace
        self.may_replace = settings.replace_existing if replace is None else replace
        self.planned_target: Dataset | None = None

    def _taker(self, store: Store | None) -> Taker | None:
        """Return what takes evidence, if it is wanted and there is a place for it."""
        wanted = self.job.request.evidence or self.settings.evidence
        if store is None or wanted == "none":
            return None
        key = self.settings.signing_key
        return Taker(
            store,
            sign=Signer(key, self.commands).sign if key else None,
            repo=self.job.repo,
            dataset=self.staging.layout.target,
            request_id=self.job.request_id,
            warn=self.report.warnings.append,
            checkpoint=self.progress.checkpoint,
        )

    def check_target(self) -> None:
        """Raise an error if the target's pool or parent cannot be used."""
        check_target(self.commands, self.settings.target_parent)

    def survey(self) -> tuple[Repository, Plan]:
        """Look at source and target, and change nothing; return the source and what has to be done.

        The report has both from then on.
        """
        self.check_target()
        return self.survey_checked()

    def survey_checked(self) -> tuple[Repository, Plan]:
        """Survey a target that was checked just now."""
        repository = find_repository(self.settings.source_root, self.job.repo)
        repository.check_has_snapshots()
        self.report.source = SourceFacts(repository.directory, len(repository.snapshots))
        pins = self.pins_in(repository)
        self._warn_of_source(repository, pins)
        target, staging = self.staging.read_target(), self.staging.read_staging()
        self.planned_target = target
        self.note_target(target)
        check_is_file_system(target)
        published = describe_published(self.staging, target) if target else None
        if published and self.is_verification:
            published = published.without_differences()
        plan = make_plan(
            describe_source(
                repository,
                pins,
                may_send=self.settings.engine != "rsync",
            ),
            target=published,
            origins=describe_origins(repository, published) if published else None,
            staging=(
                describe_staging(self.staging, staging, weakest=self.level) if staging else None
            ),
            limit=self.job.request.limit,
            replace=self.may_replace,
            rebuild_from=self._rebuild_from(target),
            level=self.level,
        )
        self._check_names(plan, target)
        if plan.base is not None and not self.is_verification:  # which moves nothing
            self.report.warnings += self.check_others(target)
        self.report.plan = plan
        self.progress.snapshots_wanted = len(plan.wanted)
        self.progress.snapshots_done = len(plan.wanted) - len(plan.steps)
        return repository, plan

    def check_others(self, target: Dataset | None) -> list[str]:
        """Return warnings of what moves aside with the target; raise TargetInUse if it may not."""
        if target is None or target.is_volume:
            return []
        others = find_others(self.staging.zfs, target, self.progress.checkpoint)
        may_replace = self.may_replace or self.job.request.rebuild_from is not None
        return others.check_may_move(target.name, may_replace=may_replace)

    def _rebuild_from(self, target: Dataset | None) -> SnapshotName | None:
        """Return from which snapshot to build again; None once this request has done so."""
        if target is not None and target.properties.get(REQUEST) == self.job.request_id:
            return None
        return self.job.request.rebuild_from

    def _warn_of_source(self, repository: Repository, pins: Pins) -> None:
        limit = self.job.request.limit
        self.report.warnings += [
            *describe_half_received(repository, limit),
            *describe_left_out(repository, limit),
            *pins.describe_foreign(),
        ]

    def _check_names(self, plan: Plan, target: Dataset | None) -> None:
        """Raise InvalidName if ZFS cannot take a name; warn if it could not take an extension's."""
        if plan.base is None:
            return
        last, layout = plan.wanted[-1], self.staging.layout
        layout.check_lengths(last, [one.name for one in target.snapshots] if target else None)
        try:
            layout.check_lengths(last, ())
        except InvalidName as error:
            self.report.warnings.append(
                f"{layout.target} cannot be extended or replaced later: {error.message}"
            )

    def note_target(self, target: Dataset | None) -> None:
        """Record in the report where the target is."""
        mountpoint = target.mountpoint if target and target.is_mounted else None
        self.report.target = TargetFacts(self.staging.layout.target, mountpoint)
        self.note_record(target)

    def note_record(self, target: Dataset | None) -> None:
        """Record in the report what the snapshots of the target say of their verifications."""
        self.report.on_record = describe_record(target) if target else []

    def renew_record(self) -> None:
        """Read that again; a failure is not news, and leaves what was known."""
        with contextlib.suppress(DsgmigdError):
            self.note_record(self.staging.read_target())

    def target_facts(self) -> TargetFacts:
        """Return what the report says of the target, or its name as long as it says nothing."""
        return self.report.target or TargetFacts(self.staging.layout.target)

    def compare_with_source(
        self, held: dict[SnapshotName, HeldSnapshot], level: VerifyLevel
    ) -> list[str]:
        """Compare published snapshots with their sources; return those that the target lacks."""
        self.evidence.check()
        checker = self.checker(level, self.probe())
        dataset = self.staging.read_target()
        made = {one.name: one for one in dataset.snapshots} if dataset else {}
        there = [name for name in held if str(name) in made]
        for name in there:
            source, snapshot = held[name], made[str(name)]
            self.progress.enter("verify", name)
            row = SnapshotRow(str(name), None, is_pinned=source.is_pinned)
            self.report.snapshots.append(row)
            started = time.monotonic()
            target = self.staging.layout.target
            has_evidence = self.evidence.go_on_after(snapshot)
            moment = float(snapshot.created_at)
            found = checker.check(
                *(source, target, moment),
                is_last=name == there[-1],
                snapshot_hash=snapshot.properties.get(SNAPSHOT_HASH),
                take_evidence=None if has_evidence else self.evidence.taking(moment),
            )
            row.files, row.verification = found.files, found
            row.seconds = time.monotonic() - started
            self.marks.note(snapshot, found.discrepancy_count, found.level, "source")
            cause = describe_cause(snapshot, source)
            self.report.raise_on_discrepancies(name, found, published=target, cause=cause)
            self.marks.note_version(snapshot, source.version)
            if not has_evidence:
                self.evidence.state(target, snapshot, row)
        return [str(name) for name in held if str(name) not in made]

    def probe(self) -> Capabilities:
        """Find out what the target can hold."""
        return probe_capabilities(self.staging.area.staging_mountpoint())

    def checker(self, level: VerifyLevel, capabilities: Capabilities) -> SnapshotChecker:
        """Return what compares snapshots of this target with their sources at that level."""
        verifier = Verifier(
            level=level,
            capabilities=capabilities,
            hash_threads=self.settings.hash_threads,
            checkpoint=self.progress.checkpoint,
            note=self.note,
        )
        return SnapshotChecker(verifier, self.staging, level, self.kept_proofs)

    def pins_in(self, repository: Repository) -> Pins:
        """Return the pins of this request."""
        return Pins(repository, self.job.request_id, self.job.spool_id)

    @contextlib.contextmanager
    def reading(self, pins: Pins) -> Iterator[None]:
        """Let the block hold and read the source; a failure may mean that a pin was deleted."""
        try:
            yield
        except DsgmigdError:
            pins.check_held()
            raise
        finally:
            pins.close()

    def release(self, pins: Pins) -> None:
        """Delete the pins; a failure is only a warning, because the work is done."""
        try:
            pins.release_all()
        except DsgmigdError as error:
            self.report.warnings.append(
                f"pins could not be deleted, see dsgmigd doctor: {error.message}"
            )
