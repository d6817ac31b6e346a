"""A worker killed at every system call that leaves a trace, and what the next worker makes of it.

strace lets the kernel kill a worker when it enters the N-th call of a kind; so each point stands
for "before this call", and for "after the one before". How many calls of each kind there are is
counted in a run that nobody disturbs. After each kill another worker takes over, the request is
repeated, and `tests/invariants.py` judges. One line of JSON for each point says what was found.

strace attaches to a worker that waits, so the points are those from the claim to the last word of
the log. It counts for every thread by itself and kills with the first that comes to N.

Left out: what programs do that a worker starts (`zfs`, `btrfs`). strace lets go of them when they
begin (`--detach-on=execve`): a `zfs` that dies in the middle of a mount hangs zfs-fuse for ever,
and a worker that lives on must say `failed` then, which other tests hold. So there is no point at
`execve` and `mount`; the worker itself is killed before it starts a program (`vfork`) and while it
waits for one (`wait4`), and the program goes on alone. Reads and stats change nothing.

All this once for a target that is made, and once for one that is extended. Normally a sample of
the points is tried; DSGMIGD_KILLS=all tries all of them.
"""

import json
import os
import re
import subprocess
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import bed
import pytest

from tests.integration.conftest import Bed
from tests.integration.processes import kill, wait_for, wait_started
from tests.integration.trees import (
    Series,
    all_of,
    assert_migrated,
    linking,
    moving,
    new_series,
    removing,
    writing,
)
from tests.invariants import Asked, World, observe, violations

KILLS = os.environ.get("DSGMIGD_KILLS", "12")
COMPARED_EVERY = 6
# The claim is gone, and there are a few calls still to come.
LAST_WORDS_SECONDS = 0.5
STRACE = ("strace", "-f", "-qq", "--detach-on=execve")
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


@dataclass
class Sweep:
    """The same series migrated again and again; `world` is how everything was before.

    `present` snapshots are published already, so that the others extend the target.
    """

    made: Bed
    series: Series
    world: World
    log: Path
    present: int
    tracers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def count(self) -> Counter[str]:
        """Return how often a thread makes each call in a migration that nobody disturbs."""
        self._begin_anew()
        self._start(1, "trace=" + ",".join(CALLS))
        self.made.drop("SV")
        assert self.made.wait_result("SV")["outcome"] == "done"
        self._stop()
        found = re.findall(r"^(\d+) +(\w+)\(", self.log.read_text(errors="replace"), re.MULTILINE)
        most: Counter[str] = Counter()
        for (_, call), times in Counter(found).items():
            most[call] = max(most[call], times)
        return Counter({call: most[call] for call in CALLS if most[call]})

    def try_point(self, point: Point, instance: int, *, is_compared: bool) -> Found:
        """Kill a worker at `point`, let `instance` go on, and return what there is in the end."""
        made = self.made
        self._begin_anew()
        found = Found(**asdict(point), instance=instance, is_compared=is_compared)
        worker = self._start(1, f"inject={point.call}:signal=KILL:when={point.when}")
        made.drop("SV")
        wait_for(lambda: worker.poll() is not None or self._is_done(), f"{point}", made=made)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(LAST_WORDS_SECONDS)
        found.is_killed = worker.poll() is not None
        found.at, found.left = self._last_call(point.call), made.listing()
        self._stop()
        self._start(instance)
        first = made.wait_result("SV")
        found.violations = violations(self.world, Asked({"SV": 1}))
        made.drop("SV")
        repeated = made.wait_result("SV")
        self._stop()
        found.attempts = len(first["attempts"])
        found.outcomes = [first["outcome"], repeated["outcome"]]
        found.violations += violations(self.world, Asked({"SV": 2}, {"SV"}))
        if is_compared and not found.violations:
            assert_migrated(made, "SV", self.series.directory, self.series.count)
        return found

    def _begin_anew(self) -> None:
        """Take away the target and all results, and publish what has to be there before."""
        dataset = f"{self.made.parent}/SV"
        # -R: what was moved aside when the target was extended is a clone of it.
        if dataset in bed.run("zfs", "list", "-H", "-o", "name").split():
            bed.retry_while_busy(lambda: bed.run("zfs", "destroy", "-R", dataset))
        for path in (self.made.spool / ".dsgmigd/results").iterdir():
            path.unlink()
        (self.made.spool / "SV.result.json").unlink(missing_ok=True)
        if self.present:
            made = self.made.migrate("SV", "--limit", str(self.present))
            assert made["outcome"] == "done", made["error"]

    def _is_done(self) -> bool:
        names = self.made.listing()
        return "SV.result.json" in names and not {"SV.request", "SV.claim.1"} & set(names)

    def _start(self, instance: int, *expressions: str) -> "subprocess.Popen[bytes]":
        """Start a worker and wait until it waits; with expressions strace is at it."""
        status = self.made.spool / f".dsgmigd/instances/{instance}.json"
        status.unlink(missing_ok=True)
        worker = self.made.start_worker(instance)
        wait_started(self.made, instance)
        if expressions:
            options = [word for expression in expressions for word in ("-e", expression)]
            tracer = subprocess.Popen(
                (*STRACE, *options, "-o", str(self.log), "-p", str(worker.pid)),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self.tracers.append(tracer)
            wait_for(lambda: is_traced(worker.pid), "strace", made=self.made)
        return worker

    def _stop(self) -> None:
        """Kill the worker, and wait until strace has ended with it."""
        for worker in self.made.workers:
            if worker.poll() is None:
                kill(worker)
        self.made.workers.clear()
        while self.tracers:
            self.tracers.pop().wait(30)

    def _last_call(self, call: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if f" {call}(" in line), "")[:200]


def is_traced(pid: int) -> bool:
    """Say whether every thread of a process has a tracer."""
    states = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return all("TracerPid:\t0\n" not in state for state in states)


def all_points(counts: Counter[str]) -> list[Point]:
    return [Point(call, when) for call in counts for when in range(1, counts[call] + 1)]


def sample(points: list[Point], size: int) -> list[Point]:
    """Choose the last points of what commits, then others so that every call comes in turn."""
    last = list({point.call: point for point in points if point.call in COMMITS}.values())
    random = Random("kills")  # noqa: S311
    by_call: dict[str, list[Point]] = {}
    for point in random.sample(points, len(points)):
        if point not in last:
            by_call.setdefault(point.call, []).append(point)
    turns = [(turn, point) for some in by_call.values() for turn, point in enumerate(some)]
    return [*last, *(point for _, point in sorted(turns, key=lambda pair: pair[0]))][:size]


@pytest.fixture(params=[0, 2], ids=["create", "extend"])
def sweep(fresh_bed: Bed, tmp_path: Path, request: pytest.FixtureRequest) -> Sweep:
    """A small series of three, and datasets of somebody else's, one of them in our staging."""
    series = new_series(
        fresh_bed,
        "SV",
        writing(a="a", b="b", d__c="c"),
        all_of(moving("a", "d/a"), linking("b", "d/b"), writing(d__c="changed")),
        all_of(removing("b"), writing(e="e", f__g="g")),
    )
    assert fresh_bed.migrate("SV")["outcome"] == "done"  # which makes the area
    for name in ("CO", ".dsgmigd/staging/CO"):
        bed.run("zfs", "create", f"{fresh_bed.parent}/{name}")
        bed.run("zfs", "snapshot", f"{fresh_bed.parent}/{name}@s1")
    bed.retry_while_busy(lambda: bed.run("zfs", "destroy", "-r", f"{fresh_bed.parent}/SV"))
    world = observe(fresh_bed.spool, fresh_bed.source_root, fresh_bed.parent)
    return Sweep(fresh_bed, series, world, tmp_path / "strace.log", request.param)


def test_after_a_kill_at_any_call_the_next_worker_ends_the_work(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = all_points(sweep.count())
    chosen = points if KILLS == "all" else sample(points, int(KILLS))
    report = tmp_path / "kills.jsonl"
    all_found = []
    for number, point in enumerate(chosen):
        is_compared = number % COMPARED_EVERY == 0
        found = sweep.try_point(point, 1 + number % 2, is_compared=is_compared)
        all_found.append(found)
        with report.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found)) + "\n")
    killed = sum(found.is_killed for found in all_found)
    with capsys.disabled():
        print(f"\nkilled at {killed} of {len(chosen)} points out of {len(points)}: {report}")  # noqa: T201
    assert [found for found in all_found if found.violations] == []
    # Killed after publishing: the next worker finds nothing left to do.
    assert {found.outcomes[0] for found in all_found} <= {"done", "up_to_date"}
    # How often the main thread looks, and ZFS is busy, is a matter of time.
    assert killed >= len(chosen) * 0.7, "too few of the points were reached"
