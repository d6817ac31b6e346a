"""Whose a leftover is, and when it is removed: on real directories and a pool in memory."""

from pathlib import Path

import pytest

from dsgmigd.maintenance.doctor.doctor import Doctor
from dsgmigd.maintenance.doctor.leftover import Findings
from dsgmigd.names import parse_dataset_name
from tests.unit.maintenance.doctor.world import (
    ALL,
    ID,
    REMOVE,
    STAGING,
    SV,
    VIEW,
    World,
    kinds,
    only,
    pool_and_source,
)


def test_without_interrupted_requests_nothing_is_found(world: World) -> None:
    assert world.examine() == Findings((), ())
    assert world.examine().is_clean


def test_leftovers_are_listed_with_their_request_and_nothing_is_touched(
    interrupted: World,
) -> None:
    before = pool_and_source(interrupted)
    findings = interrupted.examine()
    assert kinds(findings) == ["pins", "staging", "view"]
    assert {(one.repo, one.request_id) for one in findings.leftovers} == {("SV", ID)}
    assert not findings.is_clean
    assert only(findings, "staging").why.startswith("verified snapshots: 1;")
    assert pool_and_source(interrupted) == before


def test_a_fix_removes_pins_and_view_and_keeps_the_work(interrupted: World) -> None:
    findings = interrupted.examine(REMOVE)
    assert interrupted.zfs.destroyed == [VIEW]
    assert not interrupted.pins.exists()
    assert {one.kind: one.is_removed for one in findings.leftovers} == {
        "pins": True,
        "view": True,
        "staging": False,
    }
    assert not findings.is_clean, "the work is still there"
    assert kinds(interrupted.examine()) == ["staging"]


def test_work_is_discarded_only_if_that_is_asked_for(interrupted: World) -> None:
    findings = interrupted.examine(ALL)
    assert findings.is_clean
    assert interrupted.zfs.destroyed == [VIEW, f"{STAGING}@s2", f"{STAGING}@s1", STAGING]
    assert interrupted.examine() == Findings((), ())


@pytest.mark.parametrize("claim", ["SV.claim.1", "SV.claim.77"])
def test_objects_that_a_claim_will_need_are_not_leftovers(interrupted: World, claim: str) -> None:
    interrupted.claim(claim)
    before = pool_and_source(interrupted)
    assert interrupted.examine(ALL) == Findings((), ())
    assert pool_and_source(interrupted) == before


def test_a_claim_protects_its_own_repository_only(interrupted: World) -> None:
    interrupted.claim("CO.claim.1")
    assert kinds(interrupted.examine()) == ["pins", "staging", "view"]


def test_objects_of_a_running_request_are_not_leftovers(interrupted: World) -> None:
    lock = interrupted.spool.lock_repository(SV)
    assert lock is not None
    before = pool_and_source(interrupted)
    assert interrupted.examine(ALL) == Findings((), ())
    assert pool_and_source(interrupted) == before
    lock.release()


def test_a_claim_that_comes_after_the_listing_is_seen_before_anything_is_removed(
    interrupted: World,
) -> None:
    before = pool_and_source(interrupted)
    # Each of the three places is listed by commands of its own; the last comes after the datasets.
    interrupted.zfs.before[3] = interrupted.claim
    assert interrupted.examine(ALL) == Findings((), ())
    assert pool_and_source(interrupted) == before
    assert interrupted.zfs.makings > 3


def test_a_waiting_request_needs_the_work_but_neither_pins_nor_view(interrupted: World) -> None:
    interrupted.write(Path(interrupted.spool.directory) / "SV.request")
    findings = interrupted.examine(ALL)
    assert kinds(findings) == ["pins", "view"]
    assert findings.is_clean
    assert interrupted.zfs.destroyed == [VIEW]


def test_locks_are_free_again_afterwards(interrupted: World) -> None:
    interrupted.examine(ALL)
    lock = interrupted.spool.lock_repository(SV)
    assert lock is not None
    lock.release()


def test_a_missing_source_root_is_a_problem_and_the_rest_is_checked(interrupted: World) -> None:
    (interrupted.pins / f"SV.{ID}").rmdir()
    interrupted.pins.rmdir()
    interrupted.root.rmdir()
    findings = interrupted.examine()
    (problem,) = findings.problems
    assert "source root" in problem
    assert [one.kind for one in findings.leftovers] == ["view", "staging"]


def test_a_missing_pool_is_a_problem_and_the_rest_is_checked(interrupted: World) -> None:
    interrupted.zfs.datasets.clear()
    findings = interrupted.examine(REMOVE)
    (problem,) = findings.problems
    assert "pool zsd is not available" in problem
    assert only(findings).kind == "pins"
    assert not findings.is_clean, "some locations could not be checked"
    assert not interrupted.pins.exists()


def test_a_missing_target_parent_is_a_problem(world: World) -> None:
    findings = Doctor(
        world.spool,
        source_root=str(world.root),
        parent=parse_dataset_name("zsd/absent"),
        area="zsd/absent/.dsgmigd",
        commands=lambda *, keep_descriptors: world.zfs.on_behalf_of(keep_descriptors),
    ).examine()
    assert findings.problems == ("the target parent zsd/absent does not exist",)


def test_a_suspended_pool_is_a_problem_and_is_not_waited_for(interrupted: World) -> None:
    interrupted.zfs.health = "SUSPENDED"
    interrupted.zfs.calls.clear()
    assert interrupted.examine().problems == ("the pool zsd is SUSPENDED",)
    assert {call[0] for call in interrupted.zfs.calls} == {"zpool"}
