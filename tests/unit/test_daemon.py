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
from dsgmigd.control import Cancel
from dsgmigd.daemon import Habits, Worker, process_claim
from dsgmigd.errors import RequestCancelled
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
    return spool.results.newest(SV) or {}


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


def test_a_cancelled_request_ends_for_good_without_another_attempt(spool: Spool) -> None:
    claim = claim_of(spool, '{"limit": 2}')
    for _ in range(3):
        spool.begin_attempt(claim, {"instance": 1})
    spool.control.ask_to_cancel(SV, Cancel(claim.request_id, discard=False))

    result = process(spool, claim, Progress(cancel_requested=True))

    assert (result["outcome"], result["error"]["code"]) == ("cancelled", "cancelled")
    assert "goes on after" in result["error"]["hint"]
    assert len(result["attempts"]) == 3
    assert spool.claims() == []
    assert spool.control.cancels() == []


def test_a_cancel_wins_over_a_stop_that_comes_with_it(spool: Spool) -> None:
    progress = Progress(stop_requested=True, cancel_requested=True)

    with pytest.raises(RequestCancelled):
        progress.checkpoint()
    assert process(spool, claim_of(spool), progress)["outcome"] == "cancelled"


def test_what_cannot_be_discarded_is_said_in_the_result(spool: Spool) -> None:
    claim = claim_of(spool)
    spool.control.ask_to_cancel(SV, Cancel(claim.request_id, discard=True))

    result = process(spool, claim, Progress(cancel_requested=True))

    assert any("could not be cleaned up" in warning for warning in result["warnings"])
    assert "destroyed" not in result["error"]["hint"]


def test_a_body_that_is_no_request_is_rejected_even_if_it_was_cancelled(spool: Spool) -> None:
    result = process(spool, claim_of(spool, "{"), Progress(cancel_requested=True))

    assert result["outcome"] == "rejected"


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

    results = {name: spool.results.newest(RepoName(name)) for name in ("A", "B", "C")}
    outcomes = {name: result["outcome"] for name, result in results.items() if result}
    assert outcomes == {"A": "failed", "B": "failed", "C": "rejected"}
    (refused,) = directory.glob("rejected/*.result.json")
    assert json.loads(refused.read_text())["repo"] == "bad name"


def serve(spool: Spool) -> None:
    """Let instance 3 do all that it may do now."""
    Worker(3, spool, SETTINGS, Habits(rescan_seconds=1), StopWhenIdle({})).run()


def orphan(spool: Spool, name: str, instance: int) -> str:
    """Leave a claim whose worker is dead; return the request's id."""
    dead = Spool(spool.directory, instance)
    dead.submit(RepoName(name), Request())
    claim = dead.claim(name)
    assert isinstance(claim, Claim)
    dead.begin_attempt(claim, {"instance": instance})
    claim.lock.release()
    return claim.request_id


@pytest.mark.usefixtures("signals_restored")
def test_a_request_of_a_paused_repository_stays_until_it_is_resumed(spool: Spool) -> None:
    for name in ("A", "B"):
        spool.submit(RepoName(name), Request())
    spool.control.pause(RepoName("A"))

    serve(spool)
    assert spool.incoming() == ["A"]
    assert spool.results.newest(RepoName("B"))

    spool.control.resume(RepoName("A"))
    serve(spool)
    assert spool.incoming() == []


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize("instance", [3, None])
def test_a_paused_instance_ends_its_own_claims_and_takes_no_others(
    spool: Spool, instance: int | None
) -> None:
    spool.submit(RepoName("A"), Request())
    os.mkfifo(Path(spool.directory, "F.request"))
    orphan(spool, "B", instance=3)
    orphan(spool, "C", instance=4)
    spool.control.pause(instance=instance)

    serve(spool)

    assert sorted(spool.incoming()) == ["A", "F"]
    assert spool.claims() == [("C", 4)]
    assert spool.results.newest(RepoName("B"))


@pytest.mark.usefixtures("signals_restored")
def test_a_pause_of_another_instance_is_not_ours(spool: Spool) -> None:
    spool.submit(RepoName("A"), Request())
    spool.control.pause(instance=4)

    serve(spool)

    assert spool.incoming() == []


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize("is_paused", [False, True])
def test_a_cancelled_orphan_is_ended_by_whoever_finds_it(spool: Spool, *, is_paused: bool) -> None:
    request_id = orphan(spool, "SV", instance=4)
    spool.control.ask_to_cancel(SV, Cancel(request_id, discard=False))
    if is_paused:
        spool.control.pause()

    serve(spool)

    result = spool.results.newest(SV)
    assert result is not None
    assert (result["outcome"], result["request_id"]) == ("cancelled", request_id)
    assert len(result["attempts"]) == 1
    assert spool.control.cancels() == []


@pytest.mark.usefixtures("signals_restored")
def test_a_worker_ends_what_a_dead_verb_took_out(spool: Spool) -> None:
    spool.submit(SV, Request())
    request_id = spool.withdraw_request(SV)

    serve(spool)

    result = spool.results.newest(SV)
    assert result is not None
    assert (result["outcome"], result["request_id"]) == ("cancelled", request_id)


@pytest.mark.usefixtures("signals_restored")
def test_a_cancel_for_another_request_does_not_stop_this_one(spool: Spool) -> None:
    spool.submit(SV, Request())
    spool.control.ask_to_cancel(SV, Cancel("an older one", discard=True))

    serve(spool)

    result = spool.results.newest(SV)
    assert result is not None
    assert result["outcome"] == "failed"
    assert spool.control.cancels() == []


class StopWhenIdle(Notifier):
    """Ends the worker, as systemd would, when it has nothing left to do."""

    def status(self, text: str) -> None:
        self.seen = [*getattr(self, "seen", []), text]
        if text == "idle" and len(self.seen) > 1:
            os.kill(os.getpid(), signal.SIGTERM)
