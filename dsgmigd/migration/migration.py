"""Executes the plan of one request: build, verify, publish.

Every step can be repeated: the verified snapshots of staging say what is done, so an interrupted
run continues by planning again. `Migration.report` has at any moment what was found and done so
far.

Raises: any DsgmigdError or Interruption; InterruptedByStop leaves everything resumable.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import zip_longest

from dsgmigd.dsg.tags import TagLink
from dsgmigd.errors import DsgmigdError, InterruptedByStop, LossNotAllowed, TargetDiffers
from dsgmigd.migration.build import Build, HeldSource
from dsgmigd.migration.plan import Extend, Plan, Resume, describe_only_in_target
from dsgmigd.migration.preflight import check_pushes, survey_snapshot
from dsgmigd.migration.published_check import unpublished_tags
from dsgmigd.migration.report import Report
from dsgmigd.migration.run import Run
from dsgmigd.migration.snapshot_writer import SnapshotWriter
from dsgmigd.names import SnapshotName
from dsgmigd.request import stronger
from dsgmigd.source.pins import Pins, describe_unpinned
from dsgmigd.source.provenance import Pushes, find_tags, read_pushes
from dsgmigd.source.repository import HeldSnapshot, Repository, find_repository
from dsgmigd.source.root import check_present
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.target.dataset import Dataset
from dsgmigd.target.late_snapshots import settle_late_snapshots
from dsgmigd.target.layout import SOURCE_IDENTITY, free_moment
from dsgmigd.target.others import settle
from dsgmigd.target.published_mount import Mounted
from dsgmigd.verification.findings import Loss


class Migration(Run):
    """Executes one job: builds what is missing, verifies it, publishes it."""

    def run(self) -> Report:
        """Execute the plan; return the finished report."""
        try:
            return self._run()
        except DsgmigdError:
            self.check_target()  # a missing pool is the better explanation, and so is
            check_present(self.settings.source_root, self.job.repo)  # a source that went away
            raise

    def _run(self) -> Report:
        self.progress.enter("plan")
        self.take_back()
        repository, plan = self._carry_out()
        mountpoint = self.target_facts().mountpoint
        if mountpoint is None:  # a crash came between publishing and mounting
            self._mount()
        elif plan.is_up_to_date:  # it may have been mounted again since it was published
            self._note_mount(self.publication.mount.restrict(mountpoint))
        if plan.is_up_to_date:
            tags = self._find_tags(repository, plan)
            self.report.warnings += unpublished_tags(self.staging, tags)
        self.report.outcome = "up_to_date" if plan.is_up_to_date else "done"
        return self.report

    def _carry_out(self) -> tuple[Repository, Plan]:
        """Plan and execute; if the target turns out to differ and may be replaced, build anew."""
        repository, plan = self.survey_checked()
        try:
            self._execute_pinned(repository, plan)
        except TargetDiffers as error:
            if not self.may_replace:
                raise
            self.report.snapshots.clear()  # what they found is in the warning and in the marks
            self.report.warnings.append(f"the target is replaced: {error.message}")
            repository, plan = self.survey_checked()
            self._execute_pinned(repository, plan)
        return repository, plan

    def _execute_pinned(self, repository: Repository, plan: Plan) -> None:
        self.log.info("plan.made", **plan.to_json())
        self.report.warnings += describe_only_in_target(plan)
        pins = self.pins_in(repository)
        try:
            if plan.base or plan.rechecks or plan.verifies:
                with self.reading(pins):
                    self._execute(repository, plan, pins)
        except InterruptedByStop:
            raise  # the pins stay: the next attempt continues from the same source
        except BaseException:
            self.release(pins)
            raise
        self.release(pins)

    def forecast(self, plan: Plan) -> list[str]:
        """Return what the result of this plan will warn of, as far as it is known before."""
        warnings = [
            *self.report.warnings,
            *describe_only_in_target(plan),
            *self._forecast_losses(plan),
        ]
        if plan.base is not None and self.planned_target is None:
            obstacle = self.publication.mount.find_obstacle()
            if obstacle:
                name = self.staging.layout.target
                warnings.append(f"{name} will be published, but not mounted: {obstacle}")
        return warnings

    def _forecast_losses(self, plan: Plan) -> list[str]:
        """Return what the push logs lack for the snapshots to build, and whether that will fail."""
        if not plan.steps:
            return []
        repository = find_repository(self.settings.source_root, self.job.repo)
        try:
            pushes = read_pushes(repository, [step.snapshot for step in plan.steps])
            check_pushes(pushes, self.allowed)
        except LossNotAllowed as error:
            return [f"the request will fail: {error.message}; {error.hint}"]
        except DsgmigdError as error:
            return [error.message]
        lost = ", ".join(map(str, pushes.unread))
        return [f"an allowed loss, push_log: {lost}"] if lost else []

    def take_back(self) -> None:
        """Undo an interrupted publication, of this request or an earlier one."""
        self.check_target()  # without a pool there is no dataset to look at
        back = self.publication.take_back()
        if back is not None:
            self.log.warning("publication.undone", dataset=self.staging.layout.target, was=back)
            self._mount()

    def discard(self) -> None:
        """Destroy what was built and not published, by earlier requests for this repository too."""
        self.take_back()
        self.staging.discard()

    def release_pins(self) -> None:
        """Delete the pins of a run that will not be resumed."""
        repository = find_repository(self.settings.source_root, self.job.repo)
        self.pins_in(repository).release_all()

    def _execute(self, repository: Repository, plan: Plan, pins: Pins) -> None:
        self.evidence.check()
        self.progress.enter("pin")
        held = {name: pins.hold(repository.snapshot(name)) for name in plan.wanted}
        self.report.warnings += describe_unpinned(held.values())
        self.staging.area.prepare()
        self._compare_published(plan, held)
        if plan.base is None:
            return
        pushes = self._read_pushes(repository, plan)
        capabilities = self.probe()
        source = HeldSource(repository, held, self._survey_steps(plan, held, capabilities))
        self.progress.enter("stage")
        with contextlib.closing(self._build(plan, source, capabilities)) as build:
            if plan.steps and isinstance(plan.base, Resume | Extend):
                build.resume_after(plan.base.snapshot)
            tags = self._find_tags(repository, plan)
            for step, following in zip_longest(plan.steps, plan.steps[1:]):
                build.build_snapshot(step, pushes.by_snapshot[step.snapshot], following, tags)
                self.progress.snapshots_done += 1
        identities = {name: one.identity for name, one in held.items()}
        target = self._publish(self._identities(plan) | identities)
        build.keep_proofs(target)

    def _identities(self, plan: Plan) -> dict[SnapshotName, str]:
        """Return the sources of the snapshots that only the target still has."""
        snapshots = self.planned_target.snapshots if self.planned_target else ()
        made_from = {one.name: one.properties.get(SOURCE_IDENTITY, "") for one in snapshots}
        return {name: made_from[str(name)] for name in plan.only_in_target}

    def _compare_published(self, plan: Plan, held: dict[SnapshotName, HeldSnapshot]) -> None:
        """Compare what the plan names of the target, in order, and record that it is equal."""
        names = sorted({*plan.rechecks, *plan.verifies})
        if names:
            level = stronger(self.level, "complete") if plan.rechecks else self.level
            try:
                self.compare_with_source({name: held[name] for name in names}, level)
            finally:
                self.renew_record()

    def _read_pushes(self, repository: Repository, plan: Plan) -> Pushes:
        """Return who pushed the snapshots to build; raise if a loss of it is not allowed."""
        names = [step.snapshot for step in plan.steps]
        pushes = read_pushes(repository, names, self.progress.checkpoint)
        self.report.warnings += pushes.warnings
        check_pushes(pushes, self.allowed)
        if pushes.unread:
            loss = self.report.losses.setdefault("push_log", Loss("push_log"))
            loss.add(len(pushes.unread), [str(name) for name in pushes.unread])
        return pushes

    def _survey_steps(
        self, plan: Plan, held: dict[SnapshotName, HeldSnapshot], capabilities: Capabilities
    ) -> dict[SnapshotName, frozenset[bytes]]:
        """Check what will be copied; return the nested subvolumes of each snapshot."""
        nested = {}
        for step in plan.steps:
            self.progress.enter("survey", step.snapshot)
            parent = held[step.parent] if step.parent else None
            since = held[step.snapshot].changed_since(parent) or 0
            nested[step.snapshot] = survey_snapshot(
                held[step.snapshot], since, capabilities, self.allowed, parent=parent
            )
        return nested

    def _build(self, plan: Plan, source: HeldSource, capabilities: Capabilities) -> Build:
        if isinstance(plan.base, Extend):
            root = self.staging.clone_target(plan.base.snapshot)
        elif isinstance(plan.base, Resume):
            root = self.staging.resume(plan.base.snapshot)
        else:
            root = self.staging.create()
        writer = SnapshotWriter(
            root,
            commands=self.commands,
            capabilities=capabilities,
            allowed=self.allowed,
            send_protocol=self.settings.send_protocol,
            progress=self.progress,
        )
        return Build(
            source,
            staging=self.staging,
            marks=self.marks,
            writer=writer,
            checker=self.checker(self.level, capabilities),
            evidence=self.evidence,
            report=self.report,
            progress=self.progress,
        )

    def _find_tags(self, repository: Repository, plan: Plan) -> list[TagLink]:
        links, warnings = find_tags(repository, plan.wanted, self.job.request.migration_tag)
        self.report.warnings += warnings
        return links

    def _publish(self, identities: Mapping[SnapshotName, str]) -> Dataset:
        self.progress.enter("publish")
        # Without a target no name is needed, and it may be longer than ZFS takes.
        is_taken = self.publication.has_replaced if self.planned_target else lambda _: False
        now = free_moment(time.time(), is_taken)
        if self.planned_target:  # hours may have passed since the plan
            settle(self.commands, self.planned_target)
            self.check_others(self.staging.read_target())
        try:
            published = self.publication.publish(now, self.planned_target, identities)
            self.report.target = replace(self.target_facts(), replaced=published.replaced)
            self.note_record(published.target)
        except DsgmigdError:
            with contextlib.suppress(DsgmigdError):  # otherwise the next request does it
                self.take_back()
            raise
        self.log.info("target.published", dataset=self.staging.layout.target)
        with contextlib.suppress(DsgmigdError):  # the data is complete, whoever else made what
            self.report.warnings += settle_late_snapshots(
                self.staging.zfs, self.commands, self.staging.layout, published.target
            )
        self._mount(published.target)
        return published.target

    def _mount(self, target: Dataset | None = None) -> None:
        """Mount the published dataset; a failure is only a warning: the data is complete.

        Nothing that users see is hidden, unless the previous target hid it already.
        """
        hid_before = self.planned_target is not None and self.planned_target.is_mounted
        mounted = self.publication.mount.mount(may_cover=hid_before, target=target)
        self._note_mount(mounted)

    def _note_mount(self, mounted: Mounted) -> None:
        self.report.target = replace(self.target_facts(), mountpoint=mounted.mountpoint)
        self.report.warnings += mounted.warnings
