"""Four workers that are killed at random moments, started again, and lose and invent nothing.

Each repository is asked for several times, with one snapshot more each time, so that targets are
made, extended and found up to date. Only the workers are killed: what they started goes on, with
the repository's lock. Once with so many attempts that every request must succeed, once with the
usual three, where a request that killed three workers may truthfully end as `crash_loop`.

tests/amounts.py says how many kills there are each time, and by which seed they are chosen.
"""

import json
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from subprocess import Popen
from typing import Any

import bed
import pytest

from dsgmigd.names import parse_repo_name
from dsgmigd.request import Request
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from tests.amounts import amount, seed
from tests.integration.conftest import Bed, write_config
from tests.integration.processes import assert_clean, kill, wait_for
from tests.integration.trees import (
    all_of,
    assert_migrated,
    filling,
    linking,
    moving,
    new_series,
    removing,
    writing,
)
from tests.invariants import Asked, observe, violations

KILLS = int(amount("DSGMIGD_RANDOM_KILLS"))
ENOUGH_KILLS = 8  # of fewer, all may come between two requests
SEED = seed()
REQUESTS = max(15, min(KILLS * 3 // 2, 200))
WANTED = (Request(limit=1), Request(limit=2), Request(), Request(limit=2), Request())
REPOS = tuple(f"R{number:02}" for number in range(1, REQUESTS // len(WANTED) + 1))
WORKERS = 4
USUAL_ATTEMPTS = 3
MOST_ATTEMPTS = 100  # that the configuration takes
SUCCESS = {"done", "up_to_date"}


@dataclass
class Swarm:
    """Workers that die and are started again, and the requests that they are given meanwhile.

    A kill comes `longest_seconds` at most after the one before; three of four wait for work first.
    """

    made: Bed
    random: Random
    waiting: list[tuple[str, Request]]
    longest_seconds: float
    workers: dict[int, "Popen[bytes]"] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._spool = Spool(str(self.made.spool))
        for instance in range(1, WORKERS + 1):
            self._start(instance)

    def live_through(self, kills: int) -> None:
        """Kill so many workers, and drop the requests evenly meanwhile."""
        count = len(self.waiting)
        for number in range(kills):
            self._drop(count * number // kills + WORKERS)
            if number % 4:
                self._wait_for_work()
            time.sleep(self.random.uniform(0, self.longest_seconds))
            at_work = self._at_work()
            instance = self.random.choice(at_work or list(self.workers))
            self.kills["at work" if at_work else "idle"] += 1
            self.assert_alive()
            kill(self.workers[instance])
            self.made.workers.remove(self.workers[instance])
            self._start(instance)
        while self.waiting:
            self._drop(count)
            time.sleep(0.05)

    def assert_alive(self) -> None:
        """Fail if a worker ended by itself."""
        for instance, worker in self.workers.items():
            assert worker.poll() is None, f"{instance} ended: {self.made.words()}"

    def _start(self, instance: int) -> None:
        self.workers[instance] = self.made.start_worker(instance)

    def _wait_for_work(self) -> None:
        """Return once somebody works, or nothing waits: workers may take long to start."""
        while not self._at_work() and list(self.made.spool.glob("*.request")):
            time.sleep(0.02)

    def _at_work(self) -> list[int]:
        names = (path.name for path in self.made.spool.glob("*.claim.*"))
        return sorted(int(name.rpartition(".")[2]) for name in names)

    def _drop(self, due: int) -> None:
        """Drop what is due of all requests, unless one for the same repository waits."""
        while self.waiting and REQUESTS - len(self.waiting) < due:
            repo, wanted = self.waiting[0]
            if not submit_request(self._spool, parse_repo_name(repo), wanted):
                return
            self.waiting.pop(0)


def requests(random: Random) -> list[tuple[str, Request]]:
    """Return all requests, those for one repository in the order of WANTED."""
    pairs = [(repo, wanted) for wanted in WANTED for repo in random.sample(REPOS, len(REPOS))]
    return [(repo, replace(one, note=f"note {at}")) for at, (repo, one) in enumerate(pairs)]


def results(made: Bed) -> list[dict[str, Any]]:
    """Return all results that were kept."""
    kept = made.spool / ".dsgmigd/results"
    return [json.loads(path.read_bytes()) for path in kept.glob("R*.json")]


def ask_all(made: Bed) -> Counter[str]:
    """Ask for every repository once more, and count the outcomes."""
    for repo in REPOS:
        made.drop(repo)
    return Counter(made.wait_result(repo)["outcome"] for repo in REPOS)


def published(made: Bed, repo: str) -> dict[str, object]:
    """Return what a run leaves that is not in the source: hashes, levels, and DSG's metadata."""
    dsg = made.mountpoint / repo / ".dsg"
    contents = {str(path.relative_to(dsg)): path.read_bytes() for path in dsg.rglob("*.*")}
    properties = "org.hrdag.dsgmigd:snapshot_hash,org.hrdag.dsgmigd:verified"
    output = bed.run("zfs", "get", "-H", "-r", "-o", "value", properties, f"{made.parent}/{repo}")
    # Behind the level are the time of the verification, and the request.
    return {**contents, "properties": [line.partition(" ")[0] for line in output.splitlines()]}


def usual_seconds(made: Bed) -> float:
    """Return how long one undisturbed migration takes, as busy as the machine is."""
    new_series(made, "CO", filling("big", 2))
    began = time.monotonic()
    assert made.migrate("CO")["outcome"] == "done"
    seconds = (time.monotonic() - began) / 2  # the other half is its start
    bed.destroy("-r", f"{made.parent}/CO")
    return seconds


@pytest.fixture
def swarm_bed(fresh_bed: Bed) -> Bed:
    """A bed with series of three snapshots."""
    for repo in REPOS:
        new_series(
            fresh_bed,
            repo,
            all_of(writing(a=repo, b="b", d__c="c"), filling("big", 2)),
            all_of(moving("a", "d/a"), linking("b", "d/b"), writing(d__c=f"changed {repo}")),
            all_of(removing("b"), filling("big", 1), writing(e="e", f__g="g")),
        )
    bed.run("zfs", "create", f"{fresh_bed.parent}/foreign")
    return fresh_bed


def cleanly(made: Bed) -> Bed:
    """Migrate the same repositories again, elsewhere, with nobody killed."""
    own = made.spool.parent / "clean"
    clean = replace(
        made,
        parent=f"{made.parent}/clean",
        mountpoint=made.mountpoint / "clean",
        spool=own / "spool",
        config=own / "dsgmigd.toml",
        logs=own,
        workers=[],
    )
    clean.spool.mkdir(parents=True)
    write_config(clean)
    bed.run("zfs", "create", clean.parent)
    for repo in REPOS:
        assert clean.migrate(repo)["outcome"] == "done"
    return clean


def is_truthful(result: dict[str, Any], attempts: int) -> bool:
    """Say whether a request succeeded, or had all its attempts and none of them ended."""
    if result["outcome"] in SUCCESS:
        return True
    is_crash_loop = (result["error"] or {}).get("code") == "crash_loop"
    crashes = ["ended" not in attempt for attempt in result["attempts"]]
    return is_crash_loop and crashes.count(True) == attempts == USUAL_ATTEMPTS


@pytest.mark.sweep
@pytest.mark.parametrize("attempts", [MOST_ATTEMPTS, USUAL_ATTEMPTS])
def test_nothing_is_lost_or_invented_by_workers_that_are_killed(
    swarm_bed: Bed, attempts: int
) -> None:
    made, random = swarm_bed, Random(f"{SEED} {attempts}")  # noqa: S311
    write_config(made, f"[worker]\nmaximum_attempts = {attempts}\n")
    longest = usual_seconds(made)
    world = observe(made.spool, made.source_root, made.parent)
    asked = requests(random)
    print(f"DSGMIGD_SEED={SEED} DSGMIGD_RANDOM_KILLS={KILLS}")  # noqa: T201
    swarm = Swarm(made, random, list(asked), longest)
    swarm.live_through(KILLS)
    done = partial(results, made)
    wait_for(lambda: len(done()) >= len(asked), "all results", made=made)
    wait_for(lambda: not list(made.spool.glob("*.claim.*")), "the end", made=made)

    found = done()
    outcomes = Counter(result["outcome"] for result in found)
    tries = Counter(len(result["attempts"]) for result in found)
    print(f"{dict(swarm.kills)}, {dict(outcomes)}, attempts: {sorted(tries.items())}")  # noqa: T201
    assert {(one["repo"], one["request"]["note"]) for one in found} == {
        (repo, wanted.note) for repo, wanted in asked
    }
    assert len(found) == len(asked) == REQUESTS
    assert [one for one in found if not is_truthful(one, attempts)] == []
    fewest = KILLS // 4 if KILLS >= ENOUGH_KILLS else 0
    assert swarm.kills["at work"] >= fewest, "too few were killed in their work"

    assert set(ask_all(made)) <= SUCCESS
    assert set(ask_all(made)) == {"up_to_date"}
    swarm.assert_alive()
    made.stop_workers()
    counts = dict.fromkeys(REPOS, len(WANTED) + 2)
    assert violations(world, Asked(counts, set(REPOS))) == []
    assert_clean(made)
    for log in made.logs.iterdir():
        assert "Traceback" not in log.read_text(errors="replace"), log
    clean = cleanly(made)
    for repo in REPOS:
        assert published(made, repo) == published(clean, repo), repo
        assert_migrated(made, repo, made.source_root / repo, 3)
