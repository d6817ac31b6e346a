"""Directories of pins that are leftovers; a pin itself needs a real btrfs."""

from pathlib import Path

import pytest

from tests.unit.maintenance.doctor.world import (
    ALL,
    ID,
    REMOVE,
    World,
    kinds,
    only,
)


def test_an_empty_directory_of_pins_is_removed_with_the_directory_above_it(world: World) -> None:
    (world.pins / f"SV.with.dots.{ID}").mkdir(parents=True)
    found = only(world.examine())
    assert (found.kind, found.repo, found.request_id) == ("pins", "SV.with.dots", ID)
    assert world.examine(REMOVE).is_clean
    assert not world.pins.exists()


@pytest.mark.parametrize("name", ["SV", "SV.r1", f"SV-norm.{ID}", f"SV.{ID.upper()}", "x y"])
def test_a_directory_among_the_pins_with_another_name_is_foreign(world: World, name: str) -> None:
    (world.pins / name).mkdir(parents=True)
    assert only(world.examine(ALL)).where == str(world.pins / name)
    assert only(world.examine(ALL)).kind == "foreign"
    assert (world.pins / name).is_dir()


@pytest.mark.parametrize("name", ["s1", "s01", "notes"])
def test_an_object_among_pins_that_is_not_a_snapshot_is_foreign(world: World, name: str) -> None:
    kept = world.write(world.pins / f"SV.{ID}" / name / "file")
    found = only(world.examine(ALL))
    assert (found.kind, found.where) == ("foreign", str(kept.parent))
    assert kept.exists()


def test_a_link_or_a_file_in_place_of_pins_is_not_followed(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / f"SV.{ID}").mkdir(parents=True)
    world.pins.mkdir()
    (world.pins / f"SV.{ID}").symlink_to(outside)
    world.write(world.pins / f"CO.{ID}")
    assert kinds(world.examine(ALL)) == ["foreign", "foreign"]
    (world.pins / f"SV.{ID}").unlink()
    (world.pins / f"CO.{ID}").unlink()
    world.pins.rmdir()
    world.pins.symlink_to(outside)
    assert only(world.examine(ALL)).where == str(world.pins)
    assert (outside / f"SV.{ID}").is_dir()


def test_pins_of_another_spool_are_named_and_those_of_this_one_removed(world: World) -> None:
    ours = world.pins / world.spool.identity() / f"SV.{ID}"
    others = world.pins / ID / f"SV.{ID}"
    for directory in (ours, others):
        directory.mkdir(parents=True)
    assert kinds(world.examine()) == ["foreign", "pins"]
    findings = world.examine(REMOVE)
    assert (only(findings, "pins").where, only(findings, "pins").is_removed) == (str(ours), True)
    found = only(findings, "foreign")
    assert (found.where, found.repo) == (str(others), None)
    assert found.why == (
        f"not touched: it has pins of SV that another spool made, {ID}; "
        f"this spool is {world.spool.identity()}"
    )
    assert others.is_dir()
    assert not ours.parent.exists()
