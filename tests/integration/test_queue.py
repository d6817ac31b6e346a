"""Several workers on one spool."""

import itertools
import json
import signal
import threading
import time
from datetime import datetime
from typing import Any

from dsgmigd.names import parse_repo_name
from dsgmigd.request import Request
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from tests.integration.conftest import Bed
from tests.integration.processes import (
    assert_clean,
    read_claim,
    wait_for,
    wait_started,
    wait_verified,
)
from tests.integration.trees import assert_migrated, filling, new_series, writing

REPOS = tuple(f"R{number:02}" for number in range(1, 13))
REQUESTS = 40
WORKERS = 4
WORK_MIB = 24


def kept_results(made: Bed) -> list[dict[str, Any]]:
    directory = made.spool / ".dsgmigd/results"
    return [json.loads(path.read_bytes()) for path in directory.glob("*.json")]


def drop_when_free(made: Bed, wanted: dict[str, str]) -> None:
    """Submit each request as soon as no other one for its repository waits; all have their note."""
    spool, left = Spool(str(made.spool)), dict(wanted)
    while left:
        for note, repo in list(left.items()):
            if submit_request(spool, parse_repo_name(repo), Request(note=note)):
                del left[note]
        time.sleep(0.1)


def assert_one_at_a_time(results: list[dict[str, Any]]) -> None:
    spans = sorted(
        tuple(datetime.fromisoformat(result[key]) for key in ("started_at", "finished_at"))
        for result in results
    )
    for (_, ended), (began, _) in itertools.pairwise(spans):
        assert began >= ended, f"{results[0]['repo']} was worked on twice at one time"


def test_four_workers_and_forty_requests_give_forty_results(fresh_bed: Bed) -> None:
    """Nobody works on a repository that another works on; nothing is done twice or forgotten."""
    for repo in REPOS:
        new_series(fresh_bed, repo, writing(one=repo), writing(two=repo))
    wanted = {f"note {at}": REPOS[at % len(REPOS)] for at in range(REQUESTS)}
    for instance in range(1, WORKERS + 1):
        fresh_bed.start_worker(instance)
    dropper = threading.Thread(target=drop_when_free, args=(fresh_bed, wanted), daemon=True)
    dropper.start()
    wait_for(lambda: len(kept_results(fresh_bed)) >= REQUESTS, "all results", made=fresh_bed)
    dropper.join(10)
    assert not dropper.is_alive()
    for repo in REPOS:
        fresh_bed.wait_result(repo)
    results = kept_results(fresh_bed)
    assert sorted(result["request"]["note"] for result in results) == sorted(wanted)
    assert all(wanted[result["request"]["note"]] == result["repo"] for result in results)
    for repo in REPOS:
        own = [result for result in results if result["repo"] == repo]
        outcomes = sorted(result["outcome"] for result in own)
        assert outcomes == ["done"] + ["up_to_date"] * (len(own) - 1)
        assert all(len(result["attempts"]) == 1 for result in own)
        assert all(result["attempts"][0]["instance"] == result["instance"] for result in own)
        assert_one_at_a_time(own)
        assert fresh_bed.snapshots(repo) == ["s1", "s2"]
    assert {result["instance"] for result in results} == set(range(1, WORKERS + 1))
    assert_clean(fresh_bed)


def test_a_request_that_comes_while_its_repository_is_worked_on_is_the_next_run(
    fresh_bed: Bed,
) -> None:
    new_series(fresh_bed, "SV", filling("big", WORK_MIB))
    fresh_bed.start_worker(1)
    fresh_bed.start_worker(2)
    fresh_bed.drop("SV", {"note": "first"})
    wait_for(lambda: list(fresh_bed.spool.glob("SV.claim.*")), "a claim", made=fresh_bed)
    fresh_bed.drop("SV", {"note": "second"})
    assert not (fresh_bed.spool / "SV.result.json").exists()
    assert fresh_bed.wait_result("SV")["request"] == {"note": "second"}
    outcomes = {result["request"]["note"]: result["outcome"] for result in kept_results(fresh_bed)}
    assert outcomes == {"first": "done", "second": "up_to_date"}


def test_a_number_that_is_taken_ends_the_second_with_try_again(fresh_bed: Bed) -> None:
    first = fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    second = fresh_bed.dsgmigd("run", "--instance", "1", check=False)
    assert second.returncode == 75
    assert "instance 1 is already running" in second.stderr
    assert first.poll() is None


def test_an_idle_worker_ends_at_once_when_told_to(fresh_bed: Bed) -> None:
    worker = fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0


def test_a_stopped_worker_keeps_its_claim_and_the_next_start_goes_on(fresh_bed: Bed) -> None:
    edits = [filling(f"f{number}", 6) for number in range(1, 5)]
    series = new_series(fresh_bed, "SV", *edits, filling("big", WORK_MIB))
    worker = fresh_bed.start_worker(1)
    fresh_bed.drop("SV", {"note": "stopped"})
    wait_verified(fresh_bed, "SV", "s2")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert not (fresh_bed.spool / "SV.result.json").exists()
    claim = read_claim(fresh_bed, "SV", 1)
    assert [attempt["ended"] for attempt in claim["attempts"]] == ["stopped"]
    fresh_bed.start_worker(1)
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["error"]) == ("done", None)
    assert [attempt["ended"] for attempt in result["attempts"]] == ["stopped", "done"]
    assert result["request_id"] == claim["request_id"]
    assert result["snapshots"][0]["name"] != "s1"
    assert_migrated(fresh_bed, "SV", series.directory, 5)
    assert_clean(fresh_bed)
