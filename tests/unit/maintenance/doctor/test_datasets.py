"""Datasets and probes that are leftovers, and those that are never touched."""

from pathlib import Path

import pytest

from dsgmigd.errors import TargetBusy
from dsgmigd.maintenance.doctor.datasets import DatasetPlace
from dsgmigd.maintenance.doctor.leftover import Findings
from dsgmigd.names import SnapshotName, parse_dataset_name
from dsgmigd.target.dataset import PROPERTY_PREFIX
from dsgmigd.target.publication import Publication
from tests.unit.maintenance.doctor.world import (
    ALL,
    AREA,
    ID,
    REMOVE,
    STAGING,
    SV,
    TARGET,
    VIEW,
    World,
    only,
)
from tests.unit.staged_series import T0


@pytest.mark.parametrize("name", [VIEW, STAGING, f"{AREA}/staging/-odd", f"{AREA}/views/x.claim"])
def test_a_dataset_without_a_request_is_never_touched(world: World, name: str) -> None:
    world.zfs.output("zfs", "create", name)
    found = only(world.examine(ALL))
    assert (found.kind, found.where, found.treatment) == ("foreign", name, "look")
    assert world.zfs.destroyed == []


def test_a_request_that_is_only_inherited_does_not_count(world: World) -> None:
    world.zfs.output("zfs", "set", f"{PROPERTY_PREFIX}request={ID}", f"{AREA}/staging")
    world.zfs.output("zfs", "create", STAGING)
    assert only(world.examine(ALL)).kind == "foreign"


def test_a_foreign_dataset_is_listed_even_while_a_request_runs(world: World) -> None:
    world.zfs.output("zfs", "create", VIEW)
    world.claim()
    assert only(world.examine()).where == VIEW


@pytest.mark.parametrize(
    "hung_on", [("create", f"{STAGING}/child"), ("snapshot", f"{STAGING}@mine")]
)
def test_a_staging_dataset_with_a_foreign_child_or_snapshot_is_never_touched(
    interrupted: World, hung_on: tuple[str, str]
) -> None:
    interrupted.zfs.output("zfs", *hung_on)
    found = only(interrupted.examine(ALL), "foreign")
    assert found.where == STAGING
    assert hung_on[1].rpartition("@")[2] in found.why
    assert interrupted.zfs.destroyed == [VIEW]


def test_a_view_with_a_foreign_child_stays_and_so_does_its_origin(interrupted: World) -> None:
    interrupted.zfs.output("zfs", "create", f"{VIEW}/child")
    findings = interrupted.examine(ALL)
    assert only(findings, "foreign").where == VIEW
    assert "may show one of its snapshots" in str(only(findings, "staging").error)
    assert interrupted.zfs.destroyed == []


def test_a_writable_view_with_a_foreign_snapshot_stays_and_so_does_its_origin(
    interrupted: World,
) -> None:
    interrupted.zfs.output("zfs", "set", "readonly=off", VIEW)
    interrupted.zfs.output("zfs", "snapshot", f"{VIEW}@mine")
    findings = interrupted.examine(ALL)
    assert "is writable: they may hold data" in str(only(findings, "view").error)
    assert "may show one of its snapshots" in str(only(findings, "staging").error)
    assert interrupted.zfs.destroyed == []


def test_a_read_only_view_goes_with_the_snapshots_that_others_made_of_it(
    interrupted: World,
) -> None:
    interrupted.zfs.output("zfs", "destroy", VIEW)
    marks = ("-o", f"{PROPERTY_PREFIX}request={ID}", "-o", "readonly=on")
    for name in (VIEW, f"{VIEW}:2"):
        interrupted.zfs.output("zfs", "clone", *marks, f"{STAGING}@s1", name)
        interrupted.zfs.output("zfs", "snapshot", f"{name}@auto")
    findings = interrupted.examine(ALL)
    assert findings.is_clean
    assert not [name for name in interrupted.zfs.names() if name.startswith(VIEW)]


def test_a_dataset_in_place_of_a_view_that_is_not_a_clone_stays(world: World) -> None:
    """It would hold data of its own."""
    world.zfs.output("zfs", "create", "-o", f"{PROPERTY_PREFIX}request={ID}", VIEW)
    assert only(world.examine(ALL)).kind == "foreign"
    assert VIEW in world.zfs.names()


def test_a_removal_that_fails_is_reported_and_the_others_go_on(interrupted: World) -> None:
    interrupted.zfs.output("zfs", "clone", f"{STAGING}@s1", "zsd/mine")
    findings = interrupted.examine(ALL)
    failed = only(findings, "staging")
    assert "has dependent clones" in str(failed.error)
    assert not failed.is_removed
    assert not findings.is_clean
    assert only(findings, "pins").is_removed


@pytest.mark.parametrize("is_extended", [True, False])
def test_an_interrupted_publication_is_never_discarded(world: World, is_extended: bool) -> None:  # noqa: FBT001
    """Users have no dataset then: only a migration restores one."""
    staging = world.staging()
    staging.create()
    staging.snapshot(SnapshotName(1), {})
    Publication(staging).publish(T0, None, {})
    staging.clone_target(SnapshotName(1)) if is_extended else staging.create()
    world.zfs.output("zfs", "rename", TARGET, f"{AREA}/replaced/SV-20260102T000000Z")
    if is_extended:
        world.zfs.output("zfs", "promote", STAGING)
    before = world.zfs.names()
    found = only(world.examine(ALL), "staging")
    assert found.treatment == "look"
    assert "`dsgmigd migrate SV` completes it" in found.why
    assert world.zfs.names() == before


def test_a_kept_target_of_another_repository_tells_nothing_of_a_publication(
    interrupted: World,
) -> None:
    interrupted.zfs.output("zfs", "create", f"{AREA}/replaced/SV-2-20260102T000000Z")
    assert only(interrupted.examine(), "staging").treatment == "discard"


def test_a_kept_target_is_listed_and_needs_no_action(world: World) -> None:
    name = f"{AREA}/replaced/SV-2-20260102T030405Z"
    world.zfs.output("zfs", "create", name)
    (world.zfs.mountpoint(name) / "file").write_bytes(b"x" * 2_500_000)
    findings = world.examine(ALL)
    kept = only(findings)
    assert (kept.kind, kept.repo, kept.where, kept.treatment) == ("replaced", "SV-2", name, "keep")
    assert "`dsgmigd purge SV-2 20260102T030405Z`" in kept.why
    assert "2.5 MB" in kept.why
    assert findings.is_clean
    assert name in world.zfs.names()


@pytest.mark.parametrize("name", ["SV", "SV-T1", "-20260102T030405Z"])
def test_a_dataset_among_kept_targets_with_another_name_is_foreign(world: World, name: str) -> None:
    world.zfs.output("zfs", "create", f"{AREA}/replaced/{name}")
    assert only(world.examine(ALL)).kind == "foreign"


@pytest.fixture
def probe(world: World) -> Path:
    world.spool.lock_repository(SV).release()  # type: ignore[union-attr]
    place = world.zfs.mountpoint(f"{AREA}/staging") / ".probe-abc"
    place.mkdir()
    (place / "file").touch()
    return place


def test_a_probe_is_removed_when_no_request_runs(world: World, probe: Path) -> None:
    assert only(world.examine()).where == str(probe)
    assert world.examine(REMOVE).is_clean
    assert not probe.exists()


def test_a_probe_may_belong_to_any_request_that_runs(world: World, probe: Path) -> None:
    lock = world.spool.lock_repository(SV)
    assert lock is not None
    assert world.examine(ALL) == Findings((), ())
    assert probe.exists()
    lock.release()


def test_a_directory_with_data_is_not_a_probe(world: World, probe: Path) -> None:
    (probe / "file").write_text("something")
    (probe.parent / "other").touch()
    assert only(world.examine(ALL)).kind == "foreign"
    assert (probe / "file").read_text() == "something"


def test_a_snapshot_that_is_mounted_as_a_view_is_found_and_unmounted(interrupted: World) -> None:
    mounts = interrupted.zfs.fake_native.mounts
    interrupted.zfs.output("zfs", "destroy", VIEW)
    above = interrupted.zfs.mountpoint(f"{AREA}/views")
    for name in ("SV:2", "SV-2020", "x.claim"):
        mounts.mount(f"{STAGING}@s2", str(above / name))
    place = DatasetPlace(interrupted.zfs, parse_dataset_name("zsd"), AREA, mounts)
    assert place.repositories() == {"SV", "SV-2020"}
    assert [one.where for one in place.unowned()] == [str(above / "x.claim")]
    view, staging = place.find(SV)
    assert (view.kind, view.where, view.treatment) == ("view", str(above / "SV:2"), "remove")
    assert (view.request_id, f"{STAGING}@s2" in view.why) == (ID, True)
    with pytest.raises(TargetBusy, match="may show one of its snapshots"):
        place.remove(staging)
    mounts.busy.add(view.where)
    with pytest.raises(TargetBusy):
        place.remove(view)
    mounts.busy.clear()
    place.remove(view)
    assert set(mounts.mounted) == {str(above / "SV-2020"), str(above / "x.claim")}
