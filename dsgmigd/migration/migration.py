"""Execute the plan of one request: build, verify, publish.

Every step can be repeated: what is done is what the verified snapshots of staging say, so a run
that was interrupted anywhere goes on by planning again. `Migration.report` says at any moment what
was found and done so far.

Leaving errors: any DsgmigdError; InterruptedByStop leaves everything resumable.
"""

import contextlib
import time
from dataclasses import dataclass
from itertools import zip_longest

import structlog

from dsgmigd.abilities import Abilities
from dsgmigd.build import Build
from dsgmigd.checker import SnapshotChecker
from dsgmigd.command import Commands
from dsgmigd.dsg.tags import TagLink
from dsgmigd.errors import (
    CommandFailed,
    DsgmigdError,
    InterruptedByStop,
    RequestCancelled,
    TargetBusy,
    TargetChanged,
)
from dsgmigd.marks import describe_target
from dsgmigd.names import RepoName, SnapshotName
from dsgmigd.pins import Pins, describe_source
from dsgmigd.plan import Extend, Plan, Resume, make_plan
from dsgmigd.probe import probe_abilities
from dsgmigd.progress import Progress
from dsgmigd.provenance import find_tags, read_pushes
from dsgmigd.published import (
    check_published,
    choose_snapshots,
    compare_published,
    unpublished_tags,
)
from dsgmigd.replaced import free_moment
from dsgmigd.report import Report
from dsgmigd.request import Request, VerifyLevel
from dsgmigd.settings import Settings
from dsgmigd.source import HeldSnapshot, Repository, find_repository
from dsgmigd.staging import Staging
from dsgmigd.step import SnapshotWriter
from dsgmigd.survey import survey_snapshot
from dsgmigd.verify.own_manifest import ManifestVerifier
from dsgmigd.verify.verifier import Note, Verifier
from dsgmigd.zfs.dataset import Dataset, Zfs
from dsgmigd.zfs.pool import check_pool


@dataclass(frozen=True)
class Job:
    """One request for one repository, to be executed under the repository's lock."""

    repo: RepoName
    request: Request
    request_id: str


class Migration:
    """Executes one job; `report` is filled as it goes, and `note` hears of every discrepancy."""

    def __init__(
        self,
        job: Job,
        settings: Settings,
        commands: Commands,
        progress: Progress,
        *,
        note: Note = lambda _, __: None,
    ) -> None:
        self._job = job
        self._note = note
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
        self._planned_target: Dataset | None = None
        self.report = Report(level=self._level)

    def make_plan(self) -> Plan:
        """Return what has to be done; touches nothing."""
        return self._survey()[1]

    def run(self) -> Report:
        """Do it; return the finished report."""
        try:
            return self._run()
        except (InterruptedByStop, RequestCancelled):
            raise
        except DsgmigdError:
            self._check_place()  # a lost pool explains all else
            raise

    def _run(self) -> Report:
        self._progress.enter("plan")
        self.take_back()
        repository, plan = self._survey()
        self._log.info("plan.made", **self.report.plan)
        pins = Pins(repository, self._job.request_id)
        try:
            if plan.steps or plan.base or plan.rechecks:
                self._execute(repository, plan, pins)
        except InterruptedByStop:
            raise  # the pins stay: whoever resumes goes on from the same source
        except BaseException:
            self._release(pins)
            raise
        self._release(pins)
        if self.report.target["mountpoint"] is None:  # a crash came between publishing and mounting
            self._mount()
        if plan.is_up_to_date and self.report.target["mountpoint"]:
            tags = self._find_tags(repository, plan)
            self.report.warnings += unpublished_tags(self.report.target["mountpoint"], tags)
        self.report.outcome = "up_to_date" if plan.is_up_to_date else "done"
        return self.report

    def take_back(self) -> None:
        """Undo a publication that was cut off in the middle, by this request or a dead one."""
        self._check_place()  # without it nothing is there
        back = self._staging.take_back()
        if back is not None:
            self._log.warning("target.taken_back", dataset=self._staging.places.target, was=back)
            self._mount()

    def discard(self) -> None:
        """Destroy what was built and not published, of dead requests for this repository too."""
        self.take_back()
        self._staging.discard()

    def release_pins(self) -> None:
        """Delete the pins of a run that nobody will resume."""
        repository = find_repository(self._settings.source_root, self._job.repo)
        Pins(repository, self._job.request_id).release_all()

    def verify(self, *, level: VerifyLevel, snapshot: SnapshotName | None = None) -> Report:
        """Compare the published dataset with its source: every snapshot, or `snapshot`."""
        repository, plan = self._survey()
        wanted = choose_snapshots(self._staging, plan.wanted, snapshot, self.report)
        pins = Pins(repository, self._job.request_id)
        self.report.level = level
        try:
            self._staging.prepare_area()
            held = {name: pins.hold(repository.snapshot(name)) for name in wanted}
            missing = self._compare_published(held, level)
            if missing:
                self.report.warnings.append(f"not in the target yet: {', '.join(missing)}")
        finally:
            self._release(pins)
        self.report.outcome = "verified"
        return self.report

    def _release(self, pins: Pins) -> None:
        """Delete the pins; what cannot be is no failure of what was done while they stood."""
        try:
            pins.release_all()
        except DsgmigdError as error:
            self.report.warnings.append(f"pins are left, see dsgmigd doctor: {error.message}")

    def check(self, *, level: VerifyLevel, snapshot: SnapshotName | None = None) -> Report:
        """Check the published dataset against its own manifests; no source has to be there."""
        self.report.has_source, self.report.level = False, level
        self._check_place()
        self._note_target(self._staging.read_target())
        self._staging.prepare_area()
        verifier = ManifestVerifier(
            level=level,
            hash_threads=self._settings.hash_threads,
            checkpoint=self._progress.checkpoint,
            note=self._note,
        )
        check_published(self._staging, snapshot, verifier, self.report, self._progress)
        self.report.outcome = "verified"
        return self.report

    # Finding out.

    def _check_place(self) -> None:
        """Raise what keeps everything below the target's parent from being seen or made."""
        check_pool(self._commands, self._settings.target_parent)
        self._staging.check_parent()

    def _survey(self) -> tuple[Repository, Plan]:
        self._check_place()
        repository = find_repository(self._settings.source_root, self._job.repo)
        self.report.source = {
            "directory": repository.directory,
            "snapshots": len(repository.snapshots),
        }
        target, staging = self._staging.read_target(), self._staging.read_staging()
        self._planned_target = target
        self._note_target(target)
        replace = self._job.request.replace
        plan = make_plan(
            describe_source(
                repository,
                Pins(repository, self._job.request_id),
                may_send=self._settings.engine != "rsync",
            ),
            target=describe_target(list(target.snapshots)) if target else None,
            staging=(
                describe_target(self._staging.read_chain(staging), weakest=self._level)
                if staging
                else None
            ),
            limit=self._job.request.limit,
            replace=self._settings.replace_existing if replace is None else replace,
        )
        self.report.plan = describe_plan(plan)
        self._progress.snapshots_wanted = len(plan.wanted)
        self._progress.snapshots_done = len(plan.wanted) - len(plan.steps)
        return repository, plan

    def _note_target(self, target: Dataset | None) -> None:
        self.report.target = {
            "dataset": self._staging.places.target,
            "mountpoint": target.mountpoint if target and target.is_mounted else None,
            "replaced": None,
        }

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
            self._recheck({name: held[name] for name in plan.rechecks})
        if plan.base is None:
            return
        abilities = self._probe()
        nested = self._survey_steps(plan, held, abilities)
        self._progress.enter("stage")
        with contextlib.closing(self._build(plan, repository, held, abilities, nested)) as build:
            if plan.steps and isinstance(plan.base, Resume | Extend):
                build.go_on_after(plan.base.snapshot)
            pushes, warnings = read_pushes(repository, [step.snapshot for step in plan.steps])
            self.report.warnings += warnings
            tags = self._find_tags(repository, plan)
            for step, following in zip_longest(plan.steps, plan.steps[1:]):
                build.take(step, pushes[step.snapshot], following, tags)
                self._progress.snapshots_done += 1
        self._staging.check_whole({name: one.identity for name, one in held.items()})
        self._publish()

    def _recheck(self, held: dict[SnapshotName, HeldSnapshot]) -> None:
        """Compare published snapshots whose source moved since; note that they are the same."""
        self._compare_published(held, "complete")
        for name, one in held.items():
            self._staging.mark_version(self._staging.places.target, name, one.version)

    def _compare_published(
        self, held: dict[SnapshotName, HeldSnapshot], level: VerifyLevel
    ) -> list[str]:
        verifier = self._verifier(level, self._probe())
        checker = SnapshotChecker(verifier, self._staging, level)
        return compare_published(self._staging, held, checker, self.report, self._progress)

    def _probe(self) -> Abilities:
        return probe_abilities(self._staging.area_mountpoint())

    def _survey_steps(
        self, plan: Plan, held: dict[SnapshotName, HeldSnapshot], abilities: Abilities
    ) -> dict[SnapshotName, frozenset[bytes]]:
        """Look through what will be copied; return where other subvolumes begin."""
        nested = {}
        for step in plan.steps:
            self._progress.enter("survey", step.snapshot)
            since = held[step.snapshot].changed_since(held[step.parent] if step.parent else None)
            nested[step.snapshot] = survey_snapshot(
                held[step.snapshot], since or 0, abilities, self._allowed
            )
        return nested

    def _verifier(self, level: VerifyLevel, abilities: Abilities) -> Verifier:
        return Verifier(
            level=level,
            abilities=abilities,
            hash_threads=self._settings.hash_threads,
            checkpoint=self._progress.checkpoint,
            note=self._note,
        )

    def _build(
        self,
        plan: Plan,
        repository: Repository,
        held: dict[SnapshotName, HeldSnapshot],
        abilities: Abilities,
        nested: dict[SnapshotName, frozenset[bytes]],
    ) -> Build:
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
            allowed=self._allowed,
            send_protocol=self._settings.send_protocol,
            progress=self._progress,
        )
        return Build(
            repository=repository,
            held=held,
            staging=self._staging,
            writer=writer,
            verifier=self._verifier(self._level, abilities),
            nested=nested,
            level=self._level,
            report=self.report,
            progress=self._progress,
        )

    def _find_tags(self, repository: Repository, plan: Plan) -> list[TagLink]:
        links, warnings = find_tags(repository, plan.wanted, self._job.request.migration_tag)
        self.report.warnings += warnings
        return links

    def _publish(self) -> None:
        self._progress.enter("publish")
        now = free_moment(time.time(), self._staging.has_replaced)
        try:
            self.report.target["replaced"] = self._staging.publish(now, self._planned_target)
        except DsgmigdError:
            with contextlib.suppress(DsgmigdError):  # else whoever comes next does it
                self.take_back()
            raise
        self._log.info("target.published", dataset=self._staging.places.target)
        self._mount()

    def _mount(self) -> None:
        """Mount what is published; it is whole and safe where that cannot be."""
        try:
            self.report.target["mountpoint"] = self._staging.mount_target()
        except (CommandFailed, TargetBusy, TargetChanged) as error:
            self.report.warnings.append(
                f"{self._staging.places.target} is published, but not mounted: {error.message}"
            )


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
