"""Two spools that work on one source, though they should not: neither touches the other's pins."""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bed
import pytest

from dsgmigd.source.pin_names import PINS_DIRECTORY
from tests.integration.conftest import Bed, write_config
from tests.integration.processes import kill, read_claim, wait_for
from tests.integration.trees import Series, assert_migrated, filling, new_series, writing

WORK_MIB = 48


@pytest.fixture
def other(fresh_bed: Bed) -> Iterator[Bed]:
    """A spool and a target of their own for the source of `fresh_bed`."""
    own = fresh_bed.spool.parent / "other"
    (own / "spool").mkdir(parents=True)
    made = replace(
        fresh_bed,
        parent=f"{fresh_bed.parent}/other",
        mountpoint=fresh_bed.mountpoint / "other",
        spool=own / "spool",
        config=own / "dsgmigd.toml",
        logs=own,
        workers=[],
    )
    write_config(made)
    bed.run("zfs", "create", made.parent)
    yield made
    made.stop_workers()
    bed.unmount_below(own)


@pytest.fixture
def killed(fresh_bed: Bed) -> Series:
    """SV, whose worker was killed with all pins made; its claim waits."""
    series = new_series(fresh_bed, "SV", writing(a="a"), filling("big", WORK_MIB), writing(b="b"))
    worker = fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    wait_for(lambda: len(pin_paths(fresh_bed)) == 3, "the pins", made=fresh_bed)
    kill(worker)
    assert read_claim(fresh_bed, "SV", 1)
    return series


def pin_paths(made: Bed) -> list[Path]:
    found = (made.source_root / PINS_DIRECTORY).glob("**/s[0-9]*")
    return sorted(path for path in found if re.fullmatch(r"s\d+(\..*)?", path.name))


def test_the_pins_of_another_spool_are_named_and_stay(
    fresh_bed: Bed, other: Bed, killed: Series
) -> None:
    pins = pin_paths(fresh_bed)
    (directory,) = {str(path.parent) for path in pins}

    result = other.migrate("SV")
    assert result["outcome"] == "done"
    (warning,) = result["warnings"]
    assert warning.startswith(f"another spool has pins of SV, which stay: {directory}; ")
    assert pin_paths(fresh_bed) == pins
    assert other.dsgmigd("plan", "SV").stdout.count("another spool has pins of SV") == 1

    done = other.dsgmigd("doctor", "--fix", "--json", check=False)
    (leftover,) = json.loads(done.stdout)["leftovers"]
    assert (leftover["kind"], leftover["where"], leftover["is_removed"]) == (
        "foreign",
        directory,
        False,
    )
    assert "another spool" in leftover["why"]
    assert pin_paths(fresh_bed) == pins

    fresh_bed.start_worker(2)
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", killed.directory, 3)
    assert not (fresh_bed.source_root / PINS_DIRECTORY).exists()


def test_pins_of_an_earlier_version_are_cleaned(fresh_bed: Bed) -> None:
    """Their names say no spool."""
    series = new_series(fresh_bed, "SV", writing(a="a"))
    for request_id in (uuid.UUID(int=1), uuid.UUID(int=2)):
        directory = fresh_bed.source_root / PINS_DIRECTORY / f"SV.{request_id}"
        directory.mkdir(parents=True)
        bed.run("btrfs", "subvolume", "snapshot", "-r", series.snapshot(1), directory / "s1")
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert not (fresh_bed.source_root / PINS_DIRECTORY).exists()


def test_a_pin_that_somebody_deletes_is_said_to_be_deleted(fresh_bed: Bed) -> None:
    """And not that the disk fails."""
    new_series(fresh_bed, "SV", writing(a="a"), filling("big", WORK_MIB), writing(b="b"))
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    begun = fresh_bed.mountpoint / ".dsgmigd/staging/SV/a"
    wait_for(begun.exists, "s1 in the making", made=fresh_bed)
    last = pin_paths(fresh_bed)[-1]
    bed.run("btrfs", "subvolume", "delete", last)
    result = fresh_bed.wait_result("SV")
    assert result["error"]["code"] == "source_changed"
    assert result["error"]["message"] == f"{last} was deleted while it was read: it is a pin of s3"
