"""The ledger of real commands and workers: killed anywhere, at once, on a full disk.

What workers leave when they are killed or when calls fail, `test_every_kill` and
`test_failing_calls` look at: `tests/invariants.py` recounts the ledger for them.
"""

import json
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from operator import itemgetter
from random import Random
from typing import Any

import pytest

from tests.amounts import ALL, amount
from tests.integration.conftest import Bed
from tests.integration.processes import wait_for, wait_started
from tests.integration.test_failing_spool import fill, small_spool
from tests.integration.trees import new_series, write, writing
from tests.invariants import ledger_violations, whole_lines

# Where the lines and the results of commands are written.
PLACES = ("ledger.lock", "results", "results/ledger.jsonl", "work/SV.foreground.0", "control/new")
# What leaves a trace, or gives one time to be seen.
CALLS = ("openat", "pread64", "write", "fsync", "fallocate", "link", "rename", "unlink", "flock")
REPOS = ("R1", "R2", "R3", "R4", "R5", "R6")

__all__ = ("small_spool",)


def acts(made: Bed) -> list[tuple[str, str]]:
    return [(line["act"], line["outcome"]) for line in whole_lines(made.spool)]


def check(made: Bed) -> dict[str, Any]:
    """Return what `dsgmigd ledger check` finds, which must be what an independent reader finds."""
    done = made.dsgmigd("ledger", "check", "--json", check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["is_intact"] == (ledger_violations(made.spool) == []) == (done.returncode == 0)
    return found


@pytest.fixture
def published(fresh_bed: Bed) -> Bed:
    """SV is published; its dataset was extended once, so that one is kept."""
    series = new_series(fresh_bed, "SV", writing(a="1"))
    fresh_bed.migrate("SV")
    series.push(writing(a="2"))
    fresh_bed.migrate("SV")
    return fresh_bed


def test_every_act_on_a_dataset_has_its_lines(published: Bed) -> None:
    published.verified("SV")
    published.dsgmigd("rollback", "SV")
    write(published.mountpoint / "SV/.dsg/last-sync.json", "damaged")
    published.dsgmigd("repair-metadata", "SV", "--dry-run", check=False)
    published.dsgmigd("repair-metadata", "SV")
    published.dsgmigd("purge", "SV")
    published.dsgmigd("purge", "SV", "--all")
    published.dsgmigd("doctor")
    published.dsgmigd("doctor", "--fix")
    published.dsgmigd("plan", "SV")
    published.start_worker(1)
    published.drop("SV", '{"limit": 0}')
    assert published.wait_result("SV")["outcome"] == "rejected"
    published.drop("SV", '{"limit": 1}')
    assert published.wait_result("SV")["outcome"] == "up_to_date"
    expected = [
        *(("migrate", "done"), ("migrate", "done"), ("verify", "verified"), ("rollback", "done")),
        *(("repair-metadata", "done"), ("purge", "done"), ("doctor", "done")),
        *(("request", "rejected"), ("request", "up_to_date")),
    ]
    assert [act for act in acts(published) if act[1] != "begun"] == expected
    assert [act for act, outcome in acts(published) if outcome == "begun"] == [
        act for act, _ in expected if act != "request"
    ]
    found = check(published)
    assert (found["is_intact"], found["results"], found["unended"]) == (True, 5, [])
    purge = next(line for line in whole_lines(published.spool) if line["act"] == "purge")
    assert f"{published.parent}/.dsgmigd/replaced/SV-" in purge["what"]
    verified = json.loads((published.spool / "SV.verified.json").read_bytes())
    assert verified["outcome"] == "verified"


def kill_at(made: Bed, call: str, when: int, *command: str) -> bool:
    """Kill a command before the `when`-th such call on its record; say whether it came to that."""
    places = [word for name in PLACES for word in ("-P", str(made.spool / ".dsgmigd" / name))]
    strace = ("strace", "-f", "-qq", "-o", "/dev/null", "--detach-on=execve", *places)
    done = subprocess.run(
        (*strace, "-e", f"inject={call}:signal=KILL:when={when}", *made.command(*command)),
        check=False,
        capture_output=True,
        cwd="/",
        env=made.environment(),
        timeout=300,
    )
    return done.returncode in {-9, 137}


def kills(made: Bed, *command: str) -> Iterator[list[tuple[str, str]]]:
    """Kill a command before every call that leaves a trace, and let it end once for each kind.

    Yield what it recorded each time.
    """
    for call in CALLS:
        for when in range(1, 30):
            before = len(whole_lines(made.spool))
            is_killed = kill_at(made, call, when, *command)
            yield acts(made)[before:]
            if not is_killed:
                break
        else:
            pytest.fail(f"{call} is called for ever")


def test_a_pause_that_is_killed_at_any_call_is_never_made_without_a_line(fresh_bed: Bed) -> None:
    fresh_bed.dsgmigd("pause", "CO")
    pause = fresh_bed.spool / ".dsgmigd/control/SV.paused"
    seen = set()
    for new in kills(fresh_bed, "pause", "SV"):
        assert new or not pause.exists()
        assert ("pause", "done") not in new or pause.exists()
        assert ledger_violations(fresh_bed.spool) == []
        seen.add((tuple(outcome for _, outcome in new), pause.exists()))
        pause.unlink(missing_ok=True)
    assert seen == {
        *(((), False), (("begun",), False), (("begun",), True), (("begun", "done"), True)),
    }
    assert check(fresh_bed)["is_intact"]


# A request for what is not there is answered without a pool.
MISSING = "NO"
FAULTS = ("signal=KILL", "error=ENOSPC", "error=EIO")


def traced(made: Bed, *expressions: str) -> tuple[str, ...]:
    """Return how strace runs a worker and sees what it records in."""
    names = (*PLACES, f"work/{MISSING}.result.1")
    places = [word for name in names for word in ("-P", str(made.spool / ".dsgmigd" / name))]
    words = [word for expression in expressions for word in ("-e", expression)]
    log = str(made.logs / "strace.log")
    return ("strace", "-f", "-qq", "-o", log, "--detach-on=execve", *places, *words)


def wait_ready(made: Bed, worker: "subprocess.Popen[bytes]") -> None:
    status = made.spool / ".dsgmigd/instances/1.json"
    wait_for(lambda: worker.poll() is not None or status.exists(), "the worker", made=made)


def answered(made: Bed, worker: "subprocess.Popen[bytes]") -> bool:
    """Wait until a worker has ended a request, or itself; say whether the request is ended.

    Who waits for his spool tries again in a new thread, to which the same happens.
    """
    made.drop(MISSING)
    before = made.log(1).stat().st_size
    names = (f"{MISSING}.request", f"{MISSING}.claim.1")

    def is_ended() -> bool:
        return not any((made.spool / name).exists() for name in names)

    def is_over() -> bool:
        has_waited = made.log(1).read_bytes()[before:].count(b"spool.failing") > 1
        return worker.poll() is not None or has_waited or is_ended()

    wait_for(is_over, "the end of the request or of the worker", made=made)
    return is_ended()


def points_of(made: Bed) -> list[tuple[str, str, int]]:
    """Return every fault, call and time of a request that nobody disturbs."""
    worker = made.start_worker(1, *traced(made, f"trace={','.join(CALLS)}"))
    wait_started(made, 1)
    assert answered(made, worker)
    stop(made)
    log = (made.logs / "strace.log").read_text(errors="replace")
    seen = Counter(re.findall(r"^(\d+) +(\w+)\(", log, re.MULTILINE))
    most: dict[str, int] = {}
    for (_, call), count in seen.items():
        most[call] = max(count, most.get(call, 0))
    return [
        (fault, call, when)
        for fault in FAULTS
        for call in sorted(most)
        for when in range(1, most[call] + 1)
        if fault == FAULTS[0] or call != "flock"
    ]


def stop(made: Bed) -> None:
    made.stop_workers()
    made.workers.clear()
    for status in (made.spool / ".dsgmigd/instances").glob("*.json"):
        status.unlink()


@pytest.mark.sweep
def test_a_request_has_one_line_wherever_its_worker_is_killed_or_its_spool_fails(
    fresh_bed: Bed,
) -> None:
    points = points_of(fresh_bed)
    wanted = amount("DSGMIGD_LEDGER_POINTS")
    chosen = points if wanted == ALL else in_turns(points, int(wanted))
    outcomes: Counter[str] = Counter()
    for number, (fault, call, when) in enumerate(chosen, start=2):
        worker = fresh_bed.start_worker(1, *traced(fresh_bed, f"inject={call}:{fault}:when={when}"))
        wait_ready(fresh_bed, worker)
        is_ended = answered(fresh_bed, worker)
        outcomes[f"{fault} {'ended' if is_ended else 'died'}"] += 1
        stop(fresh_bed)
        if not is_ended:
            fresh_bed.start_worker(2)
            fresh_bed.wait_result(MISSING)
            stop(fresh_bed)
        place = f"{fault} at {call} {when}"
        assert ledger_violations(fresh_bed.spool) == [], place
        assert acts(fresh_bed).count(("request", "failed")) == number, place
    print(f"{len(chosen)} of {len(points)} points: {dict(outcomes)}")  # noqa: T201
    assert check(fresh_bed)["is_intact"]


def in_turns(points: list[tuple[str, str, int]], size: int) -> list[tuple[str, str, int]]:
    """Return a sample, always the same one, in which each call comes with each fault in turn."""
    mixed = Random("ledger").sample(points, len(points))  # noqa: S311
    seen: Counter[tuple[str, str]] = Counter()
    turns = []
    for point in mixed:
        seen[point[:2]] += 1
        turns.append((seen[point[:2]], point))
    return [point for _, point in sorted(turns, key=itemgetter(0))][:size]


def test_a_migration_that_is_killed_at_any_call_has_begun_and_ends_only_with_its_result(
    published: Bed,
) -> None:
    seen = set()
    for new in kills(published, "migrate", "SV"):
        assert ledger_violations(published.spool) == []
        seen.add(tuple(outcome for _, outcome in new))
    assert seen == {(), ("begun",), ("begun", "up_to_date")}
    assert check(published)["is_intact"]


def test_workers_and_commands_that_append_at_once_make_one_chain(fresh_bed: Bed) -> None:
    for repo in REPOS:
        new_series(fresh_bed, repo, writing(a=repo))
    for instance in (1, 2):
        fresh_bed.start_worker(instance)
        wait_started(fresh_bed, instance)
    for repo in REPOS:
        fresh_bed.drop(repo)

    def pause() -> None:
        for _ in range(8):
            fresh_bed.dsgmigd("pause", "NONE", check=False)

    threads = [threading.Thread(target=pause) for _ in range(2)]
    for thread in threads:
        thread.start()
    outcomes = [fresh_bed.wait_result(repo)["outcome"] for repo in REPOS]
    for thread in threads:
        thread.join()
    assert outcomes == ["done"] * len(REPOS)
    assert [act for act, _ in acts(fresh_bed)].count("request") == len(REPOS)
    assert acts(fresh_bed).count(("pause", "done")) >= 8
    assert check(fresh_bed)["is_intact"]


def test_what_a_power_cut_left_of_a_line_is_told_by_the_next(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    fresh_bed.wait_result("SV")
    fresh_bed.stop_workers()
    fresh_bed.workers.clear()
    ledger = fresh_bed.spool / ".dsgmigd/results/ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-100])
    assert check(fresh_bed)["misfit"]["why"] == "torn"
    fresh_bed.start_worker(2)
    fresh_bed.drop("SV")
    fresh_bed.wait_result("SV")
    assert [act for act, _ in acts(fresh_bed)] == ["recovered", "request"]


def test_in_a_full_spool_no_command_begins(small_spool: Bed) -> None:
    new_series(small_spool, "SV", writing(a="a"))
    small_spool.dsgmigd("status")
    small_spool.dsgmigd("pause", "CO")
    before = acts(small_spool)
    # What is reserved for the ledger is enough for a pause: nothing is left of that.
    ledger = small_spool.spool / ".dsgmigd/results/ledger.jsonl"
    with ledger.open("ab") as file:
        file.truncate(ledger.stat().st_size)
    fill(small_spool.spool)
    result = small_spool.migrate("SV")
    assert (result["outcome"], result["error"]["code"]) == ("failed", "spool_io")
    assert "migrate was not begun" in result["error"]["message"]
    assert not (small_spool.mountpoint / "SV").exists()
    done = small_spool.dsgmigd("pause", "SV", check=False)
    assert (done.returncode, "pause was not begun" in done.stderr) == (75, True)
    assert not (small_spool.spool / ".dsgmigd/control/SV.paused").exists()
    assert acts(small_spool) == before
    (small_spool.spool / "ballast").unlink()
    assert small_spool.migrate("SV")["outcome"] == "done"
    assert check(small_spool)["is_intact"]
