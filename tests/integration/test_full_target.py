"""A target without enough space: nothing is lost, and the work goes on when there is some."""

import re

import bed

from tests.integration.conftest import Bed
from tests.integration.processes import area_contents, assert_clean, pins
from tests.integration.trees import assert_migrated, filling, new_series, writing

SMALL_QUOTA = "12M"
BIG_MIB = 24


def set_quota(made: Bed, quota: str) -> None:
    bed.run("zfs", "set", f"quota={quota}", made.parent)


def numbers_in(message: str) -> list[int]:
    return [int(number) for number in re.findall(r"(\d+) bytes", message)]


def test_a_full_target_is_explained_and_the_next_request_goes_on(fresh_bed: Bed) -> None:
    series = new_series(
        fresh_bed, "SV", writing(a="a"), filling("big", BIG_MIB), writing(a="changed")
    )
    set_quota(fresh_bed, SMALL_QUOTA)
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    result = fresh_bed.wait_result("SV")
    error = result["error"]
    assert (result["outcome"], error["code"], error["class"]) == (
        "failed",
        "target_full",
        "transient",
    )
    needed, free = numbers_in(error["message"])[-2:]
    assert needed >= BIG_MIB << 20
    assert 0 <= free < 12 << 20
    assert "s2" in error["message"]
    assert "quota" in error["hint"]
    assert pins(fresh_bed) == []
    assert area_contents(fresh_bed, "staging") == ["SV"]
    assert free > 8 << 20, "what did not fit was given back"
    assert not (fresh_bed.mountpoint / "SV").exists()
    set_quota(fresh_bed, "none")
    fresh_bed.drop("SV")
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["error"]) == ("done", None)
    assert [row["name"] for row in result["snapshots"]] == ["s2", "s3"]
    assert_migrated(fresh_bed, "SV", series.directory, 3)
    assert_clean(fresh_bed)


def test_a_full_target_is_told_by_rsync_too(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"))
    series.push_plain(filling("big", BIG_MIB))
    set_quota(fresh_bed, SMALL_QUOTA)
    error = fresh_bed.migrate("SV")["error"]
    assert error["code"] == "target_full"
    assert numbers_in(error["message"])
    set_quota(fresh_bed, "none")
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["plan"]["base"]) == ("done", "resume s1")
    assert_migrated(fresh_bed, "SV", series.directory, 2)


def test_a_target_that_cannot_grow_stays_what_it_is(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"), writing(a="b"))
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    series.push(filling("big", BIG_MIB))
    set_quota(fresh_bed, SMALL_QUOTA)
    assert fresh_bed.migrate("SV")["error"]["code"] == "target_full"
    assert area_contents(fresh_bed, "staging") == []
    assert_migrated(fresh_bed, "SV", series.directory, 2)
    set_quota(fresh_bed, "none")
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, 3)


def test_other_repositories_go_on_while_one_does_not_fit(fresh_bed: Bed) -> None:
    """What the big one wrote before it failed takes no space from the others."""
    new_series(fresh_bed, "BIG", filling("big", BIG_MIB))
    new_series(fresh_bed, "SMALL", writing(a="a"))
    set_quota(fresh_bed, SMALL_QUOTA)
    fresh_bed.start_worker(1)
    fresh_bed.drop("BIG")
    assert fresh_bed.wait_result("BIG")["error"]["code"] == "target_full"
    fresh_bed.drop("SMALL")
    assert fresh_bed.wait_result("SMALL")["outcome"] == "done"
