"""Work without progress is reported once, with what the pool says."""

import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from dsgmigd.migration.progress import Progress
from dsgmigd.service.stall import StallWatch

SECONDS = 60


class Bench:
    """A watch with a clock and a pool of its own."""

    def __init__(self, health: str = "") -> None:
        self.now = 1000.0
        self.health = health
        self.progress = Progress(repo="SV", request_id="id", step="replay", snapshot="s3")
        self.watch = StallWatch(
            self.progress, seconds=SECONDS, ask=lambda: self.health, clock=lambda: self.now
        )

    def look(self, *, after: float) -> str:
        """Return the words `after` seconds, when what they began has ended."""
        self.now += after
        self.watch.words()
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and thread.daemon:
                thread.join(1)
        return self.watch.words()


@pytest.fixture
def logs() -> Any:
    with capture_logs() as logs:
        yield logs


def events(logs: list[Any]) -> list[str]:
    return [record["event"] for record in logs]


def test_work_that_moves_is_not_told_of(logs: list[Any]) -> None:
    bench = Bench()
    for _ in range(10):
        bench.progress.checkpoint()
        assert bench.look(after=SECONDS - 1) == ""
    assert logs == []


def test_a_stall_is_told_once_in_the_journal_and_always_in_the_status(logs: list[Any]) -> None:
    bench = Bench()
    bench.look(after=0)
    assert bench.look(after=SECONDS) == ", no progress for 1 min"
    assert bench.look(after=4 * SECONDS) == ", no progress for 5 min"
    assert events(logs) == ["work.stalled"]
    assert (logs[0]["repo"], logs[0]["step"], logs[0]["idle_seconds"]) == ("SV", "replay", SECONDS)


def test_the_end_of_a_stall_is_told_too(logs: list[Any]) -> None:
    bench = Bench()
    bench.look(after=0)
    bench.look(after=SECONDS)
    bench.progress.checkpoint()
    assert bench.look(after=1) == ""
    bench.look(after=SECONDS)
    assert events(logs) == ["work.stalled", "work.resumed", "work.stalled"]


def test_a_pool_that_takes_no_writes_is_named(logs: list[Any]) -> None:
    bench = Bench("the pool zsd is SUSPENDED")
    bench.look(after=0)
    assert bench.look(after=SECONDS).endswith("no progress for 1 min: the pool zsd is SUSPENDED")
    assert events(logs) == ["work.stalled", "target.unavailable"]
