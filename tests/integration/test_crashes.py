"""Workers that crash, and who continues their work."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from dsgmigd.names import parse_repo_name
from dsgmigd.spool.spool import Spool
from tests.integration.conftest import Bed, write_config
from tests.integration.processes import (
    assert_clean,
    child_of,
    is_marked_verified,
    is_stopped,
    kill,
    pins,
    read_claim,
    stop,
    wait_for,
    wait_marked,
    wait_started,
)
from tests.integration.trees import assert_migrated, filling, new_series, writing

WORK_MIB = 48


def test_another_instance_goes_on_after_the_last_verified_snapshot(fresh_bed: Bed) -> None:
    """Killed between s5 and s6 of ten; s6 is big, so that there is time to kill."""
    small = [writing(number=str(number)) for number in range(1, 11)]
    edits = [*small[:5], filling("big", 3 * WORK_MIB), *small[6:]]
    series = new_series(fresh_bed, "SV", *edits)
    worker = fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    wait_marked(fresh_bed, "SV", "s5")
    kill(worker)
    assert not is_marked_verified(fresh_bed, "SV", "s6"), "killed too late to prove anything"
    claim = read_claim(fresh_bed, "SV", 1)
    assert not (fresh_bed.spool / "SV.result.json").exists()
    assert pins(fresh_bed) == [f"SV.{claim['request_id']}"]
    fresh_bed.start_worker(2)
    wait_for(lambda: read_claim(fresh_bed, "SV", 2), "adoption", made=fresh_bed)
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["error"]) == ("done", None)
    assert [row["name"] for row in result["snapshots"]] == ["s6", "s7", "s8", "s9", "s10"]
    assert [attempt["instance"] for attempt in result["attempts"]] == [1, 2]
    assert "ended" not in result["attempts"][0]
    assert result["attempts"][1]["ended"] == "done"
    assert (result["instance"], result["request_id"]) == (2, claim["request_id"])
    assert_migrated(fresh_bed, "SV", series.directory, 10)
    assert_clean(fresh_bed)


def test_a_living_instance_adopts_at_its_next_scan(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", filling("big", WORK_MIB))
    worker = fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    wait_for(lambda: read_claim(fresh_bed, "SV", 1).get("attempts"), "attempt", made=fresh_bed)
    stop(worker, fresh_bed)  # it would be done before the other one runs
    fresh_bed.start_worker(2)
    wait_started(fresh_bed, 2)
    kill(worker)
    wait_for(lambda: read_claim(fresh_bed, "SV", 2), "adoption", made=fresh_bed)
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, 1)


def crash_once(made: Bed, number: int) -> None:
    """Let a worker begin its `number`-th attempt on SV, and kill it then."""
    worker = made.start_worker(1)
    wait_for(
        lambda: len(read_claim(made, "SV", 1).get("attempts", ())) == number,
        f"attempt {number}",
        made=made,
    )
    kill(worker)


def test_the_third_crash_is_the_last(fresh_bed: Bed) -> None:
    """A poison request cannot take the instances down for ever; what waits behind it is done."""
    new_series(fresh_bed, "SV", filling("big", WORK_MIB))
    new_series(fresh_bed, "CO", writing(a="a"))
    fresh_bed.drop("SV")
    for number in (1, 2, 3):
        crash_once(fresh_bed, number)
    fresh_bed.drop("CO")
    fresh_bed.start_worker(1)
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["error"]["code"]) == ("failed", "crash_loop")
    assert "crashed 3 times" in result["error"]["message"]
    assert "journal" in result["error"]["hint"]
    assert ["ended" in attempt for attempt in result["attempts"]] == [False] * 3
    assert fresh_bed.wait_result("CO")["outcome"] == "done"
    fresh_bed.drop("SV")
    assert fresh_bed.wait_result("SV")["outcome"] == "done", "a new request counts from one"
    assert_clean(fresh_bed)


def test_the_number_of_attempts_is_configured(fresh_bed: Bed) -> None:
    write_config(fresh_bed, "[worker]\nmaximum_attempts = 1\n")
    new_series(fresh_bed, "SV", filling("big", WORK_MIB))
    fresh_bed.drop("SV")
    crash_once(fresh_bed, 1)
    fresh_bed.start_worker(1)
    assert fresh_bed.wait_result("SV")["error"]["code"] == "crash_loop"


@pytest.fixture
def sending_child(fresh_bed: Bed) -> int:
    """A `btrfs send` that is frozen, and whose worker is dead."""
    # On a busy machine a short one would have ended before it is found.
    new_series(fresh_bed, "SV", filling("big", 3 * WORK_MIB))
    worker = fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    child = wait_for(lambda: child_of(worker.pid, "btrfs", "send"), "btrfs send", made=fresh_bed)
    os.kill(child, signal.SIGSTOP)
    # Killing the worker sends SIGPIPE, which would win against a SIGSTOP that is still pending.
    wait_for(lambda: is_stopped(child), "btrfs send to stand still", made=fresh_bed)
    kill(worker)
    return child


def status_time(made: Bed, instance: int) -> int:
    path = made.spool / f".dsgmigd/instances/{instance}.json"
    return path.stat().st_mtime_ns if path.exists() else 0


def wait_for_scans(made: Bed, instance: int, count: int) -> None:
    """Wait until an idle instance has written its status `count` times: each follows a scan."""
    seen = status_time(made, instance)
    for _ in range(count):
        seen = wait_for(
            lambda before=seen: (now := status_time(made, instance)) != before and now,  # type: ignore[misc]
            f"a scan of instance {instance}",
            made=made,
        )


def test_a_child_that_outlives_its_worker_keeps_others_away(
    fresh_bed: Bed, sending_child: int
) -> None:
    try:
        fresh_bed.start_worker(2)
        wait_for_scans(fresh_bed, 2, 4)
        assert read_claim(fresh_bed, "SV", 1), "nobody took the claim"
        assert Spool(str(fresh_bed.spool)).lock_repository(parse_repo_name("SV")) is None
        refused = fresh_bed.dsgmigd("migrate", "SV", check=False)
        assert refused.returncode == 75
    finally:
        with suppress(ProcessLookupError):
            os.kill(sending_child, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{sending_child}/exe").exists(), "its end", made=fresh_bed)
    result = fresh_bed.wait_result("SV")
    assert result["outcome"] == "done"
    assert [attempt["instance"] for attempt in result["attempts"]] == [1, 2]
    assert_clean(fresh_bed)
