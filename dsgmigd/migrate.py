"""Execute the plan of one request: build, verify, publish.

Every step can be repeated: what is done is what the verified snapshots of staging say, so a run
that was interrupted anywhere goes on by planning again. `Migration.report` says at any moment what
was found and done so far.

Leaving errors: any DsgmigdError; InterruptedByStop leaves everything resumable.
"""

import time
from dataclasses import dataclass, field

import structlog

from dsgmigd.abilities import Abilities, check_losses
from dsgmigd.command import Commands
from dsgmigd.dsg.pushlog import NO_MESSAGE, UNKNOWN_USER, Push, find_pushes
from dsgmigd.errors import InterruptedByStop, SourceChanged, TargetFull, VerificationFailed
from dsgmigd.names import DatasetName, RepoName, SnapshotName
from dsgmigd.plan import Create, Extend, Plan, Resume, Step, make_plan
from dsgmigd.probe import probe_abilities
from dsgmigd.progress import Progress
from dsgmigd.report import Report, SnapshotRow
from dsgmigd.request import Loss as LossName
from dsgmigd.request import Request, VerifyLevel
from dsgmigd.source import (
    HeldSnapshot,
    Pins,
    Repository,
    allocated_bytes,
    check_unchanged,
    describe_source,
    excluded_names,
    find_repository,
    push_logs,
)
from dsgmigd.staging import (
    SNAPSHOT_HASH,
    SOURCE_IDENTITY,
    SOURCE_VERSION,
    Places,
    Staging,
    describe_target,
)
from dsgmigd.step import SnapshotWriter
from dsgmigd.verify.findings import Loss, Verification
from dsgmigd.verify.proof import Moments
from dsgmigd.verify.verifier import Verifier
from dsgmigd.zfs.dataset import Zfs
from dsgmigd.zfs.pool import check_pool

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Settings:
    """What holds for every request of this daemon unless the request says otherwise."""

    source_root: str
    target_parent: DatasetName
    area: str
    engine: str = "auto"
    send_protocol: int | None = None
    replace_existing: bool = False
    verify_level: VerifyLevel = "complete"
    allow_loss: tuple[LossName, ...] = ()
    hash_threads: int = 2

    def places(self, repo: RepoName) -> Places:
        """Return the dataset names of `repo`."""
        return Places(self.target_parent, self.area, repo)


@dataclass(frozen=True)
class Job:
    """One request for one repository, to be executed under the repository's lock."""

    repo: RepoName
    request: Request
    request_id: str


@dataclass
class _Run:
    """What a run has in hand once its plan is begun."""

    root: str
    abilities: Abilities
    writer: SnapshotWriter
    verifier: Verifier
    source_moment: float | None = None
    target_moment: float | None = None
    held: dict[SnapshotName, HeldSnapshot] = field(default_factory=dict)


class Migration:
    """Executes one job; `report` is filled as it goes."""

    def __init__(
        self, job: Job, settings: Settings, commands: Commands, progress: Progress
    ) -> None:
        self._job = job
        self.request_id = job.request_id
        self._settings = settings
        self._commands = commands
        self._progress = progress
        self._staging = Staging(Zfs(commands), settings.places(job.repo), job.request_id)
        self._log = structlog.get_logger()
        self._level: VerifyLevel = job.request.verify or settings.verify_level
        self._allowed = (
            settings.allow_loss if job.request.allow_loss is None else job.request.allow_loss
        )
        self.report = Report(level=self._level)

    def make_plan(self) -> Plan:
        """Return what has to be done; touches nothing."""
        return self._survey()[1]

    def run(self) -> Report:
        """Do it; return the finished report."""
        self._progress.enter("plan")
        repository, plan = self._survey()
        self._log.info("plan.made", **self.report.plan)
        pins = Pins(repository, self._job.request_id)
        try:
            if plan.steps or plan.base or plan.rechecks:
                self._execute(repository, plan, pins)
        except InterruptedByStop:
            raise  # the pins stay: whoever resumes goes on from the same source
        except BaseException:
            pins.release_all()
            raise
        pins.release_all()
        self.report.is_up_to_date = plan.is_up_to_date
        return self.report

    def verify(self, *, level: VerifyLevel) -> Report:
        """Compare the published dataset with its source, snapshot by snapshot."""
        repository, plan = self._survey()
        pins = Pins(repository, self._job.request_id)
        self.report.level = level
        try:
            self._staging.prepare_area()
            held = {name: pins.hold(repository.snapshot(name)) for name in plan.wanted}
            missing = self._check_published(plan.wanted, held, self._verifier(level, self._probe()))
            if missing:
                self.report.warnings.append(f"not in the target yet: {', '.join(missing)}")
        finally:
            pins.release_all()
        return self.report

    # Finding out.

    def _survey(self) -> tuple[Repository, Plan]:
        check_pool(self._commands, self._settings.target_parent)
        self._staging.check_parent()
        repository = find_repository(self._settings.source_root, self._job.repo)
        places = self._staging.places
        self.report.source = {
            "directory": repository.directory,
            "snapshots": len(repository.snapshots),
        }
        self.report.target = {"dataset": places.target, "mountpoint": None, "replaced": None}
        target, staging = self._staging.read_target(), self._staging.read_staging()
        replace = self._job.request.replace
        plan = make_plan(
            describe_source(repository, Pins(repository, self._job.request_id)),
            target=describe_target(list(target.snapshots)) if target else None,
            staging=(
                describe_target(self._staging.read_chain(staging), weakest=self._level)
                if staging
                else None
            ),
            limit=self._job.request.limit,
            replace=self._settings.replace_existing if replace is None else replace,
        )
        if target and target.is_mounted:
            self.report.target["mountpoint"] = target.mountpoint
        self.report.plan = describe_plan(plan)
        self._progress.snapshots_wanted = len(plan.wanted)
        self._progress.snapshots_done = len(plan.wanted) - len(plan.steps)
        return repository, plan

    # Doing.

    def _execute(self, repository: Repository, plan: Plan, pins: Pins) -> None:
        self._progress.enter("pin")
        held = {name: pins.hold(repository.snapshot(name)) for name in plan.wanted}
        unpinned = [str(name) for name, one in held.items() if not one.is_pinned]
        if unpinned:
            self.report.warnings.append(
                f"not pinned, read in place and checked for changes: {', '.join(unpinned)}"
            )
        self._staging.prepare_area()
        if plan.rechecks:
            self._recheck(plan, held)
        if plan.base is None:
            return
        run = self._begin(plan, held)
        pushes = self._find_pushes(repository, plan)
        for step in plan.steps:
            self._take_step(step, run, pushes[step.snapshot], repository)
            self._progress.snapshots_done += 1
        self._publish()

    def _recheck(self, plan: Plan, held: dict[SnapshotName, HeldSnapshot]) -> None:
        """Compare published snapshots whose source moved since; note that they are the same."""
        self._check_published(plan.rechecks, held, self._verifier("complete", self._probe()))
        for name in plan.rechecks:
            self._staging.mark_version(self._staging.places.target, name, held[name].version)

    def _check_published(
        self,
        names: tuple[SnapshotName, ...],
        held: dict[SnapshotName, HeldSnapshot],
        verifier: Verifier,
    ) -> list[str]:
        """Compare snapshots of the target with their sources; return those that it lacks."""
        target = self._staging.read_target()
        created = {one.name: one.created_at for one in target.snapshots} if target else {}
        before: SnapshotName | None = None
        for name in names:
            if str(name) not in created:
                continue
            self._progress.enter("verify", name)
            row = SnapshotRow(str(name), None, is_pinned=held[name].is_pinned)
            self.report.snapshots.append(row)
            started = time.monotonic()
            moments = Moments(
                source=tuple(held[one].created_at for one in (before, name) if one),
                target=created[str(before)] if before else None,
            )
            with self._staging.view(self._staging.places.target, name) as view:
                found = verifier.verify(held[name].path, view, name.number, moments)
            row.files, row.verification = found.files, found
            row.seconds = time.monotonic() - started
            self._judge(name, found)
            before = name
        return [str(name) for name in names if str(name) not in created]

    def _probe(self) -> Abilities:
        abilities = probe_abilities(self._staging.area_mountpoint())
        check_losses(abilities, self._allowed)
        return abilities

    def _verifier(self, level: VerifyLevel, abilities: Abilities) -> Verifier:
        return Verifier(
            level=level,
            abilities=abilities,
            hash_threads=self._settings.hash_threads,
            checkpoint=self._progress.checkpoint,
        )

    def _begin(self, plan: Plan, held: dict[SnapshotName, HeldSnapshot]) -> _Run:
        self._progress.enter("stage")
        abilities = self._probe()
        if isinstance(plan.base, Extend):
            root = self._staging.clone_target(plan.base.snapshot)
        elif isinstance(plan.base, Resume):
            root = self._staging.resume(plan.base.snapshot)
        else:
            root = self._staging.create()
        writer = SnapshotWriter(
            root,
            commands=self._commands,
            abilities=abilities,
            may_lose_xattrs="xattr" in self._allowed,
            send_protocol=self._settings.send_protocol,
            progress=self._progress,
        )
        run = _Run(root, abilities, writer, self._verifier(self._level, abilities), held=held)
        if plan.base is not None and not isinstance(plan.base, Create) and plan.steps:
            self._go_on(run, plan.base.snapshot, held[plan.base.snapshot])
        return run

    def _go_on(self, run: _Run, name: SnapshotName, held: HeldSnapshot) -> None:
        """Take up what the snapshot before the first step left: entries, chain and proofs."""
        dataset = self._staging.read_staging()
        chain = self._staging.read_chain(dataset) if dataset else []
        mark = next(snapshot for snapshot in chain if snapshot.name == str(name))
        if mark.properties.get(SOURCE_VERSION) != str(held.version):
            raise SourceChanged(
                f"{name} of the source changed between planning and pinning",
                hint="submit again when nobody changes the source",
            )
        run.writer.load()
        owner = self._staging.owner_of(name)
        with self._staging.view(owner, name) as view:
            found = run.verifier.verify(
                held.path, view, name.number, Moments(), is_verified_before=True
            )
        self._judge(name, found)
        run.source_moment, run.target_moment = held.created_at, float(mark.created_at)

    def _find_pushes(self, repository: Repository, plan: Plan) -> dict[SnapshotName, Push]:
        wanted = [step.snapshot for step in plan.steps]
        found, warnings = find_pushes(push_logs(repository), wanted)
        self.report.warnings += warnings
        for name in wanted:
            if name not in found:
                self.report.warnings.append(f"no push log has a line for {name}")
                created_at = repository.snapshot(name).created_at
                found[name] = Push(UNKNOWN_USER, created_at, NO_MESSAGE)
        return found

    def _take_step(self, step: Step, run: _Run, push: Push, repository: Repository) -> None:
        name = step.snapshot
        held = run.held[name]
        parent = run.held[step.parent] if step.parent else None
        row = self._row(step, held, parent)
        self.report.snapshots.append(row)
        started = time.monotonic()
        try:
            self._progress.enter("copy", name)
            written = run.writer.write(held, parent, push, is_sent=row.method == "send")
            check_unchanged(held, repository.snapshot(name))
            row.bytes, row.changed = written.bytes_written, written.files_hashed
            row.entries_hash = written.metadata["entries_hash"]
            row.snapshot_hash = written.metadata["snapshot_hash"]
            self._progress.enter("snapshot")
            target_moment = time.time()
            self._staging.snapshot(name, self._properties(held, row))
        except TargetFull as error:
            self._staging.retreat(step.parent)
            raise self._explain_full(error, held) from error
        row.seconds = time.monotonic() - started
        self._log.info("snapshot.made", snapshot=str(name), bytes=row.bytes, files=row.changed)
        self._verify_step(run, held, row)
        run.source_moment, run.target_moment = held.created_at, target_moment

    def _row(self, step: Step, held: HeldSnapshot, parent: HeldSnapshot | None) -> SnapshotRow:
        is_sendable = held.is_sendable and (parent is None or parent.is_sendable)
        is_sent = step.method == "send" and is_sendable and self._settings.engine != "rsync"
        row = SnapshotRow(
            str(step.snapshot), "send" if is_sent else "rsync", is_pinned=held.is_pinned
        )
        row.excluded = excluded_names(held)
        return row

    def _properties(self, held: HeldSnapshot, row: SnapshotRow) -> dict[str, str]:
        return {
            SOURCE_IDENTITY: held.identity,
            SOURCE_VERSION: str(held.version),
            SNAPSHOT_HASH: row.snapshot_hash,
        }

    def _verify_step(self, run: _Run, held: HeldSnapshot, row: SnapshotRow) -> None:
        self._progress.enter("verify")
        started = time.monotonic()
        sources = (run.source_moment, held.created_at)
        moments = Moments(
            source=tuple(moment for moment in sources if moment is not None),
            target=run.target_moment,
        )
        staging = self._staging.places.staging
        with self._staging.view(staging, held.name) as view:
            found = run.verifier.verify(held.path, view, held.name.number, moments)
        row.verify_seconds = time.monotonic() - started
        row.files, row.verification = found.files, found
        if found.discrepancy_count:
            self._staging.drop_snapshot(held.name)
        self._judge(held.name, found)
        self._staging.mark_verified(staging, held.name, self._level)
        self._log.info(
            "snapshot.verified",
            snapshot=str(held.name),
            level=self._level,
            files=found.files_read,
            bytes=found.target_bytes_read,
        )

    def _judge(self, name: SnapshotName, found: Verification) -> None:
        """Raise if source and target differ; note what the target could not hold."""
        if found.discrepancy_count:
            raise VerificationFailed(
                f"{name}: {found.discrepancy_count} differences between source and target, "
                f"first: {found.discrepancies[0]}",
                hint="the result lists them; nothing was published from this run",
            )
        for kind, lost in found.losses.items():
            loss = self.report.losses.setdefault(kind, Loss(kind))
            loss.add(lost.count, [f"{name}/{path}" for path in lost.examples])

    def _explain_full(self, error: TargetFull, held: HeldSnapshot) -> TargetFull:
        needed = allocated_bytes(held.path)
        free = self._staging.available_bytes()
        return TargetFull(
            f"{error.message}; {held.name} occupies {needed} bytes in the source, "
            f"{free} bytes are free in {self._settings.target_parent}",
            hint="free space in the pool or raise the quota, then submit again: "
            "the work resumes after the last verified snapshot",
        )

    def _publish(self) -> None:
        self._progress.enter("publish")
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.report.target["replaced"] = self._staging.publish(moment)
        self.report.target["mountpoint"] = self._staging.mount_target()
        self._log.info("target.published", dataset=self._staging.places.target)


def describe_plan(plan: Plan) -> dict[str, object]:
    """Return a plan in words for people and results."""
    base = "nothing" if plan.base is None else type(plan.base).__name__.lower()
    if isinstance(plan.base, Resume | Extend):
        base += f" {plan.base.snapshot}"
    return {
        "wanted": len(plan.wanted),
        "base": base,
        "steps": [f"{step.snapshot} by {step.method}" for step in plan.steps],
        "rechecks": [str(name) for name in plan.rechecks],
        "replaces_target": plan.replaces_target,
    }
