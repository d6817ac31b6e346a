"""Whole runs: what is built, verified and published, and what is left when a run ends early."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from dsgmigd.errors import (
    CommandFailed,
    InterruptedByStop,
    LossNotAllowed,
    SourceChanged,
    SourceUnavailable,
    SourceUnreadable,
    TargetChanged,
    TargetDiffers,
    TargetExists,
    TargetRefused,
    TargetUnavailable,
    VerificationFailed,
)
from dsgmigd.migration import migration as migration_module
from dsgmigd.migration import run
from dsgmigd.migration.migration import Migration
from dsgmigd.migration.published_check import PublishedCheck
from dsgmigd.names import SnapshotName
from dsgmigd.request import Request
from dsgmigd.source.pin_names import PINS_DIRECTORY
from dsgmigd.source.pins import Pins
from dsgmigd.target import mounts
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.target.dataset import PROPERTY_PREFIX
from dsgmigd.target.publication import TargetFacts
from tests.unit.migration.migration_world import (
    AREA,
    SV,
    Meddling,
    StopAt,
    World,
    change_in_place,
    needs_rsync,
    set_xattr,
    touch_root,
)

pytestmark = needs_rsync

OTHER_ID = "1c8a5d6c-6f0a-4f3e-9d52-0d6a3a3f7f11"


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**36)


def tags_in(world: World) -> list[str]:
    document = json.loads(world.published(".dsg/tag-messages.json"))
    return [tag["tag_id"] for tag in document["tags"]]


# A run to its end.


def test_every_snapshot_is_built_verified_and_published(world: World) -> None:
    world.push(1, file="one")
    world.push(2, file="two")
    report = world.migrate()
    assert report.outcome == "done"
    assert [(row.name, row.method, row.files) for row in report.snapshots] == [
        ("s1", "rsync", 1),
        ("s2", "rsync", 1),
    ]
    assert report.target == TargetFacts("zsd/SV", str(world.zfs.mountpoint("zsd/SV")))
    assert world.snapshots() == ["s1", "s2"]
    assert [world.level(name) for name in ("s1", "s2")] == ["complete"] * 2
    assert [world.mark(name, "source_uuid") for name in ("s1", "s2")] == [
        "directory:s1",
        "directory:s2",
    ]
    assert world.published() == "two"
    (warning,) = report.warnings
    assert warning.startswith("not pinned (plain directory, not a subvolume): s1, s2; ")
    assert f"{AREA}/staging/SV" not in world.zfs.datasets


def test_progress_counts_the_snapshots_and_names_the_last_step(world: World) -> None:
    for number in (1, 2, 3):
        world.push(number, file=str(number))
    work = world.work(Migration, Request(limit=2))
    work.run()
    progress = work.progress
    assert (progress.snapshots_done, progress.snapshots_wanted) == (2, 2)
    assert (progress.step, progress.snapshot) == ("publish", "s2")


def test_a_target_that_has_everything_is_left_alone(world: World) -> None:
    world.push(1, file="one")
    world.migrate()
    before = world.zfs.names()
    report = world.migrate()
    assert (report.outcome, report.snapshots) == ("up_to_date", [])
    assert report.target == TargetFacts("zsd/SV", str(world.zfs.mountpoint("zsd/SV")))
    assert world.zfs.names() == before


def test_new_snapshots_extend_the_target_and_the_old_dataset_is_kept(world: World) -> None:
    world.push(1, file="one")
    world.migrate()
    world.push(2, file="two")
    report = world.migrate()
    assert report.outcome == "done"
    assert [row.name for row in report.snapshots] == ["s2"]
    assert report.target is not None
    assert report.target.replaced is not None
    assert report.target.replaced.startswith(f"{AREA}/replaced/SV-")
    assert report.target.replaced in world.zfs.datasets
    assert (world.snapshots(), world.published()) == (["s1", "s2"], "two")


def test_a_pruned_source_extends_the_target_and_what_it_lacks_is_named(world: World) -> None:
    for number in (1, 2):
        world.push(number, file=str(number))
    world.migrate()
    shutil.rmtree(world.source / "s1")
    world.push(3, file="three")
    kept = "the source does not have (or no longer has) s1 of the target: kept, not compared"
    work = world.work(Migration)
    assert kept in work.forecast(work.survey()[1])
    report = world.migrate()
    assert (report.outcome, world.snapshots()) == ("done", ["s1", "s2", "s3"])
    assert kept in report.warnings
    shutil.rmtree(world.source / "s3")
    report = world.migrate()
    assert report.outcome == "up_to_date"
    assert any("s1, s3 of the target: kept" in warning for warning in report.warnings)
    assert world.snapshots() == ["s1", "s2", "s3"]


def test_a_foreign_dataset_is_replaced_only_if_that_was_asked_for(world: World) -> None:
    world.push(1, file="one")
    world.zfs.output("zfs", "create", "zsd/SV")
    with pytest.raises(TargetExists):
        world.migrate()
    report = world.migrate(Request(replace=True))
    assert report.target is not None
    assert report.target.replaced in world.zfs.datasets
    assert world.published() == "one"


def test_a_dataset_that_a_crash_left_unmounted_is_mounted(world: World) -> None:
    world.push(1, file="one")
    world.migrate()
    world.zfs.output("zfs", "unmount", "zsd/SV")
    report = world.migrate()
    assert report.outcome == "up_to_date"
    assert report.target == TargetFacts("zsd/SV", str(world.zfs.mountpoint("zsd/SV")))


def test_a_dataset_that_cannot_be_mounted_is_published_with_a_warning(world: World) -> None:
    world.push(1, file="one")
    world.pool.refused.add("zfs mount zsd/SV")
    report = world.migrate()
    assert (report.outcome, report.target) == ("done", TargetFacts("zsd/SV"))
    assert report.warnings[-1].startswith("zsd/SV is published, but not mounted: ")
    assert world.snapshots() == ["s1"]


def test_a_dataset_whose_mount_cannot_be_restricted_is_unmounted_with_a_warning(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's list has a mount without nosuid at a place where nothing is mounted."""
    (tmp_path / "mountinfo").write_text("30 22 0:30 / /none/SV rw - fuse.zfs zsd/SV rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", str(tmp_path / "mountinfo"))
    world.push(1, file="one")
    report = world.migrate()
    assert (report.outcome, report.target) == ("done", TargetFacts("zsd/SV"))
    assert report.warnings[-1].startswith("/none/SV was unmounted: set-ID programs")
    assert not world.zfs.datasets["zsd/SV"].is_mounted


def test_a_dataset_is_not_mounted_over_files_until_they_are_moved_away(world: World) -> None:
    world.push(1, file="one")
    taken = world.zfs.mountpoint("zsd") / "SV"
    taken.mkdir()
    (taken / "k").touch()
    work = world.work(Migration)
    _, plan = work.survey()
    forecast = f"zsd/SV will be published, but not mounted: {taken} has 'k' in it"
    assert work.forecast(plan) == [forecast]
    for outcome in ("done", "up_to_date"):
        report = world.migrate()
        assert (report.outcome, report.target) == (outcome, TargetFacts("zsd/SV"))
        assert report.warnings[-1].startswith("zsd/SV is published, but not mounted: ")
        assert "has 'k' in it; move that away, then: zfs mount zsd/SV" in report.warnings[-1]
    (taken / "k").unlink()
    assert world.migrate().target == TargetFacts("zsd/SV", str(taken))


def test_nothing_is_forecast_for_a_free_mountpoint_or_a_target_that_is_there(world: World) -> None:
    world.push(1, file="one")
    for _ in range(2):
        work = world.work(Migration)
        assert work.forecast(work.survey()[1]) == []
        world.migrate()


# Push logs and tags.


def test_a_snapshot_without_a_line_in_a_push_log_is_a_warning(world: World) -> None:
    (world.push(1, file="one") / ".snap/push.log").unlink()
    assert "no push log has a line for s1" in world.migrate().warnings


def test_who_pushed_a_snapshot_is_lost_only_if_that_is_allowed(world: World) -> None:
    world.push(1, file="one")
    log = world.push(2, file="two") / ".snap/push.log"
    log.write_text("SV/s2 | ana | last week | m\n")
    work = world.work(Migration)
    (forecast,) = work.forecast(work.survey()[1])
    assert forecast.startswith("the request will fail: who pushed 1 snapshots cannot be ")
    with pytest.raises(LossNotAllowed, match=r"s2: .*line 1: 'last week' is not a time") as caught:
        world.migrate()
    assert '"allow_loss": ["push_log"]' in caught.value.hint
    assert "zsd/SV" not in world.zfs.datasets
    allowing = Request(allow_loss=("push_log",))
    work = world.work(Migration, allowing)
    assert work.forecast(work.survey()[1]) == ["an allowed loss, push_log: s2"]
    report = world.migrate(allowing)
    assert report.outcome == "done"
    assert vars(report.losses["push_log"]) == {
        "loss": "push_log",
        "count": 1,
        "examples": ["s2"],
    }
    assert json.loads(world.published(".dsg/last-sync.json"))["metadata"]["created_by"] == "unknown"


def test_a_plan_with_a_push_log_that_fails_to_be_read_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SourceUnreadable("reading a push log failed", hint="look at it")

    world.push(1, file="one")
    work = world.work(Migration)
    plan = work.survey()[1]
    monkeypatch.setattr(migration_module, "read_pushes", fail)
    assert work.forecast(plan) == ["reading a push log failed"]


def test_tags_are_written_and_the_migration_tag_with_them(world: World) -> None:
    world.push(1, file="one")
    (world.source / "v1").symlink_to("s1")
    (world.source / "v3").symlink_to("s3")
    report = world.migrate(Request(migration_tag="v2-zfs"))
    assert sorted(tags_in(world)) == ["v1", "v2-zfs"]
    assert f"there is no s3 in {world.source}" in report.warnings[-1]


def test_a_tag_that_came_after_its_snapshot_was_published_is_a_warning(world: World) -> None:
    world.push(1, file="one")
    world.migrate()
    (world.source / "v1").symlink_to("s1")
    assert world.migrate().warnings == ["tags that will first be in the next snapshot: v1"]


@pytest.mark.parametrize("put", [os.mkfifo, huge])
def test_what_users_put_into_the_live_documents_is_not_read(
    world: World, put: Callable[[Path], object]
) -> None:
    world.push(1, file="one")
    (world.source / "v1").symlink_to("s1")
    world.migrate()
    live = world.zfs.mountpoint("zsd/SV") / ".dsg" / "tag-messages.json"
    live.unlink()
    put(live)
    assert world.migrate().outcome == "up_to_date"


def test_tags_of_a_snapshot_that_cannot_be_read_are_not_compared(world: World) -> None:
    world.push(1, file="one")
    (world.source / "v1").symlink_to("s1")
    world.migrate()
    world.pool.refused.add("zfs clone")
    (warning,) = world.migrate().warnings
    assert warning.startswith("the tags in zsd/SV@s1 were not compared: ")


# What the target cannot hold.


def test_what_the_target_cannot_hold_fails_before_anything_is_built(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "probe_capabilities", lambda _: Capabilities(latest_mtime=0))
    world.push(1, file="one")
    with pytest.raises(LossNotAllowed):
        world.migrate()
    assert f"{AREA}/staging/SV" not in world.zfs.datasets
    assert "zsd/SV" not in world.zfs.datasets


def test_a_name_that_changes_its_case_fails_before_anything_is_built_if_case_is_folded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.push(1, readme="one")
    world.push(2, README="one")
    with monkeypatch.context() as patched:
        patched.setattr(run, "probe_capabilities", lambda _: Capabilities(folds_case=True))
        with pytest.raises(TargetRefused, match=r"s2 has content .* another case"):
            world.migrate()
    assert f"{AREA}/staging/SV" not in world.zfs.datasets
    assert world.migrate().outcome == "done"


def test_a_loss_of_the_root_directory_alone_is_not_allowed_by_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "probe_capabilities", lambda _: Capabilities(xattrs=False))
    set_xattr(world.push(1), "user.a")
    with pytest.raises(LossNotAllowed, match=r"extended attributes \(1, first: '\.'\)"):
        world.migrate()
    assert "zsd/SV" not in world.zfs.datasets
    (loss,) = world.migrate(Request(allow_loss=("xattr",))).losses.values()
    assert (loss.count, loss.examples) == (1, ["s1/."])


def test_a_snapshot_whose_mark_is_lost_while_others_are_built_is_not_published(
    world: World,
) -> None:
    for number in (1, 2):
        world.push(number, file=str(number))

    def forget(step: str, snapshot: str | None) -> None:
        if (step, snapshot) == ("copy", "s2"):
            del world.zfs.properties(f"{AREA}/staging/SV@s1")[f"{PROPERTY_PREFIX}verified"]

    with pytest.raises(TargetChanged, match=r"verified snapshots were removed .*: s1$"):
        world.work(Migration, progress=Meddling(repo=SV, do=forget)).run()
    assert "zsd/SV" not in world.zfs.datasets
    assert world.migrate().outcome == "done"


def test_a_snapshot_that_only_the_target_has_is_published_again_with_its_mark_only(
    world: World,
) -> None:
    for number in (1, 2):
        world.push(number, file=str(number))
    world.migrate()
    shutil.rmtree(world.source / "s1")
    world.push(3, file="three")

    def forget(step: str, snapshot: str | None) -> None:
        if (step, snapshot) == ("copy", "s3"):
            del world.zfs.properties("zsd/SV@s1")[f"{PROPERTY_PREFIX}verified"]

    with pytest.raises(TargetChanged, match=r"verified snapshots were removed .*: s1$"):
        world.work(Migration, progress=Meddling(repo=SV, do=forget)).run()
    assert world.snapshots() == ["s1", "s2"]


# A run that ends early.


def test_a_stopped_run_goes_on_after_its_last_verified_snapshot(world: World) -> None:
    for number in (1, 2, 3):
        world.push(number, file=str(number))
    with pytest.raises(InterruptedByStop):
        world.work(Migration, progress=StopAt(when="verify", at=2)).run()
    assert "zsd/SV" not in world.zfs.datasets
    report = world.migrate()
    assert report.plan is not None
    assert report.plan.to_json()["base"] == "resume s1"
    assert [row.name for row in report.snapshots] == ["s2", "s3"]
    assert (world.snapshots(), world.published()) == (["s1", "s2", "s3"], "3")


def test_a_failed_run_reports_what_it_did_until_then(world: World) -> None:
    world.push(1, file="one")
    world.push(2, file="two")
    work = world.work(Migration, progress=StopAt(when="verify", at=2))
    with pytest.raises(InterruptedByStop):
        work.run()
    assert [(row.name, row.verification is None) for row in work.report.snapshots] == [
        ("s1", False),
        ("s2", True),
    ]


@pytest.mark.parametrize("is_stopped", [True, False])
def test_pins_stay_only_if_the_run_is_resumed(world: World, *, is_stopped: bool) -> None:
    world.push(1, file="one")
    pins = world.source.parent / PINS_DIRECTORY / "SV.r1"
    pins.mkdir(parents=True)
    if not is_stopped:
        world.pool.refused.add("zfs snapshot")
    with pytest.raises(InterruptedByStop if is_stopped else CommandFailed):
        world.work(Migration, progress=StopAt(when="verify")).run()
    assert pins.exists() == is_stopped


def test_a_pin_that_was_deleted_explains_every_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.push(1, file="one")
    world.pool.refused.add("zfs snapshot")
    gone = SourceChanged("a pin was deleted", hint="")

    def check(_: Pins) -> None:
        raise gone

    monkeypatch.setattr(Pins, "check_held", check)
    with pytest.raises(SourceChanged) as caught:
        world.work(Migration).run()
    assert caught.value is gone


@pytest.mark.parametrize("is_refused", [True, False])
def test_what_is_read_in_place_is_closed_at_the_end(world: World, *, is_refused: bool) -> None:
    world.push(1, file="one")
    before = len(os.listdir("/proc/self/fd"))
    if is_refused:
        world.pool.refused.add("zfs snapshot")
    with suppress(CommandFailed):
        world.migrate()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("is_damaged", [True, False])
def test_a_comparison_deletes_its_pins_whatever_it_finds(world: World, *, is_damaged: bool) -> None:
    world.push(1, file="one")
    world.migrate()
    if is_damaged:
        world.damage("s1")
    pins = world.source.parent / PINS_DIRECTORY / "SV.r1"
    pins.mkdir(parents=True)
    with suppress(VerificationFailed):
        world.work(PublishedCheck).verify(level="complete")
    assert not pins.parent.exists()


def test_the_pins_of_a_finished_run_are_deleted(world: World) -> None:
    world.push(1, file="one")
    pins = world.source.parent / PINS_DIRECTORY
    (pins / "SV.r1").mkdir(parents=True)
    world.migrate()
    assert not pins.exists()


def test_the_pins_of_a_run_that_is_not_resumed_are_deleted(world: World) -> None:
    world.push(1, file="one")
    pins = world.source.parent / PINS_DIRECTORY
    (pins / "SV.r1").mkdir(parents=True)
    (pins / f"SV-2020.{OTHER_ID}").mkdir()
    world.work(Migration).release_pins()
    assert [path.name for path in pins.iterdir()] == [f"SV-2020.{OTHER_ID}"]


def test_a_pool_that_went_away_explains_every_failure(world: World) -> None:
    world.push(1, file="one")

    def leave(step: str, _: str | None) -> None:
        if step == "copy":
            world.zfs.health = "SUSPENDED"
            raise TargetChanged("what came of it", hint="")

    with pytest.raises(TargetUnavailable, match="the pool zsd is SUSPENDED"):
        world.work(Migration, progress=Meddling(do=leave)).run()


def test_a_failure_with_a_healthy_pool_is_reported_as_it_is(world: World) -> None:
    world.push(1, file="one")
    world.pool.refused.add("zfs snapshot")
    with pytest.raises(CommandFailed, match="zfs snapshot"):
        world.migrate()


def test_a_publication_that_fails_brings_the_old_dataset_back(world: World) -> None:
    world.push(1, file="one")
    world.migrate()
    world.push(2, file="two")
    world.pool.refused.add(f"zfs rename {AREA}/staging/SV")
    with pytest.raises(CommandFailed):
        world.migrate()
    assert (world.snapshots(), world.published()) == (["s1"], "one")
    world.pool.refused.clear()
    report = world.migrate()
    assert (report.outcome, report.snapshots) == ("done", [])  # both were verified already
    assert (world.snapshots(), world.published()) == (["s1", "s2"], "two")


def test_a_publication_that_a_crash_interrupted_is_undone_first(world: World) -> None:
    world.push(1, file="one")
    world.migrate()
    world.push(2, file="two")
    world.pool.refused |= {f"zfs rename {AREA}/staging/SV", f"zfs rename {AREA}/replaced/SV"}
    with pytest.raises(CommandFailed):
        world.migrate()
    assert "zsd/SV" not in world.zfs.datasets
    world.pool.refused.clear()
    world.work(Migration).take_back()
    assert (world.snapshots(), world.published()) == (["s1"], "one")


def test_after_an_interrupted_publication_the_old_dataset_is_kept_under_one_name(
    world: World,
) -> None:
    world.push(1, file="one")
    world.migrate()
    world.push(2, file="two")
    world.pool.refused |= {f"zfs rename {AREA}/staging/SV", f"zfs rename {AREA}/replaced/SV"}
    with pytest.raises(CommandFailed):
        world.migrate()
    world.pool.refused.clear()
    report = world.migrate()
    kept = [name for name in world.zfs.datasets if name.startswith(f"{AREA}/replaced/")]
    assert report.target is not None
    assert kept == [report.target.replaced]
    assert (world.snapshots(), world.published()) == (["s1", "s2"], "two")


def test_nothing_is_published_if_somebody_removed_a_verified_snapshot(world: World) -> None:
    world.push(1, file="one")
    world.push(2, file="two")

    def remove(step: str, snapshot: str | None) -> None:
        if (step, snapshot) == ("verify", "s2"):
            world.zfs.output("zfs", "destroy", f"{AREA}/staging/SV@s1")

    with pytest.raises(TargetChanged, match=r"verified snapshots were removed from .*: s1"):
        world.work(Migration, progress=Meddling(do=remove)).run()
    assert "zsd/SV" not in world.zfs.datasets


@pytest.mark.parametrize("published", [0, 1])
def test_a_snapshot_that_somebody_makes_at_the_moment_of_publication_is_named(
    world: World, published: int
) -> None:
    for number in range(1, published + 2):
        world.push(number, file=f"{number}")
        if number == published:
            world.migrate()
            world.zfs.output("zfs", "snapshot", "zsd/SV@older")
    world.zfs.before_renaming[f"{AREA}/staging/SV"] = ["auto"]
    report = world.migrate()
    named = [one for one in report.warnings if "during the publication" in one]
    assert [one.partition(" ")[0] for one in named] == ["zsd/SV@auto"]


def test_what_was_built_is_destroyed_on_request_and_the_target_stays(world: World) -> None:
    world.push(1, file="one")
    world.migrate()
    world.push(2, file="two")
    with pytest.raises(InterruptedByStop):
        world.work(Migration, progress=StopAt(when="publish")).run()
    assert f"{AREA}/staging/SV" in world.zfs.datasets
    world.work(Migration).discard()
    assert f"{AREA}/staging/SV" not in world.zfs.datasets
    assert (world.snapshots(), world.published()) == (["s1"], "one")


# A published snapshot whose source moved, or that was damaged.


def test_a_snapshot_whose_source_moved_is_compared_once_and_the_new_version_recorded(
    world: World,
) -> None:
    source = world.push(1, file="one")
    world.migrate()
    before = world.mark("s1", "source_ctransid")
    touch_root(source)
    report = world.migrate()
    assert report.outcome == "up_to_date"
    assert [(row.name, row.method) for row in report.snapshots] == [("s1", None)]
    assert world.mark("s1", "source_ctransid") != before
    assert world.migrate().snapshots == []


def test_a_source_that_was_edited_ends_the_run_before_anything_is_built(world: World) -> None:
    source = world.push(1, file="one")
    world.migrate()
    world.push(2, file="two")
    change_in_place(source / "file")
    touch_root(source)
    with pytest.raises(TargetDiffers, match="s1: 1 differences") as caught:
        world.migrate()
    assert "dsgmigd rebuild SV --from s1" in caught.value.hint
    assert f"{AREA}/staging/SV" not in world.zfs.datasets
    assert world.snapshots() == ["s1"]


def rebuild(first: int) -> Request:
    return Request(rebuild_from=SnapshotName(first))


@pytest.mark.parametrize("request_", [rebuild(1), Request(replace=True)])
def test_a_damaged_dataset_is_never_up_to_date_until_it_is_built_again(
    world: World, request_: Request
) -> None:
    world.push(1, file="one")
    world.migrate()
    world.damage("s1")
    with pytest.raises(TargetDiffers, match="s1: 1 differences") as caught:
        world.work(PublishedCheck).verify(level="complete")
    assert "dsgmigd rebuild SV --from s1" in caught.value.hint
    for _ in range(2):
        with pytest.raises(TargetDiffers, match="@s1 has 1 differences to its source, found at"):
            world.migrate()

    report = world.migrate(request_, request_id="r2")
    assert report.outcome == "done"
    assert report.target is not None
    assert world.snapshots(str(report.target.replaced)) == ["s1"], "what it held can be examined"
    assert world.work(PublishedCheck).verify(level="complete").outcome == "verified"
    assert world.migrate().outcome == "up_to_date"


def test_a_rebuild_keeps_the_snapshots_before_it(world: World) -> None:
    for number, text in enumerate(("one", "two", "three"), 1):
        world.push(number, file=text)
    world.migrate()
    guid = world.guid("zsd/SV@s1")
    world.damage("s2")
    with pytest.raises(TargetDiffers):
        world.work(PublishedCheck).verify(level="complete")

    report = world.migrate(rebuild(2), request_id="r2")

    assert [(row.name, row.method) for row in report.snapshots] == [
        ("s2", "rsync"),
        ("s3", "rsync"),
    ]
    assert (world.snapshots(), world.published()) == (["s1", "s2", "s3"], "three")
    assert world.guid("zsd/SV@s1") == guid
    assert report.target is not None
    assert world.snapshots(str(report.target.replaced)) == ["s2", "s3"]
    assert world.migrate().outcome == "up_to_date"


def test_a_request_that_has_rebuilt_does_not_do_so_again_after_a_crash(world: World) -> None:
    world.push(1, file="one")
    world.migrate()
    assert world.migrate(rebuild(1), request_id="r7").outcome == "done"
    again = world.migrate(rebuild(1), request_id="r7")
    assert (again.outcome, again.snapshots) == ("up_to_date", [])


def test_a_source_that_moved_and_differs_is_replaced_if_that_is_asked_for(world: World) -> None:
    source = world.push(1, file="one")
    world.migrate()
    change_in_place(source / "file")
    touch_root(source)
    report = world.migrate(Request(replace=True))
    assert report.outcome == "done"
    assert [row.method for row in report.snapshots] == ["rsync"]
    assert any("the target is replaced: s1: 1 differences" in one for one in report.warnings)
    assert world.published() == (source / "file").read_text()


def test_what_a_later_verification_does_not_find_differs_no_more(world: World) -> None:
    source = world.push(1, file="one")
    world.migrate()
    change_in_place(source / "file")
    with pytest.raises(TargetDiffers):
        world.work(PublishedCheck).verify(level="complete")
    change_in_place(source / "file")
    world.work(PublishedCheck).verify(level="structure")
    with pytest.raises(TargetDiffers):
        world.migrate()
    assert world.work(PublishedCheck).verify(level="complete").outcome == "verified"
    assert world.migrate().outcome == "up_to_date"


def test_a_stronger_level_is_verified_before_anything_is_said(world: World) -> None:
    world.push(1, file="one")
    world.migrate(Request(verify="structure"))
    report = world.migrate(Request(verify="exhaustive"))
    document = report.to_json()
    assert (report.outcome, document["verified_now"]["level"]) == ("up_to_date", "exhaustive")
    assert document["verified_now"]["files_read"] == 1
    assert (document["last_verified"]["level"], world.level("s1")) == ("exhaustive", "exhaustive")

    again = world.migrate(Request(verify="complete")).to_json()
    assert again["verified_now"] is None
    assert again["last_verified"] == document["last_verified"]


def test_a_stronger_level_that_finds_differences_is_not_up_to_date(world: World) -> None:
    world.push(1, file="one")
    world.migrate(Request(verify="structure"))
    world.damage("s1")
    with pytest.raises(TargetDiffers, match="s1: 1 differences"):
        world.migrate(Request(verify="exhaustive"))
    assert world.level("s1") == "structure"


def test_a_level_that_reads_no_contents_says_so_once(world: World) -> None:
    for number in (1, 2):
        world.push(number, file=str(number))
    report = world.migrate(Request(verify="structure"))
    (warning,) = [one for one in report.warnings if "the level structure" in one]
    assert "the hashes in the manifests were not checked (s1 has 1)" in warning


def test_a_damaged_dataset_is_not_extended(world: World) -> None:
    """Its last snapshot was verified at a lower level, so it is read before it is built on."""
    world.push(1, file="one")
    world.migrate(Request(verify="structure"))
    world.push(2, file="two")
    world.damage("s1")
    with pytest.raises(TargetDiffers, match="s1: 1 differences") as caught:
        world.migrate()
    assert "dsgmigd rebuild SV --from s1" in caught.value.hint

    assert world.migrate(rebuild(1), request_id="r2").outcome == "done"
    assert (world.snapshots(), world.published()) == (["s1", "s2"], "two")


def test_a_source_that_goes_away_during_a_run_is_the_reason_that_is_given(world: World) -> None:
    world.push(1, file="one")

    def unmount(step: str, _snapshot: str | None) -> None:
        if step == "copy":
            world.source.rename(world.directory / "elsewhere")

    with pytest.raises(SourceUnavailable, match="is empty"):
        world.work(Migration, progress=Meddling(repo="SV", do=unmount)).run()
