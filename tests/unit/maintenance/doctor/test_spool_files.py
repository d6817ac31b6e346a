"""Temporary files of the spool that are leftovers."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsgmigd.maintenance.doctor.leftover import Findings
from dsgmigd.spool.spool import Spool
from tests.unit.maintenance.doctor.world import (
    ALL,
    ID,
    REMOVE,
    SV,
    World,
    kinds,
    only,
)


@pytest.fixture
def running(world: World) -> Iterator[Spool]:
    """Instance 1, as long as the test lasts."""
    spool = Spool(world.spool.directory, 1)
    lock = spool.instances.lock()
    yield spool
    lock.release()


@pytest.mark.parametrize("name", ["SV.claim.1", "SV.show.1", "SV.result.1", "a.claim.2.result.1"])
def test_a_temporary_file_of_an_ended_instance_is_removed(world: World, name: str) -> None:
    file = world.write(world.work / name)
    found = only(world.examine())
    assert (found.kind, found.where) == ("temporary", str(file))
    assert found.repo == name.rpartition(".")[0].rpartition(".")[0]
    assert world.examine(REMOVE).is_clean
    assert not file.exists()


def test_a_claim_protects_the_temporary_files_of_its_own_repository_only(world: World) -> None:
    for repo in ("CO", "SV"):
        world.write(world.work / f"{repo}.claim.1")
    world.claim("CO.claim.1")
    assert only(world.examine(REMOVE)).repo == "SV"
    assert os.listdir(world.work) == ["CO.claim.1"]


def test_a_claim_of_an_instance_that_never_ran_is_named(world: World) -> None:
    world.write(world.work.parents[1] / "CO.claim.7")
    found = only(world.examine())
    assert (found.kind, found.where.rpartition("/")[2]) == ("foreign", "CO.claim.7")


def test_the_status_of_an_ended_instance_is_removed(world: World) -> None:
    file = world.write(world.work / "status.1")
    assert world.examine(REMOVE).is_clean
    assert not file.exists()


@pytest.mark.usefixtures("running")
def test_a_file_that_a_running_instance_may_be_writing_is_not_a_leftover(world: World) -> None:
    for name in ("status.1", "SV.result.1"):
        world.write(world.work / name)
    assert world.examine(REMOVE) == Findings((), ())
    assert sorted(os.listdir(world.work)) == ["SV.result.1", "status.1"]


@pytest.mark.usefixtures("running")
def test_a_claim_record_is_a_leftover_even_if_its_instance_runs_again(world: World) -> None:
    """It is written under the repository's lock only."""
    file = world.write(world.work / "SV.claim.1")
    assert world.examine(REMOVE).is_clean
    assert not file.exists()


def test_a_claim_record_beside_a_claim_is_not_a_leftover(world: World) -> None:
    file = world.write(world.work / "SV.claim.1")
    world.claim()
    assert world.examine(REMOVE) == Findings((), ())
    assert file.exists()


def test_temporary_files_with_other_names_are_foreign(world: World) -> None:
    for name in ("notes", "SV.claim.x", "SV-norm.claim.1"):
        world.write(world.work / name)
    assert kinds(world.examine(ALL)) == ["foreign"] * 3
    assert len(os.listdir(world.work)) == 3


def test_a_submission_may_be_in_progress_so_it_is_only_listed(world: World) -> None:
    file = world.write(Path(world.spool.directory) / ".submit.0123")
    found = only(world.examine(ALL))
    assert (found.kind, found.treatment, found.where) == ("temporary", "look", str(file))
    assert file.exists()


def test_files_that_are_meant_to_stay_in_the_spool_are_not_leftovers(
    world: World, running: Spool
) -> None:
    running.instances.write_status({})
    world.spool.lock_repository(SV).release()  # type: ignore[union-attr]
    private = Path(world.spool.directory) / ".dsgmigd"
    world.write(private / f"results/SV.{ID}.json")
    world.write(Path(world.spool.directory) / "SV.result.json")
    world.write(Path(world.spool.directory) / "rejected" / ID)
    assert world.examine(ALL) == Findings((), ())


@pytest.mark.parametrize("name", ["SV.claim.01", ".#SV.request", "SV.request~"])
def test_what_nobody_uses_in_the_spool_is_named_and_left(world: World, name: str) -> None:
    file = world.write(Path(world.spool.directory) / name)
    found = only(world.examine(REMOVE))
    assert (found.kind, found.where, found.repo) == ("foreign", str(file), None)
    assert file.exists()
