"""The ledger of real commands and workers: killed anywhere, at once, on a full disk.

What workers leave when they are killed or when calls fail, `test_every_kill` and
`test_failing_calls` look at: `tests/invariants.py` recounts the ledger for them.
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Bed
from tests.integration.processes import wait_started
from tests.integration.test_failing_spool import fill, small_spool
from tests.integration.trees import new_series, write, writing
from tests.invariants import ledger_violations

# Where the lines and the results of commands are written.
PLACES = ("ledger.lock", "results", "results/ledger.jsonl", "work/SV.foreground.0", "control/new")
# What leaves a trace, or gives one time to be seen.
CALLS = ("openat", "pread64", "write", "fsync", "fallocate", "link", "rename", "unlink", "flock")
REPOS = ("R1", "R2", "R3", "R4", "R5", "R6")

__all__ = ("small_spool",)


def lines_of(made: Bed) -> list[dict[str, Any]]:
    ledger = made.spool / ".dsgmigd/results/ledger.jsonl"
    if not ledger.exists():
        return []
    pieces = ledger.read_bytes().splitlines(keepends=True)
    return [json.loads(piece) for piece in pieces if piece.endswith(b"\n")]


def acts(made: Bed) -> list[tuple[str, str]]:
    return [(line["act"], line["outcome"]) for line in lines_of(made)]


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
    purge = next(line for line in lines_of(published) if line["act"] == "purge")
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
            before = len(lines_of(made))
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


def test_a_worker_that_was_killed_behind_its_result_is_recorded_by_the_next(
    fresh_bed: Bed,
) -> None:
    """And what was left of its line is told."""
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
    assert acts_with_torn(ledger) == ["recovered", "request"]


def acts_with_torn(ledger: Path) -> list[str]:
    found = []
    for piece in ledger.read_bytes().splitlines():
        try:
            found.append(json.loads(piece)["act"])
        except ValueError:
            continue
    return found


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
