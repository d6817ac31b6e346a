"""What a killed worker leaves on real btrfs and real ZFS, and what `dsgmigd doctor` removes."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import bed
import pytest

from dsgmigd.names import parse_repo_name
from dsgmigd.spool.spool import Spool
from tests.integration.conftest import Bed, read_only_source
from tests.integration.processes import (
    area_contents,
    assert_clean,
    kill,
    pins,
    read_claim,
    views,
    wait_for,
    wait_verified,
)
from tests.integration.trees import (
    Series,
    assert_migrated,
    filling,
    new_series,
    set_read_only,
    writing,
)

WORK_MIB = 64


def doctor(made: Bed, *options: str, status: int) -> dict[str, Any]:
    """Run the doctor and return what it found; it must end with `status`."""
    done = made.dsgmigd("doctor", "--json", *options, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    findings: dict[str, Any] = json.loads(done.stdout)
    assert findings["is_clean"] == (status == 0)
    return findings


def found(findings: dict[str, Any]) -> list[tuple[str, bool]]:
    assert findings["problems"] == []
    return sorted((one["kind"], one["is_removed"]) for one in findings["leftovers"])


@pytest.fixture
def killed(fresh_bed: Bed) -> Series:
    """SV, whose worker was killed while it looked at s2 through a view; its claim waits."""
    series = new_series(fresh_bed, "SV", writing(a="a"), filling("big", WORK_MIB), writing(b="b"))
    worker = fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    wait_verified(fresh_bed, "SV", "s1")
    view = fresh_bed.mountpoint / ".dsgmigd/views/SV"
    wait_for((view / "big").exists, "a view of s2", made=fresh_bed)
    kill(worker)
    wait_for(lambda: is_free(fresh_bed), "the end of its children", made=fresh_bed)
    assert views(fresh_bed) == ["SV"], "killed too late to prove anything"
    return series


def is_free(made: Bed) -> bool:
    lock = Spool(str(made.spool)).lock_repository(parse_repo_name("SV"))
    if lock:
        lock.release()
    return lock is not None


def test_objects_that_a_waiting_claim_needs_are_not_leftovers(
    fresh_bed: Bed, killed: Series
) -> None:
    held = pins(fresh_bed)
    findings = doctor(fresh_bed, "--fix", "--discard-staging", status=0)
    assert findings["leftovers"] == []
    assert fresh_bed.dsgmigd("doctor").stdout == "nothing found\n"
    assert pins(fresh_bed) == held
    assert (views(fresh_bed), area_contents(fresh_bed, "staging")) == (
        ["SV"],
        ["SV"],
    )
    fresh_bed.start_worker(2)
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["error"]) == ("done", None)
    assert_migrated(fresh_bed, "SV", killed.directory, 3)


def test_without_its_claim_pins_and_view_go_and_the_work_goes_on(
    fresh_bed: Bed, killed: Series
) -> None:
    request_id = read_claim(fresh_bed, "SV", 1)["request_id"]
    (fresh_bed.spool / "SV.claim.1").unlink()
    before = (pins(fresh_bed), views(fresh_bed))

    findings = doctor(fresh_bed, status=3)
    assert found(findings) == [
        ("pins", False),
        ("staging", False),
        ("temporary", False),  # the space of the result
        ("view", False),
    ]
    by_kind = {one["kind"]: one for one in findings["leftovers"]}
    for kind in ("pins", "staging", "view"):
        assert (by_kind[kind]["repo"], by_kind[kind]["request_id"]) == ("SV", request_id)
    assert "s1, s2, s3" in by_kind["pins"]["why"]
    assert "verified snapshots: 1;" in by_kind["staging"]["why"]
    assert (pins(fresh_bed), views(fresh_bed)) == before, "it only looked"

    fixed = doctor(fresh_bed, "--fix", status=3)
    assert found(fixed) == [
        ("pins", True),
        ("staging", False),
        ("temporary", True),
        ("view", True),
    ]
    assert not (fresh_bed.source_root / ".dsgmigd-pins").exists()
    assert views(fresh_bed) == []

    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["plan"]["base"]) == ("done", "resume s1")
    assert_migrated(fresh_bed, "SV", killed.directory, 3)
    assert_clean(fresh_bed)
    doctor(fresh_bed, status=0)


def test_work_that_is_discarded_is_done_again_from_the_beginning(
    fresh_bed: Bed, killed: Series
) -> None:
    (fresh_bed.spool / "SV.claim.1").unlink()
    assert found(doctor(fresh_bed, "--fix", "--discard-staging", status=0)) == [
        ("pins", True),
        ("staging", True),
        ("temporary", True),
        ("view", True),
    ]
    assert_clean(fresh_bed)
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["plan"]["base"]) == ("done", "create")
    assert_migrated(fresh_bed, "SV", killed.directory, 3)


def test_objects_of_a_running_request_are_not_leftovers(fresh_bed: Bed, killed: Series) -> None:
    (fresh_bed.spool / "SV.claim.1").unlink()
    lock = Spool(str(fresh_bed.spool)).lock_repository(parse_repo_name("SV"))
    assert lock is not None
    try:
        doctor(fresh_bed, "--fix", "--discard-staging", status=0)
    finally:
        lock.release()
    assert len(pins(fresh_bed)) == 1
    assert sorted(path.name for path in killed.directory.iterdir()) == ["s1", "s2", "s3"]


def test_foreign_objects_stay_as_they_are(fresh_bed: Bed) -> None:
    """Datasets without a request; among pins a writable, a new and an oddly named subvolume."""
    series = new_series(fresh_bed, "SV", writing(a="a"))
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    datasets = [f"{fresh_bed.parent}/.dsgmigd/{part}/FOREIGN" for part in ("staging", "views")]
    for name in datasets:
        bed.run("zfs", "create", name)
    directory = fresh_bed.source_root / f".dsgmigd-pins/SV.{uuid.uuid4()}"
    directory.mkdir(parents=True)
    subvolumes = {name: directory / name for name in ("s1", "s2", "s3", "kept")}
    for name in ("s1", "s2", "kept"):
        bed.run("btrfs", "subvolume", "snapshot", series.snapshot(1), subvolumes[name])
    bed.run("btrfs", "subvolume", "create", subvolumes["s3"])
    for name in ("s1", "s3", "kept"):
        set_read_only(subvolumes[name], is_read_only=True)

    findings = doctor(fresh_bed, "--fix", "--discard-staging", status=3)
    assert found(findings) == [("foreign", False)] * 5 + [("pins", True)]
    where = {one["where"] for one in findings["leftovers"] if one["kind"] == "foreign"}
    assert where == {*datasets, *(str(subvolumes[name]) for name in ("s2", "s3", "kept"))}
    assert sorted(os.listdir(directory)) == ["kept", "s2", "s3"]
    assert (subvolumes["s2"] / "a").read_text() == "a"
    for part in ("staging", "views"):
        assert area_contents(fresh_bed, part) == ["FOREIGN"]
    assert_migrated(fresh_bed, "SV", series.directory, 1)


def test_pins_on_a_source_that_is_mounted_read_only_are_reported(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"))
    held = fresh_bed.source_root / f".dsgmigd-pins/SV.{uuid.uuid4()}"
    empty = fresh_bed.source_root / f".dsgmigd-pins/CO.{uuid.uuid4()}"
    for directory in (held, empty):
        directory.mkdir(parents=True)
    bed.run("btrfs", "subvolume", "snapshot", "-r", series.snapshot(1), held / "s1")
    with read_only_source(fresh_bed):
        findings = doctor(fresh_bed, "--fix", status=3)
        told = fresh_bed.dsgmigd("doctor", "--fix", check=False)
    assert found(findings) == [("pins", False), ("pins", False)]
    assert all("Read-only file system" in one["error"] for one in findings["leftovers"])
    assert told.stdout.count("not removed: cannot") == 2
    assert told.stderr == ""
    assert sorted(pins(fresh_bed)) == sorted([held.name, empty.name])
    doctor(fresh_bed, "--fix", status=0)
    assert pins(fresh_bed) == []


def test_the_rest_is_checked_when_source_or_target_is_missing(fresh_bed: Bed) -> None:
    text = fresh_bed.config.read_text(encoding="utf-8")
    (fresh_bed.source_root / f".dsgmigd-pins/SV.{uuid.uuid4()}").mkdir(parents=True)
    fresh_bed.config.write_text(text.replace(fresh_bed.parent, f"{fresh_bed.parent}/absent"))
    findings = doctor(fresh_bed, "--fix", status=3)
    assert findings["problems"] == [
        f"the target parent {fresh_bed.parent}/absent does not exist",
    ]
    assert [one["is_removed"] for one in findings["leftovers"]] == [True]
    fresh_bed.config.write_text(text.replace(str(fresh_bed.source_root), "/nowhere"))
    bed.run("zfs", "create", f"{fresh_bed.parent}/.dsgmigd")
    bed.run("zfs", "create", f"{fresh_bed.parent}/.dsgmigd/views")
    bed.run("zfs", "create", f"{fresh_bed.parent}/.dsgmigd/views/FOREIGN")
    told = fresh_bed.dsgmigd("doctor", check=False)
    assert told.returncode == 3
    assert "could not check: the source root /nowhere cannot be used" in told.stdout
    assert "views/FOREIGN" in told.stdout
    assert told.stderr == ""
    assert Path(fresh_bed.mountpoint / ".dsgmigd/views/FOREIGN").is_dir()


def test_a_replaced_target_is_kept(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    bed.run("zfs", "create", f"{fresh_bed.parent}/SV")
    result = fresh_bed.migrate("SV", "--replace")
    assert result["outcome"] == "done"
    (kept,) = doctor(fresh_bed, "--fix", "--discard-staging", status=0)["leftovers"]
    assert (kept["kind"], kept["where"]) == ("replaced", result["target"]["replaced"])
    assert kept["repo"] == "SV"
    assert "MB" in kept["why"]
    assert area_contents(fresh_bed, "replaced") == [kept["where"].rpartition("/")[2]]
