"""The commands of operators while workers are busy, and across their restarts."""

import time
from typing import Any

from tests.integration.conftest import Bed
from tests.integration.processes import (
    area_contents,
    assert_clean,
    kill,
    pins,
    read_claim,
    wait_for,
    wait_started,
    wait_verified,
)
from tests.integration.trees import Series, assert_migrated, filling, new_series, writing

WORK_MIB = 240
# So long a request would have waited for nothing: a worker looks every second.
QUIET_SECONDS = 3


def long_series(made: Bed) -> Series:
    """A series whose third snapshot keeps a worker busy for long."""
    return new_series(made, "SV", filling("f1", 2), filling("f2", 2), filling("big", WORK_MIB))


def is_cancel_left(made: Bed) -> bool:
    return any((made.spool / ".dsgmigd/control").glob("*.cancel"))


def cancel_running(made: Bed, *options: str) -> dict[str, Any]:
    """Cancel a run after its second snapshot; return the result, which must come in time."""
    made.start_worker(1)
    made.drop("SV", {"note": "first"})
    wait_verified(made, "SV", "s2")
    made.dsgmigd("cancel", "SV", *options)
    result = made.wait_result("SV", timeout=30)
    assert (result["outcome"], result["error"]["code"]) == ("cancelled", "cancelled")
    assert [attempt["ended"] for attempt in result["attempts"]] == ["cancelled"]
    assert pins(made) == []
    wait_for(lambda: not is_cancel_left(made), "the cancel to go", made=made)
    return result


def test_a_running_request_ends_and_the_next_goes_on_after_the_last_verified_snapshot(
    fresh_bed: Bed,
) -> None:
    series = long_series(fresh_bed)
    cancelled = cancel_running(fresh_bed)
    assert area_contents(fresh_bed, "staging") == ["SV"]
    fresh_bed.dsgmigd("retry", "SV")
    result = wait_for(lambda: other_result(fresh_bed, cancelled), "the retry", made=fresh_bed)
    assert (result["outcome"], result["request"]) == ("done", {"note": "first"})
    assert [row["name"] for row in result["snapshots"]] == ["s3"]
    assert_migrated(fresh_bed, "SV", series.directory, 3)
    assert_clean(fresh_bed)
    refused = fresh_bed.dsgmigd("retry", "SV", check=False)
    assert (refused.returncode, "ended as done" in refused.stderr) == (1, True)


def other_result(made: Bed, older: dict[str, Any]) -> dict[str, Any] | None:
    result = made.wait_result("SV")
    return None if result["request_id"] == older["request_id"] else result


def test_what_a_discarded_request_built_is_gone(fresh_bed: Bed) -> None:
    long_series(fresh_bed)
    result = cancel_running(fresh_bed, "--discard")
    assert result["warnings"] == []
    assert_clean(fresh_bed)
    refused = fresh_bed.dsgmigd("cancel", "SV", check=False)
    assert (refused.returncode, "nothing_to_cancel" in refused.stderr) == (1, True)


def test_a_cancel_of_a_dead_workers_request_is_heeded_by_who_adopts_it(fresh_bed: Bed) -> None:
    long_series(fresh_bed)
    worker = fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    wait_verified(fresh_bed, "SV", "s2")
    kill(worker)
    fresh_bed.workers.remove(worker)
    request_id = read_claim(fresh_bed, "SV", 1)["request_id"]
    fresh_bed.dsgmigd("cancel", "SV", "--discard")
    assert not (fresh_bed.spool / "SV.result.json").exists()
    fresh_bed.start_worker(2)
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["request_id"]) == ("cancelled", request_id)
    assert (result["instance"], len(result["attempts"])) == (2, 1)
    wait_for(lambda: not is_cancel_left(fresh_bed), "the cancel to go", made=fresh_bed)
    assert_clean(fresh_bed)


def test_a_waiting_request_is_taken_out_while_another_runs(fresh_bed: Bed) -> None:
    long_series(fresh_bed)
    new_series(fresh_bed, "CO", writing(one="1"))
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    wait_verified(fresh_bed, "SV", "s1")
    fresh_bed.drop("CO", {"note": "waits"})
    fresh_bed.dsgmigd("cancel", "CO")
    result = fresh_bed.wait_result("CO", timeout=10)
    assert (result["outcome"], result["request"]) == ("cancelled", {"note": "waits"})
    assert fresh_bed.wait_result("SV")["outcome"] == "done"


def test_pauses_hold_requests_over_a_restart_until_they_are_resumed(fresh_bed: Bed) -> None:
    for repo in ("A", "B", "C"):
        new_series(fresh_bed, repo, writing(one=repo))
    first = fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    fresh_bed.dsgmigd("pause", "A")
    fresh_bed.drop("A")
    fresh_bed.drop("B")
    assert fresh_bed.wait_result("B")["outcome"] == "done"
    first.terminate()
    assert first.wait(30) == 0
    fresh_bed.dsgmigd("pause", "--instance", "1")
    fresh_bed.start_worker(1)
    fresh_bed.drop("C")
    wait_for(lambda: fresh_bed.status()["instances"], "instance 1", made=fresh_bed)
    time.sleep(QUIET_SECONDS)
    found = fresh_bed.status()
    assert (found["incoming"], found["claims"]) == (["A", "C"], [])
    assert found["paused"] == {
        "all": False,
        "instances": [1],
        "repositories": ["A"],
        "waiting": ["A", "C"],
    }
    assert (
        "paused: instance 1, A\nwaiting because of the pause: A C"
        in fresh_bed.dsgmigd("status").stdout
    )
    fresh_bed.start_worker(2)  # it is not the one that is paused
    assert fresh_bed.wait_result("C")["instance"] == 2
    assert fresh_bed.status()["incoming"] == ["A"]
    fresh_bed.dsgmigd("resume", "A")
    assert fresh_bed.wait_result("A")["outcome"] == "done"


def test_while_all_is_paused_running_work_goes_on_and_nothing_begins(fresh_bed: Bed) -> None:
    long_series(fresh_bed)
    new_series(fresh_bed, "CO", writing(one="1"))
    fresh_bed.start_worker(1)
    fresh_bed.start_worker(2)
    fresh_bed.drop("SV")
    wait_verified(fresh_bed, "SV", "s1")
    fresh_bed.dsgmigd("pause", "--all")
    fresh_bed.drop("CO")
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    assert fresh_bed.status()["paused"]["waiting"] == ["CO"]
    fresh_bed.dsgmigd("resume", "--all")
    assert fresh_bed.wait_result("CO")["outcome"] == "done"
