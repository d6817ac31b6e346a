"""What one instance makes of a claim: real spool, a target that is not there."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.claim import Claim
from dsgmigd.command import Commands
from dsgmigd.daemon import Habits, Worker, process_claim
from dsgmigd.migrate import Settings
from dsgmigd.names import DatasetName, RepoName
from dsgmigd.notify import Notifier
from dsgmigd.progress import Progress
from dsgmigd.request import Request
from dsgmigd.spool import Spool

SV = RepoName("SV")
SETTINGS = Settings("/nowhere", DatasetName("no-such-pool"), "no-such-pool/.dsgmigd")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(str(tmp_path), instance=3)
    spool.prepare()
    return spool


def claim_of(spool: Spool, body: str = "") -> Claim:
    Path(spool.directory, "SV.request").write_text(body)
    claim = spool.claim("SV")
    assert isinstance(claim, Claim)
    return claim


def process(spool: Spool, claim: Claim, progress: Progress | None = None) -> dict[str, Any]:
    process_claim(
        claim,
        spool=spool,
        instance=3,
        settings=SETTINGS,
        commands=Commands(),
        progress=progress or Progress(),
        maximum_attempts=3,
    )
    return spool.read_result(SV) or {}


def test_a_failure_becomes_a_result_that_repeats_the_request_and_tells_what_to_do(
    spool: Spool,
) -> None:
    result = process(spool, claim_of(spool, '{"limit": 2, "note": "why"}'))

    assert result["outcome"] == "failed"
    assert result["request"] == {"limit": 2, "note": "why"}
    assert result["instance"] == 3
    assert result["error"]["hint"]
    assert [attempt["ended"] for attempt in result["attempts"]] == ["failed"]
    assert spool.claims() == []


def test_a_body_that_is_no_request_is_rejected_without_an_attempt(spool: Spool) -> None:
    result = process(spool, claim_of(spool, '{"limt": 2}'))

    assert result["outcome"] == "rejected"
    assert "did you mean 'limit'" in result["error"]["message"]
    assert result["attempts"] == []


def test_after_three_crashes_a_request_is_given_up_without_another_attempt(spool: Spool) -> None:
    claim = claim_of(spool)
    for _ in range(3):
        spool.begin_attempt(claim, {"instance": 1})

    result = process(spool, claim)

    assert result["error"]["code"] == "crash_loop"
    assert len(result["attempts"]) == 3


def test_two_crashes_do_not_end_a_request(spool: Spool) -> None:
    claim = claim_of(spool)
    for _ in range(2):
        spool.begin_attempt(claim, {"instance": 1})

    assert process(spool, claim)["error"]["code"] != "crash_loop"


def test_a_stop_keeps_the_claim_and_writes_no_result(spool: Spool) -> None:
    claim = claim_of(spool)

    assert process(spool, claim, Progress(stop_requested=True)) == {}

    claim.lock.release()
    adopted = spool.adopt(SV, 3)
    assert adopted is not None
    assert adopted.crashes == 0
    assert [attempt["ended"] for attempt in adopted.attempts] == ["stopped"]


@pytest.fixture
def signals_restored() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_restored")
def test_a_worker_answers_every_request_then_stops_by_signal(spool: Spool) -> None:
    directory = Path(spool.directory)
    for name in ("A", "B"):
        assert spool.submit(RepoName(name), Request())
    (directory / "bad name.request").touch()
    os.mkfifo(directory / "C.request")
    worker = Worker(3, spool, SETTINGS, Habits(rescan_seconds=1), StopWhenIdle({}))

    worker.run()

    results = {name: spool.read_result(RepoName(name)) for name in ("A", "B", "C")}
    outcomes = {name: result["outcome"] for name, result in results.items() if result}
    assert outcomes == {"A": "failed", "B": "failed", "C": "rejected"}
    (refused,) = directory.glob("rejected/*.result.json")
    assert json.loads(refused.read_text())["repo"] == "bad name"


class StopWhenIdle(Notifier):
    """Ends the worker, as systemd would, when it has nothing left to do."""

    def status(self, text: str) -> None:
        self.seen = [*getattr(self, "seen", []), text]
        if text == "idle" and len(self.seen) > 1:
            os.kill(os.getpid(), signal.SIGTERM)
