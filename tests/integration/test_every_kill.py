"""A worker killed at every system call that leaves a trace, and what the next worker makes of it.

strace lets the kernel kill a worker when it enters the N-th call of a kind; so each point stands
for "before this call", and for "after the one before". How many calls of each kind there are is
counted in a run that nobody disturbs. After each kill another worker takes over, the request is
repeated, and `tests/invariants.py` judges. One line of JSON for each point says what was found.

strace counts for every thread by itself and kills with the first that comes to N.

Left out: what programs do that a worker starts (`zfs`, `btrfs`). A worker that survives one of
them must report `failed`, which other tests check. So there is no point at `execve` and `mount`;
the worker itself is killed before it starts a program (`vfork`) and while it waits for one
(`wait4`), and the program goes on alone. Reads and stats change nothing.

All this for a target that is made, for one that is extended, and for one that is replaced.
A sample of the points is tried, or all of them: tests/amounts.py says how many.
"""

import json
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from tests.amounts import ALL, amount
from tests.integration.conftest import Bed
from tests.integration.processes import wait_for
from tests.integration.sweep import CASES, Sweep, in_turns
from tests.integration.trees import (
    all_of,
    assert_migrated,
    linking,
    moving,
    new_series,
    removing,
    writing,
)
from tests.invariants import Asked, violations

KILLS = amount("DSGMIGD_KILLS")
COMPARED_EVERY = 6
# The claim is gone, and there are a few calls still to come.
LAST_WORDS_SECONDS = 0.5
CALLS = (
    *("rename", "renameat", "renameat2", "link", "linkat", "symlinkat", "unlink", "unlinkat"),
    *(
        "mkdir",
        "mkdirat",
        "rmdir",
        "openat",
        "ftruncate",
        "write",
        "pwrite64",
        "fsync",
        "fdatasync",
    ),
    *("ioctl", "vfork", "wait4"),
)
# The last of these come when the target is published, the result written, the claim removed.
COMMITS = ("link", "unlink", "fsync", "vfork")


@dataclass(frozen=True)
class Point:
    """Before the `when`-th `call` of a thread."""

    call: str
    when: int


@dataclass
class Found:
    """What came of one point; `left` is what the spool held when the worker was dead."""

    call: str
    when: int
    is_killed: bool = False
    at: str = ""
    left: list[str] = field(default_factory=list)
    instance: int = 0
    attempts: int = 0
    outcomes: list[str] = field(default_factory=list)
    is_compared: bool = False
    violations: list[str] = field(default_factory=list)


def try_point(sweep: Sweep, point: Point, instance: int, *, is_compared: bool) -> Found:
    """Kill a worker at `point`, let `instance` go on, and return what there is in the end."""
    made = sweep.made
    sweep.start_over()
    found = Found(**asdict(point), instance=instance, is_compared=is_compared)
    worker = sweep.start(1, f"inject={point.call}:signal=KILL:when={point.when}")
    made.drop("SV", sweep.request)
    wait_for(lambda: worker.poll() is not None or sweep.is_done(), f"{point}", made=made)
    with suppress(subprocess.TimeoutExpired):
        worker.wait(LAST_WORDS_SECONDS)
    found.is_killed = worker.poll() is not None
    found.at, found.left = sweep.last_call(point.call), made.listing()
    sweep.stop()
    sweep.start(instance)
    first = made.wait_result("SV")
    found.violations = violations(sweep.world, Asked({"SV": 1}))
    made.drop("SV", sweep.request)
    repeated = made.wait_result("SV")
    sweep.stop()
    found.attempts = len(first["attempts"])
    found.outcomes = [first["outcome"], repeated["outcome"]]
    found.violations += violations(sweep.world, Asked({"SV": 2}, {"SV"})) + sweep.lost()
    if is_compared and not found.violations:
        assert_migrated(made, "SV", sweep.series.directory, sweep.series.count)
    return found


def all_points(made: dict[str, list[set[str]]]) -> list[Point]:
    return [Point(call, when) for call in made for when in range(1, len(made[call]) + 1)]


def sample(points: list[Point], size: int) -> list[Point]:
    """Choose the last points of what commits, then others so that every call comes in turn."""
    last = list({point.call: point for point in points if point.call in COMMITS}.values())
    return [*last, *in_turns((point for point in points if point not in last), "kills")][:size]


@pytest.fixture(params=CASES)
def sweep(fresh_bed: Bed, tmp_path: Path, request: pytest.FixtureRequest) -> Sweep:
    """A small series of three."""
    series = new_series(
        fresh_bed,
        "SV",
        writing(a="a", b="b", d__c="c"),
        all_of(moving("a", "d/a"), linking("b", "d/b"), writing(d__c="changed")),
        all_of(removing("b"), writing(e="e", f__g="g")),
    )
    return Sweep(fresh_bed, series, request.param, tmp_path / "strace.log")


@pytest.mark.sweep
def test_after_a_kill_at_any_call_the_next_worker_ends_the_work(
    sweep: Sweep, tmp_path: Path
) -> None:
    points = all_points(sweep.observe_calls(CALLS))
    chosen = points if KILLS == ALL else sample(points, int(KILLS))
    report = tmp_path / "kills.jsonl"
    all_found = []
    for number, point in enumerate(chosen):
        is_compared = number % COMPARED_EVERY == 0
        found = try_point(sweep, point, 1 + number % 2, is_compared=is_compared)
        all_found.append(found)
        with report.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found)) + "\n")
    killed = sum(found.is_killed for found in all_found)
    print(f"killed at {killed} of {len(chosen)} points out of {len(points)}: {report}")  # noqa: T201
    assert [found for found in all_found if found.violations] == []
    # Killed after publishing: the next worker finds nothing left to do.
    assert {found.outcomes[0] for found in all_found} <= {"done", "up_to_date"}
    # How often the main thread looks, and ZFS is busy, is a matter of time.
    assert killed >= int(len(chosen) * 0.7), "too few of the points were reached"
