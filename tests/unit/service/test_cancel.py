"""A cancel in every state of the spool, and after a crash between any two of its steps."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.errors import AlreadyRunning, NothingToCancel
from dsgmigd.host.command import Commands
from dsgmigd.host.syscalls import rename_noreplace
from dsgmigd.migration.job import Settings
from dsgmigd.migration.progress import Progress
from dsgmigd.names import DatasetName, RepoName
from dsgmigd.request import Request
from dsgmigd.service.cancel import Cancelled, cancel, clean_up
from dsgmigd.service.permission import Permission
from dsgmigd.service.policy import Retries
from dsgmigd.service.processing import Processing
from dsgmigd.spool.claim import Claim
from dsgmigd.spool.claim_record import Attempt
from dsgmigd.spool.claiming import adopt_claim, claim_request, finish_claim
from dsgmigd.spool.control import Cancel
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from dsgmigd.spool.withdrawal import claimed_request_id, withdraw_request

SV = RepoName("SV")
EFFECTS = ("rename", "unlink", "link", "fsync")


@pytest.fixture
def worker(tmp_path: Path) -> Spool:
    spool = Spool(str(tmp_path), instance=1)
    spool.prepare()
    spool.instances.lock().release()
    return spool


@pytest.fixture
def asking(worker: Spool) -> Spool:
    return Spool(worker.directory)


def cancelled(asking: Spool, *, discard: bool = False) -> Cancelled:
    return cancel(asking, SV, discard=discard, sleep=lambda _: None)


def working(worker: Spool, note: str = "runs") -> Claim:
    submit_request(worker, SV, Request(note=note))
    claim = claim_request(worker, "SV")
    assert isinstance(claim, Claim)
    worker.records.begin_attempt(claim, Attempt(1))
    return claim


def finish(worker: Spool, claim: Claim, finished_at: str = "2000") -> None:
    result = {"request_id": claim.request_id, "outcome": "done", "finished_at": finished_at}
    finish_claim(worker, claim, result)
    claim.lock.release()


def files(spool: Spool) -> list[str]:
    """Return what lies in the spool and in the control directory, locks and directories apart."""
    directory = Path(spool.directory)
    found = [*directory.iterdir(), *Path(spool.control.directory).iterdir()]
    return sorted(path.name for path in found if path.is_file() and path.name != "lock")


def kept_results(spool: Spool) -> list[dict[str, Any]]:
    directory = Path(spool.directory, ".dsgmigd/results")
    return [json.loads(path.read_text()) for path in directory.glob("*.json")]


def test_a_waiting_request_leaves_the_spool_with_a_result(asking: Spool) -> None:
    submit_request(asking, SV, Request(limit=3))

    ended = cancelled(asking)

    result = asking.results.newest(SV)
    assert result is not None
    assert ended == Cancelled([result["request_id"]], None)
    assert (result["outcome"], result["error"]["code"]) == ("cancelled", "cancelled")
    assert result["request"] == {"limit": 3}
    assert result["submitted_by"]["uid"] == os.getuid()
    assert files(asking) == ["SV.result.json"]
    assert kept_results(asking) == [result]


def test_a_waiting_body_that_is_no_request_is_cancelled_as_well(asking: Spool) -> None:
    Path(asking.directory, "SV.request").write_bytes(b"{")

    assert len(cancelled(asking).withdrawn) == 1

    result = asking.results.newest(SV)
    assert result is not None
    assert (result["outcome"], result["request"]) == ("cancelled", {})


def test_a_running_request_is_named_in_the_word_to_its_worker(worker: Spool, asking: Spool) -> None:
    claim = working(worker)

    assert cancelled(asking, discard=True) == Cancelled([], claim.request_id)

    assert worker.control.cancel_for(SV, claim.request_id) == Cancel(claim.request_id, discard=True)
    assert asking.results.newest(SV) is None


def test_the_request_that_waits_behind_a_running_one_goes_too(worker: Spool, asking: Spool) -> None:
    claim = working(worker)
    submit_request(asking, SV, Request(note="next"))

    ended = cancelled(asking)

    assert ended.told_to_stop == claim.request_id
    assert [result["request_id"] for result in kept_results(asking)] == ended.withdrawn
    assert asking.waiting() == []


def test_with_nothing_there_nothing_is_cancelled(asking: Spool) -> None:
    with pytest.raises(NothingToCancel, match="no request for SV"):
        cancelled(asking)
    assert files(asking) == []


def test_a_lock_without_a_request_is_somebody_by_hand(asking: Spool) -> None:
    lock = asking.lock_repository(SV)
    assert lock is not None

    with pytest.raises(NothingToCancel):
        cancelled(asking)


def test_what_is_no_request_file_is_left_to_a_worker_unread(asking: Spool) -> None:
    os.mkfifo(Path(asking.directory, "SV.request"))

    with pytest.raises(NothingToCancel):
        cancelled(asking)

    assert asking.waiting() == ["SV"]


def test_a_claim_that_was_never_noted_is_taken_out_if_its_worker_is_dead(
    worker: Spool, asking: Spool
) -> None:
    submit_request(worker, SV, Request(note="orphan"))
    claim = claim_request(worker, "SV")
    assert isinstance(claim, Claim)
    with pytest.raises(AlreadyRunning):
        cancelled(asking)
    claim.lock.release()

    assert len(cancelled(asking).withdrawn) == 1

    assert [result["request"] for result in kept_results(asking)] == [{"note": "orphan"}]
    assert files(asking) == ["SV.result.json"]


def test_a_claim_that_is_noted_while_the_verb_looks_is_told(worker: Spool, asking: Spool) -> None:
    submit_request(worker, SV, Request())
    claim = claim_request(worker, "SV")
    assert isinstance(claim, Claim)

    ended = cancel(
        asking,
        SV,
        discard=False,
        sleep=lambda _: worker.records.begin_attempt(claim, Attempt(1)),
    )

    assert ended.told_to_stop == claim.request_id


def test_a_request_that_was_done_between_two_looks_is_not_told(
    worker: Spool, asking: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = working(worker)
    ask = asking.control.ask_to_cancel

    def ask_late(repo: RepoName, cancel_request: Cancel) -> None:
        finish(worker, claim)
        ask(repo, cancel_request)

    monkeypatch.setattr(asking.control, "ask_to_cancel", ask_late)
    with pytest.raises(NothingToCancel):
        cancelled(asking)

    assert files(asking) == ["SV.result.json"]


def test_a_cancel_of_a_done_request_is_dropped_and_a_later_request_is_safe(
    worker: Spool, asking: Spool
) -> None:
    first = working(worker)
    cancelled(asking)
    finish(worker, first)
    second = working(worker)
    assert worker.control.cancel_for(SV, second.request_id) is None
    finish(worker, second)

    clean_up(worker)

    assert worker.control.cancels() == []


def test_a_cancel_of_an_orphan_or_of_running_work_stays(worker: Spool, asking: Spool) -> None:
    claim = working(worker)
    cancelled(asking)

    clean_up(worker)
    assert worker.control.cancels() == [SV]
    claim.lock.release()
    clean_up(worker)

    assert worker.control.cancels() == [SV]


def test_while_a_verb_is_at_work_nobody_cleans_up_behind_it(worker: Spool, asking: Spool) -> None:
    submit_request(asking, SV, Request())
    with asking.control.held():
        assert withdraw_request(asking, SV)
        clean_up(worker)
        assert len(asking.control.withdrawn()) == 1

    clean_up(worker)

    assert asking.control.withdrawn() == []


def test_a_newer_result_stays_on_top_of_one_whose_request_was_only_left_to_remove(
    worker: Spool, asking: Spool
) -> None:
    submit_request(asking, SV, Request(note="old"))
    body = Path(asking.directory, "SV.request").read_bytes()
    (request_id,) = cancelled(asking).withdrawn
    finish(worker, working(worker), finished_at="9999")
    Path(asking.control.withdrawn_path(SV, request_id)).write_bytes(body)

    clean_up(worker)

    assert (worker.results.newest(SV) or {})["outcome"] == "done"
    assert files(asking) == ["SV.result.json"]


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/shadow", path)]
)
def test_what_was_exchanged_at_the_last_moment_is_not_opened_and_ends_too(
    asking: Spool, make: Callable[[str], None]
) -> None:
    make(asking.control.withdrawn_path(SV, "id"))

    clean_up(asking)

    assert asking.control.withdrawn() == []
    assert [result["request"] for result in kept_results(asking)] == [{}]


class Crash(Exception):
    """The process died."""


class Effects:
    """Fails the n-th effect on the file system and every one after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
        self.left = left
        for name in EFFECTS:
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))
        monkeypatch.setattr(
            "dsgmigd.spool.withdrawal.rename_noreplace", self._counted(rename_noreplace)
        )

    def _counted(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **keywords: Any) -> Any:
            if self.left == 0:
                raise Crash
            self.left -= 1
            return effect(*arguments, **keywords)

        return counted


def crash_at_every_effect(
    directory: Path,
    prepare: Callable[[Spool], object],
    action: Callable[[Spool], object],
    check: Callable[[Spool], None],
) -> int:
    """Run `action` in fresh spools, dying before its n-th effect, then `check` what is left."""
    for count in range(100):
        (directory / str(count)).mkdir()
        spool = Spool(str(directory / str(count)), instance=1)
        spool.prepare()
        spool.instances.lock().release()
        prepare(spool)
        with pytest.MonkeyPatch.context() as patch:
            Effects(patch, count)
            try:
                action(spool)
                is_whole = True
            except Crash:
                is_whole = False
        check(spool)
        if is_whole:
            return count
    pytest.fail("it never ends")


def test_a_crash_anywhere_in_the_cancel_of_a_waiting_request_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    """Either it waits still, or clean_up gives it its one result."""
    ends = set()

    def check(spool: Spool) -> None:
        clean_up(spool)
        results = kept_results(spool)
        ends.add(len(results))
        if spool.waiting():
            assert (results, files(spool)) == ([], ["SV.request"])
            return
        assert [result["outcome"] for result in results] == ["cancelled"]
        assert results[0]["request"] == {"note": "mine"}
        assert spool.results.newest(SV) == results[0]
        assert files(spool) == ["SV.result.json"]

    def submit(spool: Spool) -> None:
        submit_request(spool, SV, Request(note="mine"))

    assert crash_at_every_effect(tmp_path, submit, cancelled, check) > len(EFFECTS)
    assert ends == {0, 1}


def test_a_crash_anywhere_in_the_cancel_of_a_running_request_tells_it_or_does_not(
    tmp_path: Path,
) -> None:
    """The claim is as it was; a whole word to its worker is there or not, and goes with it."""
    claims: list[Claim] = []
    told = set()

    def check(spool: Spool) -> None:
        claim = claims[-1]
        cancel_request = spool.control.cancel_for(SV, claim.request_id)
        told.add(cancel_request)
        assert cancel_request in (None, Cancel(claim.request_id, discard=False))
        assert claimed_request_id(spool, SV) == claim.request_id
        finish(spool, claim)
        clean_up(spool)
        assert spool.control.cancels() == []
        assert set(files(spool)) - {"new"} == {"SV.result.json"}  # the next asking overwrites "new"

    crash_at_every_effect(tmp_path, lambda spool: claims.append(working(spool)), cancelled, check)
    assert len(told) > 1


def test_a_crash_anywhere_while_a_worker_ends_a_cancelled_request_is_gone_by_the_next_start(
    tmp_path: Path,
) -> None:
    """One result, `cancelled`; neither the claim nor the cancel stays."""
    claims: list[Claim] = []

    def prepare(spool: Spool) -> None:
        claims.append(working(spool))
        cancelled(spool)

    def check(spool: Spool) -> None:
        claims[-1].lock.release()
        clean_up(spool)
        adopted = adopt_claim(spool, SV, 1) if spool.records.claims() else None
        if adopted:
            end_cancelled(spool, adopted)
            adopted.lock.release()
        clean_up(spool)
        (result,) = kept_results(spool)
        assert (result["outcome"], result["request_id"]) == ("cancelled", claims[-1].request_id)
        assert spool.results.newest(SV) == result
        assert files(spool) == ["SV.result.json"]

    crashes = crash_at_every_effect(
        tmp_path, prepare, lambda spool: end_cancelled(spool, claims[-1]), check
    )
    assert crashes > len(EFFECTS)


def end_cancelled(spool: Spool, claim: Claim) -> None:
    cancel_request = spool.control.cancel_for(SV, claim.request_id)
    settings = Settings("/nowhere", DatasetName("no-such-pool"), "no-such-pool/.dsgmigd")
    Processing(
        claim,
        spool=spool,
        settings=settings,
        commands=Commands(),
        progress=Progress(cancel_requested=cancel_request is not None),
        maximum_attempts=3,
        retries=Retries(for_seconds=0),
        permission=Permission(settings),
    ).run()
