"""What one instance does by itself: real spool, a target that is not there."""

import errno
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsgmigd import daemon
from dsgmigd.cancel import cancel
from dsgmigd.claim import Claim
from dsgmigd.control import Cancel
from dsgmigd.daemon import Worker
from dsgmigd.deferral import Retries
from dsgmigd.names import DatasetName, RepoName
from dsgmigd.notify import Notifier
from dsgmigd.request import Request
from dsgmigd.settings import Habits, Settings
from dsgmigd.spool import Spool

SV = RepoName("SV")
AT_ONCE = Retries(for_seconds=0)
SETTINGS = Settings("/nowhere", DatasetName("no-such-pool"), "no-such-pool/.dsgmigd")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(str(tmp_path), instance=3)
    spool.prepare()
    return spool


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
    worker = Worker(3, spool, SETTINGS, Habits(rescan_seconds=1, retries=AT_ONCE), StopWhenIdle({}))

    worker.run()

    results = {name: spool.results.newest(RepoName(name)) for name in ("A", "B", "C")}
    outcomes = {name: result["outcome"] for name, result in results.items() if result}
    assert outcomes == {"A": "failed", "B": "failed", "C": "rejected"}
    (refused,) = directory.glob("rejected/*.result.json")
    assert json.loads(refused.read_text())["repo"] == "bad name"


def serve(spool: Spool) -> None:
    """Let instance 3 do all that it may do now."""
    Worker(3, spool, SETTINGS, Habits(rescan_seconds=1, retries=AT_ONCE), StopWhenIdle({})).run()


def orphan(spool: Spool, name: str, instance: int) -> str:
    """Leave a claim whose worker is dead; return the request's id."""
    dead = Spool(spool.directory, instance)
    dead.submit(RepoName(name), Request())
    claim = dead.claim(name)
    assert isinstance(claim, Claim)
    dead.records.begin_attempt(claim, {"instance": instance})
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
    assert spool.records.claims() == [("C", 4)]
    assert spool.results.newest(RepoName("B"))


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize("paused", [RepoName("A"), None])
def test_a_file_with_the_name_of_a_claim_is_held_by_a_pause_as_a_request_is(
    spool: Spool, paused: RepoName | None
) -> None:
    Path(spool.directory, "A.claim.3").touch()
    spool.control.pause(paused)

    serve(spool)
    assert spool.records.claims() == [("A", 3)]
    assert spool.results.newest(RepoName("A")) is None

    spool.control.resume(paused)
    serve(spool)
    assert spool.records.claims() == []
    assert spool.results.newest(RepoName("A"))


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


@pytest.mark.usefixtures("signals_restored")
def test_what_waits_for_its_target_is_left_until_it_is_due(spool: Spool) -> None:
    spool.submit(SV, Request())
    habits = Habits(rescan_seconds=1, retries=Retries(3600, 3600))

    for _ in range(2):
        Worker(3, spool, SETTINGS, habits, StopWhenIdle({})).run()

    ((repo, deferral),) = spool.deferrals()
    assert (repo, deferral.error["code"]) == ("SV", "target_unavailable")
    assert spool.results.newest(SV) is None
    assert spool.end_deferral(SV)
    serve(spool)
    result = spool.results.newest(SV)
    assert result is not None
    assert [attempt["ended"] for attempt in result["attempts"]] == ["deferred", "failed"]


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize("is_paused", [True, False])
def test_a_pause_holds_what_waits_for_its_target(spool: Spool, *, is_paused: bool) -> None:
    spool.submit(SV, Request())
    habits = Habits(rescan_seconds=1, retries=Retries(1, 1))
    Worker(3, spool, SETTINGS, habits, StopWhenIdle({})).run()
    time.sleep(1.1)  # it is due
    if is_paused:
        spool.control.pause(SV)

    serve(spool)

    assert (spool.results.newest(SV) is None) == is_paused


@pytest.mark.usefixtures("signals_restored")
def test_what_waits_for_its_target_can_be_cancelled(spool: Spool) -> None:
    spool.submit(SV, Request())
    habits = Habits(rescan_seconds=1, retries=Retries(3600, 3600))
    Worker(3, spool, SETTINGS, habits, StopWhenIdle({})).run()

    cancel(spool, SV, discard=False)
    serve(spool)

    result = spool.results.newest(SV)
    assert result is not None
    assert result["outcome"] == "cancelled"
    assert spool.deferrals() == []


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize("instance", [3, 4])
def test_a_claim_of_a_newer_version_is_left_as_it_is(spool: Spool, instance: int) -> None:
    orphan(spool, "SV", instance)
    claim = Path(spool.directory, f"SV.claim.{instance}")
    record = json.loads(claim.read_text()) | {"dsgmigd_claim": 2, "limit": "of the future"}
    claim.write_text(json.dumps(record))
    spool.submit(RepoName("B"), Request())

    serve(spool)

    assert json.loads(claim.read_text()) == record
    assert spool.results.newest(SV) is None
    assert spool.results.newest(RepoName("B"))


@pytest.mark.usefixtures("signals_restored")
def test_a_spool_that_fails_is_waited_for(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is refused and nobody dies: the request is there when the spool is."""
    spool.submit(SV, Request())
    monkeypatch.setattr(daemon, "_RETRY_SECONDS", 0.1)
    failures = [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE]
    listed = Spool.incoming

    def failing(self: Spool) -> list[str]:
        if failures:
            raise OSError(failures.pop(0), "made up")
        return listed(self)

    monkeypatch.setattr(Spool, "incoming", failing)
    notifier = StopWhenIdle({})
    Worker(3, spool, SETTINGS, Habits(rescan_seconds=1, retries=AT_ONCE), notifier).run()

    assert failures == []
    assert spool.results.newest(SV) is not None
    assert any("spool: made up" in text for text in notifier.seen)


@pytest.mark.usefixtures("signals_restored")
def test_a_host_that_starts_no_thread_is_waited_for(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.submit(SV, Request())
    monkeypatch.setattr(daemon, "_RETRY_SECONDS", 0.1)
    refusals, start = [SV, SV], threading.Thread.start

    def refusing(self: threading.Thread) -> None:
        if refusals and self.name == f"work-{refusals[-1]}":
            refusals.pop()
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    notifier = StopWhenIdle({})
    Worker(3, spool, SETTINGS, Habits(rescan_seconds=1, retries=AT_ONCE), notifier).run()

    result = spool.results.newest(SV)
    assert refusals == []
    assert result is not None
    assert len(result["attempts"]) == 1
    assert any("no thread" in text for text in notifier.seen)


class StopWhenIdle(Notifier):
    """Ends the worker, as systemd would, when it has nothing left to do."""

    def status(self, text: str) -> None:
        self.seen = [*getattr(self, "seen", []), text]
        if text == "idle" and len(self.seen) > 1:
            os.kill(os.getpid(), signal.SIGTERM)
