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

from dsgmigd.host.locks import Lock
from dsgmigd.migration.job import Settings
from dsgmigd.names import DatasetName, RepoName
from dsgmigd.request import Request
from dsgmigd.service import worker as daemon
from dsgmigd.service.cancel import cancel
from dsgmigd.service.notify import Notifier
from dsgmigd.service.policy import Retries, WorkerSettings
from dsgmigd.service.worker import Worker
from dsgmigd.spool.claim import Claim
from dsgmigd.spool.claim_record import Attempt
from dsgmigd.spool.claiming import claim_request, end_deferral, list_deferrals
from dsgmigd.spool.control import Cancel
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from dsgmigd.spool.withdrawal import withdraw_request

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
        assert submit_request(spool, RepoName(name), Request())
    (directory / "bad name.request").touch()
    os.mkfifo(directory / "C.request")
    worker = Worker(
        3, spool, SETTINGS, WorkerSettings(rescan_seconds=1, retries=AT_ONCE), StopWhenIdle({})
    )

    worker.run()

    results = {name: spool.results.newest(RepoName(name)) for name in ("A", "B", "C")}
    outcomes = {name: result["outcome"] for name, result in results.items() if result}
    assert outcomes == {"A": "failed", "B": "failed", "C": "rejected"}
    (refused,) = directory.glob("rejected/*.result.json")
    assert json.loads(refused.read_text())["repo"] == "bad name"


def serve(spool: Spool) -> None:
    """Let instance 3 do all that it may do now."""
    Worker(
        3, spool, SETTINGS, WorkerSettings(rescan_seconds=1, retries=AT_ONCE), StopWhenIdle({})
    ).run()


def orphan(spool: Spool, name: str, instance: int) -> str:
    """Leave a claim whose worker is dead; return the request's id."""
    dead = Spool(spool.directory, instance)
    submit_request(dead, RepoName(name), Request())
    claim = claim_request(dead, name)
    assert isinstance(claim, Claim)
    dead.records.begin_attempt(claim, Attempt(instance))
    claim.lock.release()
    return claim.request_id


@pytest.mark.usefixtures("signals_restored")
def test_a_request_of_a_paused_repository_stays_until_it_is_resumed(spool: Spool) -> None:
    for name in ("A", "B"):
        submit_request(spool, RepoName(name), Request())
    spool.control.pause(RepoName("A"))

    serve(spool)
    assert spool.waiting() == ["A"]
    assert spool.results.newest(RepoName("B"))

    spool.control.resume(RepoName("A"))
    serve(spool)
    assert spool.waiting() == []


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize("instance", [3, None])
def test_a_paused_instance_ends_its_own_claims_and_takes_no_others(
    spool: Spool, instance: int | None
) -> None:
    submit_request(spool, RepoName("A"), Request())
    os.mkfifo(Path(spool.directory, "F.request"))
    orphan(spool, "B", instance=3)
    orphan(spool, "C", instance=4)
    spool.control.pause(instance=instance)

    serve(spool)

    assert sorted(spool.waiting()) == ["A", "F"]
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
    submit_request(spool, RepoName("A"), Request())
    spool.control.pause(instance=4)

    serve(spool)

    assert spool.waiting() == []


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
    submit_request(spool, SV, Request())
    request_id = withdraw_request(spool, SV)

    serve(spool)

    result = spool.results.newest(SV)
    assert result is not None
    assert (result["outcome"], result["request_id"]) == ("cancelled", request_id)


@pytest.mark.usefixtures("signals_restored")
def test_a_cancel_for_another_request_does_not_stop_this_one(spool: Spool) -> None:
    submit_request(spool, SV, Request())
    spool.control.ask_to_cancel(SV, Cancel("an older one", discard=True))

    serve(spool)

    result = spool.results.newest(SV)
    assert result is not None
    assert result["outcome"] == "failed"
    assert spool.control.cancels() == []


@pytest.mark.usefixtures("signals_restored")
def test_what_waits_for_its_target_is_left_until_it_is_due(spool: Spool) -> None:
    submit_request(spool, SV, Request())
    worker_settings = WorkerSettings(rescan_seconds=1, retries=Retries(3600, 3600))

    for _ in range(2):
        Worker(3, spool, SETTINGS, worker_settings, StopWhenIdle({})).run()

    ((repo, deferral),) = list_deferrals(spool)
    assert (repo, deferral.error["code"]) == ("SV", "target_unavailable")
    assert spool.results.newest(SV) is None
    assert end_deferral(spool, SV)
    serve(spool)
    result = spool.results.newest(SV)
    assert result is not None
    assert [attempt["ended"] for attempt in result["attempts"]] == ["deferred", "failed"]


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize("is_paused", [True, False])
def test_a_pause_holds_what_waits_for_its_target(spool: Spool, *, is_paused: bool) -> None:
    submit_request(spool, SV, Request())
    worker_settings = WorkerSettings(rescan_seconds=1, retries=Retries(1, 1))
    Worker(3, spool, SETTINGS, worker_settings, StopWhenIdle({})).run()
    time.sleep(1.1)  # it is due
    if is_paused:
        spool.control.pause(SV)

    serve(spool)

    assert (spool.results.newest(SV) is None) == is_paused


@pytest.mark.usefixtures("signals_restored")
def test_what_waits_for_its_target_can_be_cancelled(spool: Spool) -> None:
    submit_request(spool, SV, Request())
    worker_settings = WorkerSettings(rescan_seconds=1, retries=Retries(3600, 3600))
    Worker(3, spool, SETTINGS, worker_settings, StopWhenIdle({})).run()

    cancel(spool, SV, discard=False)
    serve(spool)

    result = spool.results.newest(SV)
    assert result is not None
    assert result["outcome"] == "cancelled"
    assert list_deferrals(spool) == []


@pytest.mark.usefixtures("signals_restored")
@pytest.mark.parametrize("instance", [3, 4])
def test_a_claim_of_a_newer_version_is_left_as_it_is(spool: Spool, instance: int) -> None:
    orphan(spool, "SV", instance)
    claim = Path(spool.directory, f"SV.claim.{instance}")
    record = json.loads(claim.read_text()) | {"dsgmigd_claim": 2, "limit": "of the future"}
    claim.write_text(json.dumps(record))
    submit_request(spool, RepoName("B"), Request())

    serve(spool)

    assert json.loads(claim.read_text()) == record
    assert spool.results.newest(SV) is None
    assert spool.results.newest(RepoName("B"))


@pytest.mark.usefixtures("signals_restored")
def test_a_spool_that_fails_is_waited_for(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is refused and nobody dies: the request is there when the spool is."""
    submit_request(spool, SV, Request())
    monkeypatch.setattr(daemon, "_RETRY_SECONDS", 0.1)
    failures = [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE]
    listed = Spool.arrivals

    def failing(self: Spool) -> list[tuple[int, str]]:
        if failures:
            raise OSError(failures.pop(0), "made up")
        return listed(self)

    monkeypatch.setattr(Spool, "arrivals", failing)
    notifier = StopWhenIdle({})
    Worker(3, spool, SETTINGS, WorkerSettings(rescan_seconds=1, retries=AT_ONCE), notifier).run()

    assert failures == []
    assert spool.results.newest(SV) is not None
    assert any("spool: made up" in text for text in notifier.seen)


@pytest.mark.usefixtures("signals_restored")
def test_a_host_that_starts_no_thread_is_waited_for(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_request(spool, SV, Request())
    monkeypatch.setattr(daemon, "_RETRY_SECONDS", 0.1)
    refusals, start = [SV, SV], threading.Thread.start

    def refusing(self: threading.Thread) -> None:
        if refusals and self.name == f"work-{refusals[-1]}":
            refusals.pop()
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    notifier = StopWhenIdle({})
    Worker(3, spool, SETTINGS, WorkerSettings(rescan_seconds=1, retries=AT_ONCE), notifier).run()

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


class Releasing(Notifier):
    """Releases a lock when the worker is idle; ends the worker at its result, or when too late."""

    def __init__(self, spool: Spool, lock: Lock) -> None:
        super().__init__({})
        self.spool, self.lock = spool, lock
        self.due = time.monotonic() + 10
        self.idle = 0

    def status(self, text: str) -> None:
        self.idle += text == "idle"
        if text == "idle" and self.idle == 2:
            self.lock.release()
        if time.monotonic() > self.due or self.spool.results.last(SV):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.usefixtures("signals_restored")
def test_an_own_claim_is_taken_soon_after_the_start_although_a_program_still_holds_it(
    spool: Spool,
) -> None:
    orphan(spool, "SV", instance=3)
    lock = spool.lock_repository(SV)
    assert lock is not None

    settings = WorkerSettings(rescan_seconds=60, retries=AT_ONCE)
    Worker(3, spool, SETTINGS, settings, Releasing(spool, lock)).run()

    assert spool.results.last(SV)
