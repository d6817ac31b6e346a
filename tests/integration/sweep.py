"""The same migration again and again, with strace at the worker that does it.

strace attaches to a worker that waits, so what it meddles with lies between the claim and the last
word of the log. It counts calls for every thread by itself. It lets go of the programs that a
worker starts when they begin (`--detach-on=execve`): what becomes of these is another matter, and
a `zfs` that is killed in the middle of a mount hangs zfs-fuse for ever.

Each case begins with another target: `create` with none, `extend` with one that has some of the
snapshots, `replace` with one of another history.
"""

import re
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal, Protocol, TypeVar

import bed

from tests.integration.conftest import Bed
from tests.integration.processes import is_traced, kill, wait_for, wait_started
from tests.integration.trees import Series
from tests.invariants import World, observe

Case = Literal["create", "extend", "replace"]
CASES: tuple[Case, ...] = ("create", "extend", "replace")

_STRACE = ("strace", "-f", "-qq", "--detach-on=execve")
# Paths of descriptors are shown, contents are not.
_SHOWING = ("-y", "-s", "0")
_SUBJECTS = re.compile(r'"[^"]*"|<[^>]*>|BTRFS_\w+')
_MADE_UP = re.compile(r"0x[0-9a-f]+|\.probe-\w+|[0-9a-f-]{36}|[0-9]+")
_PRESENT = 2
_IDENTITY = "org.hrdag.dsgmigd:source_uuid"


class HasCall(Protocol):
    """A point of a sweep."""

    @property
    def call(self) -> str:
        """The system call that is meddled with."""


AnyPoint = TypeVar("AnyPoint", bound=HasCall)


@dataclass
class Sweep:
    """The same series migrated again and again; `world` is how everything was before.

    `before` are the guids of the target's snapshots at the beginning of a migration.
    """

    made: Bed
    series: Series
    case: Case
    log: Path
    world: World = field(init=False)
    before: set[str] = field(default_factory=set)
    tracers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Put datasets of somebody else's beside ours, one of them in our staging."""
        made = self.made
        assert made.migrate("SV")["outcome"] == "done"  # which makes the area
        for name in ("CO", ".dsgmigd/staging/CO"):
            bed.run("zfs", "create", f"{made.parent}/{name}")
            bed.run("zfs", "snapshot", f"{made.parent}/{name}@s1")
        self._take_away()
        self.world = observe(made.spool, made.source_root, made.parent)

    @property
    def request(self) -> dict[str, Any] | None:
        """What the request has to say in this case."""
        return {"replace": True} if self.case == "replace" else None

    def observe_calls(self, calls: Iterable[str]) -> dict[str, list[set[str]]]:
        """Return what each call is made on, the n-th time, in a migration that nobody disturbs.

        That is a set, for threads count by themselves: paths, without numbers and made-up names.
        """
        self.start_over()
        self.start(1, "trace=" + ",".join(calls))
        self.made.drop("SV", self.request)
        assert self.made.wait_result("SV")["outcome"] == "done"
        self.stop()
        log = self.log.read_text(errors="replace")
        times: Counter[tuple[str, str]] = Counter()
        found: dict[str, list[set[str]]] = {}
        for thread, call, arguments in re.findall(r"^(\d+) +(\w+)\((.*)", log, re.MULTILINE):
            subjects = found.setdefault(call, [])
            if times[thread, call] == len(subjects):
                subjects.append(set())
            subject = " ".join(_SUBJECTS.findall(arguments.partition(") = ")[0]))
            subjects[times[thread, call]].add(_MADE_UP.sub("N", subject))
            times[thread, call] += 1
        return found

    def start_over(self) -> None:
        """Take away the target and all results, and put there what the case begins with."""
        self._take_away()
        if self.case != "create":
            result = self.made.migrate("SV", "--limit", str(_PRESENT))
            assert result["outcome"] == "done", result["error"]
        if self.case == "replace":
            bed.run("zfs", "set", f"{_IDENTITY}={uuid.UUID(int=1)}", f"{self.made.parent}/SV@s1")
        self.before = self._guids(f"{self.made.parent}/SV")

    def _take_away(self) -> None:
        parent = self.made.parent
        ours = re.compile(rf"{parent}/(\.dsgmigd/(staging/|views/|replaced/))?SV(-\w+)?")
        # -R: the dataset that an extension replaced is kept, as a clone of the new one.
        while names := [name for name in self._datasets() if ours.fullmatch(name)]:
            bed.destroy("-R", names[0])
        for path in (self.made.spool / ".dsgmigd/results").iterdir():
            path.unlink()
        (self.made.spool / "SV.result.json").unlink(missing_ok=True)

    def _datasets(self) -> list[str]:
        listed = bed.run("zfs", "list", "-H", "-r", "-o", "name", self.made.parent).split()
        return sorted(listed, key=len)

    def _guids(self, dataset: str) -> set[str]:
        """Return the guids of the snapshots s1 … sN of `dataset` and of what is below it."""
        names = bed.run("zfs", "get", "-Hp", "-r", "-o", "name,value", "guid", self.made.parent)
        pairs = (line.split("\t") for line in names.splitlines())
        return {guid for name, guid in pairs if name.startswith(dataset) and "@s" in name}

    def lost(self) -> list[str]:
        """Return, as violations, what the target had at the beginning and is nowhere now."""
        gone = self.before - self._guids(self.made.parent)
        return [f"{len(gone)} snapshots of the target are gone"] if gone else []

    def is_done(self) -> bool:
        """Say whether the result stands and nothing waits."""
        names = self.made.listing()
        waiting = [name for name in names if name.startswith(("SV.request", "SV.claim."))]
        return "SV.result.json" in names and not waiting

    def start(self, instance: int, *expressions: str) -> "subprocess.Popen[bytes]":
        """Start a worker and wait until it waits; with expressions strace is at it."""
        status = self.made.spool / f".dsgmigd/instances/{instance}.json"
        status.unlink(missing_ok=True)
        worker = self.made.start_worker(instance)
        wait_started(self.made, instance)
        if expressions:
            options = [word for expression in expressions for word in ("-e", expression)]
            tracer = subprocess.Popen(
                (*_STRACE, *_SHOWING, *options, "-o", str(self.log), "-p", str(worker.pid)),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self.tracers.append(tracer)
            wait_for(lambda: is_traced(worker.pid), "strace", made=self.made)
        return worker

    def stop(self) -> None:
        """Kill the worker, and wait until strace has ended with it."""
        for worker in self.made.workers:
            if worker.poll() is None:
                kill(worker)
        self.made.workers.clear()
        while self.tracers:
            self.tracers.pop().wait(30)

    def last_call(self, call: str) -> str:
        """Return the last line of the log about `call`."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if f" {call}(" in line), "")[:200]


def in_turns(points: Iterable[AnyPoint], seed: str) -> list[AnyPoint]:
    """Return the points in a random order in which every call comes in turn."""
    points = list(points)
    random = Random(seed)  # noqa: S311
    by_call: dict[str, list[AnyPoint]] = {}
    for point in random.sample(points, len(points)):
        by_call.setdefault(point.call, []).append(point)
    turns = [(turn, point) for some in by_call.values() for turn, point in enumerate(some)]
    return [point for _, point in sorted(turns, key=lambda pair: pair[0])]
