"""What a migration and a check of the published dataset have in common."""

import errno
from pathlib import Path

import pytest

from dsgmigd.errors import (
    InterruptedByStop,
    InvalidName,
    NoSnapshots,
    SourceMissing,
    TargetExists,
    TargetMissing,
    TargetUnavailable,
    VerificationFailed,
)
from dsgmigd.migration import run
from dsgmigd.migration.migration import Migration
from dsgmigd.migration.plan import Create, Resume
from dsgmigd.migration.report import SourceFacts
from dsgmigd.migration.run import Run
from dsgmigd.names import SnapshotName
from dsgmigd.request import Loss, Request, VerifyLevel
from dsgmigd.source.pin_names import PINS_DIRECTORY
from dsgmigd.source.pins import Pins
from dsgmigd.source.repository import HeldSnapshot, find_repository
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.target.publication import TargetFacts
from dsgmigd.verification.compare import Discrepancy
from tests.unit.failing import failing
from tests.unit.migration.migration_world import AREA, SV, StopAt, World, needs_rsync
from tests.unit.source.repositories import SPOOL_ID

S1, S2 = SnapshotName(1), SnapshotName(2)


# What the request says wins over the settings.


@pytest.mark.parametrize(("asked", "level"), [(None, "changes"), ("structure", "structure")])
def test_the_level_of_the_request_wins(
    world: World, asked: VerifyLevel | None, level: VerifyLevel
) -> None:
    work = world.work(Run, Request(verify=asked), verify_level="changes")
    assert (work.level, work.report.level) == (level, level)


@pytest.mark.parametrize(("asked", "allowed"), [(None, ("acl",)), ((), ()), (("xattr",),) * 2])
def test_the_losses_that_the_request_allows_win_even_if_there_are_none(
    world: World, asked: tuple[Loss, ...] | None, allowed: tuple[Loss, ...]
) -> None:
    work = world.work(Run, Request(allow_loss=asked), allow_loss=("acl",))
    assert work.allowed == allowed


@pytest.mark.parametrize(
    ("setting", "asked", "replaces"),
    [(True, None, True), (False, True, True), (False, None, False), (True, False, False)],
)
def test_whether_a_foreign_target_is_replaced_says_the_request_or_else_the_setting(
    world: World, *, asked: bool | None, setting: bool, replaces: bool
) -> None:
    world.push(1)
    world.zfs.output("zfs", "create", "zsd/SV")
    work = world.work(Run, Request(replace=asked), replace_existing=setting)
    if replaces:
        assert work.survey()[1].replaces_target
    else:
        with pytest.raises(TargetExists, match="was not created from this source"):
            work.survey()


# The survey.


def test_a_survey_notes_what_it_found_and_changes_nothing(world: World) -> None:
    world.push(1)
    world.push(2)
    before = world.zfs.names()
    work = world.work(Run, Request(limit=1))
    repository, plan = work.survey()
    assert repository.directory == str(world.source)
    assert plan.wanted == (S1,)
    assert work.report.source == SourceFacts(str(world.source), 2)
    assert work.report.target == TargetFacts("zsd/SV")
    assert work.report.plan == plan
    assert (work.progress.snapshots_done, work.progress.snapshots_wanted) == (0, 1)
    assert world.zfs.names() == before


def test_a_survey_warns_of_what_is_left_out(world: World) -> None:
    world.push(1)
    (world.source / "S2").mkdir()
    (world.source / "s3.incomplete").mkdir()
    work = world.work(Run)
    work.survey()
    assert work.report.warnings == [
        f"not called s1, s2, … and so not migrated: 'S2', 's3.incomplete' in {world.source}"
    ]


def test_a_pool_that_is_away_comes_before_everything_else(world: World) -> None:
    world.source.rmdir()
    world.zfs.health = "FAULTED"
    with pytest.raises(TargetUnavailable, match="the pool zsd is FAULTED"):
        world.work(Run).survey()


def test_a_parent_that_does_not_exist_is_missing(world: World) -> None:
    with pytest.raises(TargetMissing, match="zsd/absent does not exist"):
        world.work(Run, target_parent="zsd/absent").survey()


def test_a_repository_that_is_not_there_is_missing_and_the_report_says_nothing(
    world: World,
) -> None:
    world.source.rename(world.source.with_name("CO"))
    work = world.work(Run)
    with pytest.raises(SourceMissing):
        work.survey()
    assert (work.report.source, work.report.target, work.report.plan) == (None, None, None)


def test_a_repository_without_snapshots_is_refused_with_what_it_has(world: World) -> None:
    (world.source / "S1").mkdir()
    with pytest.raises(NoSnapshots, match="has no s1; it has S1"):
        world.work(Run).survey()


def test_a_target_that_cannot_be_used_as_planned_is_in_the_report_of_the_failure(
    world: World,
) -> None:
    world.push(1)
    world.zfs.output("zfs", "create", "zsd/SV")
    work = world.work(Run)
    with pytest.raises(TargetExists):
        work.survey()
    assert work.report.target == TargetFacts("zsd/SV", str(world.zfs.mountpoint("zsd/SV")))


def test_a_volume_in_place_of_the_target_is_refused_even_if_it_may_be_replaced(
    world: World,
) -> None:
    world.push(1, file="one")
    world.zfs.output("zfs", "create", "zsd/SV")
    world.zfs.properties("zsd/SV")["type"] = "volume"
    with pytest.raises(TargetExists, match="zsd/SV is a volume, not a file system"):
        world.work(Migration, Request(replace=True)).survey()


def test_names_that_are_too_long_for_the_publication_are_found_in_the_plan(world: World) -> None:
    for number in (1, 2):
        world.push(number, file="one")
    world.migrate(Request(limit=1))
    world.zfs.output("zfs", "snapshot", f"zsd/SV@{'x' * 240}")
    with pytest.raises(InvalidName, match="characters, and ZFS takes 255"):
        world.work(Migration).survey()
    world.work(Migration, Request(limit=1)).survey()  # there is nothing to publish


def test_a_dataset_that_could_not_be_extended_later_is_told_of_in_the_plan(world: World) -> None:
    world.push(1, file="one")
    area = "zsd/" + "a" * (255 - len("zsd/" + "/replaced/SV-20260101T000000Z@s1"))
    work = world.work(Migration, area=area)
    work.survey()
    assert work.report.warnings == []
    work = world.work(Migration, area=area + "a")
    work.survey()
    (warning,) = work.report.warnings
    assert warning.startswith("zsd/SV cannot be extended or replaced later: ")
    assert world.migrate(area=area + "aaaa").outcome == "done"


def test_a_dataset_that_is_not_mounted_has_no_mountpoint(world: World) -> None:
    world.zfs.output("zfs", "create", "zsd/SV")
    world.zfs.output("zfs", "unmount", "zsd/SV")
    work = world.work(Run)
    work.note_target(work.staging.read_target())
    assert work.target_facts() == TargetFacts("zsd/SV")


def test_a_target_has_its_name_before_anybody_looked(world: World) -> None:
    assert world.work(Run).target_facts() == TargetFacts("zsd/SV")


@needs_rsync
@pytest.mark.parametrize(
    ("level", "base"),
    [("structure", Resume(S1)), ("complete", Resume(S1)), ("exhaustive", Create())],
)
def test_what_was_verified_at_a_weaker_level_is_built_again(
    world: World, level: VerifyLevel, base: object
) -> None:
    world.push(1)
    with pytest.raises(InterruptedByStop):
        world.work(Migration, progress=StopAt(when="publish")).run()
    assert world.work(Run, Request(verify=level)).survey()[1].base == base


# Comparing what is published with its source.


def hold(world: World) -> dict[SnapshotName, HeldSnapshot]:
    repository = find_repository(world.settings.source_root, SV)
    pins = Pins(repository, "r1", SPOOL_ID)
    return {one.name: pins.hold(one) for one in repository.snapshots}


@needs_rsync
def test_every_published_snapshot_is_compared_and_what_the_target_lacks_returned(
    world: World,
) -> None:
    world.push(1, file="one")
    world.migrate()
    world.push(2, file="two")
    work = world.work(Run)
    assert work.compare_with_source(hold(world), "complete") == ["s2"]
    (row,) = work.report.snapshots
    assert (row.name, row.method, row.is_pinned, row.files) == ("s1", None, False, 1)
    assert row.verification is not None
    assert row.verification.level == "complete"
    assert row.seconds > 0
    assert (work.progress.step, work.progress.snapshot) == ("verify", "s1")


@needs_rsync
def test_differences_are_reported_one_by_one_and_end_the_comparison(world: World) -> None:
    world.push(1, file="one")
    world.push(2, file="two")
    world.migrate()
    world.damage("s1")
    heard: list[tuple[str, str]] = []

    def note(name: str, found: list[Discrepancy]) -> None:
        heard.extend((name, one.path) for one in found)

    work = world.work(Run)
    work.note = note
    with pytest.raises(VerificationFailed, match="s1: 1 differences") as caught:
        work.compare_with_source(hold(world), "complete")
    assert "dsgmigd rebuild SV --from s1" in caught.value.hint
    assert heard == [("s1", "file")]
    assert [row.name for row in work.report.snapshots] == ["s1"]


@needs_rsync
def test_a_comparison_reads_as_much_as_its_level_says(world: World) -> None:
    world.push(1, file="one")
    world.migrate()
    world.damage("s1")
    assert world.work(Run).compare_with_source(hold(world), "structure") == []


def test_without_a_target_everything_is_lacking(world: World) -> None:
    world.push(1)
    world.work(Run).staging.area.prepare()
    assert world.work(Run).compare_with_source(hold(world), "complete") == ["s1"]


def test_the_file_system_that_is_probed_is_that_of_staging(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def probe(directory: str) -> Capabilities:
        asked.append(directory)
        return Capabilities()

    monkeypatch.setattr(run, "probe_capabilities", probe)
    work = world.work(Run)
    work.staging.area.prepare()
    work.probe()
    assert asked == [str(world.zfs.mountpoint(f"{AREA}/staging"))]


# Pins.


def test_pins_that_cannot_be_deleted_are_only_a_warning(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.push(1)
    Path(world.settings.source_root, PINS_DIRECTORY, "SV.r1").mkdir(parents=True)
    work = world.work(Run)
    pins = Pins(find_repository(world.settings.source_root, SV), "r1", SPOOL_ID)
    monkeypatch.setattr("os.rmdir", failing(errno.EIO))
    work.release(pins)
    (warning,) = work.report.warnings
    assert warning.startswith("pins could not be deleted, see dsgmigd doctor: ")
