"""Very many requests, most of which end at once: nothing is lost, nobody waits for all the others.

A request that asks for something impossible goes the whole way through the queue, as does one for a
repository that is not there. tests/amounts.py says how many requests are dropped.
"""

import json
import os
import signal
import time
from collections import Counter
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dsgmigd.names import parse_repo_name
from dsgmigd.request import Request
from dsgmigd.spool.claim import Claim
from dsgmigd.spool.claim_record import Attempt
from dsgmigd.spool.claiming import claim_request
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from tests.amounts import amount
from tests.integration.conftest import Bed
from tests.integration.processes import wait_for, wait_started
from tests.integration.test_queue import assert_one_at_a_time, kept_results

DROPS = int(amount("DSGMIGD_DROPS"))
WORKERS = 4
BEHIND = 500
# Answered before anything else is looked at; the others ask the pool and the source.
IMPOSSIBLE = Request(limit=0)
# Odd, so that the first drop for a repository, which is always taken, is one of them too.
POSSIBLE_EVERY = 21
NEAR = 30
QUEUED_AT_MOST = 50
MOST_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")


class Dropper:
    """Drops requests, and knows which of them the spool took, and since when the last waits."""

    def __init__(self, made: Bed) -> None:
        self.made = made
        self.accepted: Counter[str] = Counter()
        self.last: dict[str, float] = {}
        self._spool = Spool(str(made.spool))
        self._count = 0

    def drop(self, repo: str) -> None:
        self._count += 1
        wanted = Request() if self._count % POSSIBLE_EVERY == 0 else IMPOSSIBLE
        moment = time.time()
        if submit_request(self._spool, parse_repo_name(repo), wanted):
            self.accepted[repo] += 1
            self.last[repo] = moment


def queued(made: Bed) -> int:
    """Return how many requests wait or are worked on."""
    return sum(".request" in name or ".claim." in name for name in os.listdir(made.spool))


def seconds(result: dict[str, Any], key: str) -> float:
    return datetime.fromisoformat(result[key]).timestamp()


@pytest.mark.sweep
def test_every_request_is_answered_once_and_no_repository_is_worked_on_twice_at_a_time(
    fresh_bed: Bed,
) -> None:
    """Half of them are there before the workers; the others come while they work."""
    repos = [f"R{number}" for number in range(DROPS // 2)]
    random = Random("drops")  # noqa: S311
    dropper = Dropper(fresh_bed)
    for number, repo in enumerate(repos):
        if number == len(repos) // 2:
            for instance in range(1, WORKERS + 1):
                fresh_bed.start_worker(instance)
        while number > len(repos) // 2 and queued(fresh_bed) > QUEUED_AT_MOST:
            time.sleep(0.01)
        dropper.drop(repo)
        dropper.drop(random.choice(repos[max(0, number - NEAR) : number + 1]))
    wait_for(lambda: queued(fresh_bed) == 0, "the end", made=fresh_bed, seconds=60 + DROPS)

    results = kept_results(fresh_bed)
    answered = Counter(result["repo"] for result in results)
    assert dropper.accepted - answered == Counter(), "lost"
    assert answered - dropper.accepted == Counter(), "answered twice"
    assert set(dropper.accepted) == set(repos)
    codes = Counter(result["error"]["code"] for result in results)
    assert set(codes) == {"invalid_request", "source_missing"}
    assert {result["instance"] for result in results} == set(range(1, WORKERS + 1))
    by_repo: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_repo.setdefault(result["repo"], []).append(result)
    for repo, own in by_repo.items():
        assert_one_at_a_time(own)
        newest = max(own, key=partial(seconds, key="started_at"))
        # A result tells milliseconds.
        assert seconds(newest, "started_at") >= dropper.last[repo] - 0.001
        shown = json.loads((fresh_bed.spool / f"{repo}.result.json").read_bytes())
        assert seconds(shown, "started_at") == seconds(newest, "started_at")
    assert all(worker.poll() is None for worker in fresh_bed.workers), fresh_bed.words()


def test_a_request_whose_event_was_dropped_by_the_kernel_is_found(fresh_bed: Bed) -> None:
    """The queue of events is full when the request comes, so that no instance is notified."""
    worker = fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    worker.send_signal(signal.SIGSTOP)
    noise = fresh_bed.spool / "noise"
    for _ in range(int(MOST_EVENTS.read_text())):
        noise.touch()
        noise.unlink()
    fresh_bed.drop("SV", '{"limit": 0}')
    worker.send_signal(signal.SIGCONT)
    assert fresh_bed.wait_result("SV", timeout=60)["outcome"] == "rejected"


def test_the_claim_of_a_dead_worker_does_not_wait_for_all_requests(fresh_bed: Bed) -> None:
    for number in range(BEHIND):
        fresh_bed.drop(f"R{number}", "{}")
    fresh_bed.start_worker(1)
    kept = fresh_bed.spool / ".dsgmigd/results"
    wait_for(lambda: kept.exists() and list(kept.glob("*.json")), "the first", made=fresh_bed)
    dead, repo = Spool(str(fresh_bed.spool), instance=2), parse_repo_name("SV")
    submit_request(dead, repo, IMPOSSIBLE)
    claim = claim_request(dead, repo)
    assert isinstance(claim, Claim)
    dead.records.begin_attempt(claim, Attempt(2, os.getpid(), "2026-01-01T00:00:00.000+00:00"))
    claim.lock.release()
    assert fresh_bed.wait_result("SV")["outcome"] == "rejected"
    assert queued(fresh_bed) > 0, "all others were answered before"
