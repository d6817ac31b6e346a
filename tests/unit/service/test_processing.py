"""What becomes of one claim: real spool, a target that is not there."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.claim import Claim
from dsgmigd.command import Commands
from dsgmigd.control import Cancel
from dsgmigd.deferral import Moment, Retries
from dsgmigd.errors import RequestCancelled, SpoolFailing
from dsgmigd.names import DatasetName, RepoName
from dsgmigd.processing import Processing
from dsgmigd.progress import Progress
from dsgmigd.results import Results
from dsgmigd.settings import Settings
from dsgmigd.spool import Spool

SV = RepoName("SV")
AT_ONCE = Retries(for_seconds=0)
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


def process(
    spool: Spool, claim: Claim, progress: Progress | None = None, retries: Retries = AT_ONCE
) -> dict[str, Any]:
    Processing(
        claim,
        spool=spool,
        settings=SETTINGS,
        commands=Commands(),
        progress=progress or Progress(),
        maximum_attempts=3,
        retries=retries,
    ).run()
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
    assert spool.records.claims() == []


def test_a_body_that_is_no_request_is_rejected_without_an_attempt(spool: Spool) -> None:
    result = process(spool, claim_of(spool, '{"limt": 2}'))

    assert result["outcome"] == "rejected"
    assert "did you mean 'limit'" in result["error"]["message"]
    assert result["attempts"] == []


def test_after_three_crashes_a_request_is_given_up_without_another_attempt(spool: Spool) -> None:
    claim = claim_of(spool)
    for _ in range(3):
        spool.records.begin_attempt(claim, {"instance": 1})

    result = process(spool, claim)

    assert result["error"]["code"] == "crash_loop"
    assert result["attempts"] == [{"instance": 1}] * 3


def test_two_crashes_do_not_end_a_request(spool: Spool) -> None:
    claim = claim_of(spool)
    for _ in range(2):
        spool.records.begin_attempt(claim, {"instance": 1})

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
        spool.records.begin_attempt(claim, {"instance": 1})
    spool.control.ask_to_cancel(SV, Cancel(claim.request_id, discard=False))

    result = process(spool, claim, Progress(cancel_requested=True))

    assert (result["outcome"], result["error"]["code"]) == ("cancelled", "cancelled")
    assert "goes on after" in result["error"]["hint"]
    assert len(result["attempts"]) == 3
    assert spool.records.claims() == []
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


# Waiting for the target.


def test_a_failure_that_passes_puts_the_claim_off(spool: Spool) -> None:
    claim = claim_of(spool)

    assert process(spool, claim, retries=Retries(3600, 3600)) == {}

    claim.lock.release()
    deferral = spool.records.deferral(SV, 3)
    assert deferral is not None
    assert not deferral.is_due(Moment.now())
    assert deferral.error["code"] == "target_unavailable"
    assert "zpool import no-such-pool" in deferral.error["hint"]
    adopted = spool.adopt(SV, 3)
    assert adopted is not None
    (attempt,) = adopted.attempts
    assert attempt["ended"] == "deferred"
    assert attempt["not_before"] == deferral.not_before
    assert attempt["error"]["code"] == "target_unavailable"
    assert adopted.crashes == 0


def test_after_all_waits_the_failure_is_the_result(spool: Spool) -> None:
    claim = claim_of(spool)
    for _ in range(3):
        assert process(spool, claim, retries=Retries(10, 40, for_seconds=70)) == {}

    result = process(spool, claim, retries=Retries(10, 40, for_seconds=70))

    assert result["error"]["code"] == "target_unavailable"
    assert [attempt["ended"] for attempt in result["attempts"]] == [*["deferred"] * 3, "failed"]


def test_a_failure_that_does_not_pass_is_the_result(spool: Spool) -> None:
    claim = claim_of(spool)
    for _ in range(3):
        spool.records.begin_attempt(claim, {"instance": 1})

    assert process(spool, claim, retries=Retries())["error"]["code"] == "crash_loop"


# A spool that fails or is full.


def test_a_result_is_written_again_and_again_until_the_spool_takes_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [errno.ENOSPC, errno.EIO, errno.EROFS]
    real = os.link

    def failing(*arguments: Any, **options: Any) -> None:
        if failures:
            raise OSError(failures.pop(0), "made up")
        real(*arguments, **options)

    monkeypatch.setattr(os, "link", failing)
    progress = Progress()
    result = process(spool, claim_of(spool), progress)

    assert failures == []
    assert (result["outcome"], result["attempts"][0]["ended"]) == ("failed", "failed")
    assert progress.step == "result: writing the result failed in the spool: made up"
    assert spool.records.claims() == []
    assert os.listdir(spool.work_directory) == []


def test_a_stop_ends_the_wait_for_the_spool_and_keeps_the_claim(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress()

    def failing(*_: object, **__: object) -> None:
        progress.stop_requested = True
        raise OSError(errno.EIO, "made up")

    monkeypatch.setattr(os, "link", failing)
    with pytest.raises(SpoolFailing):
        process(spool, claim_of(spool), progress)
    assert spool.records.claims() == [("SV", 3)]
    assert spool.results.newest(SV) is None


def test_nothing_begins_without_the_space_for_its_result(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "made up")

    monkeypatch.setattr(os, "posix_fallocate", full)
    claim = claim_of(spool)
    with pytest.raises(SpoolFailing, match="noting that the work begins failed"):
        process(spool, claim)
    claim.lock.release()
    adopted = spool.adopt(SV, 3)
    assert adopted is not None
    assert adopted.attempts == []


def test_an_attempt_that_may_be_noted_but_did_not_begin_is_no_crash(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record was renamed into place, and then its directory could not be synced."""
    claim = claim_of(spool)
    errors = iter([0, errno.EIO])
    real = os.fsync

    def failing(descriptor: int) -> None:
        if number := next(errors, 0):
            raise OSError(number, "made up")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(SpoolFailing):
        process(spool, claim)
    claim.lock.release()
    adopted = spool.adopt(SV, 3)
    assert adopted is not None
    assert ([attempt["ended"] for attempt in adopted.attempts], adopted.crashes) == (
        ["not begun"],
        0,
    )


def test_an_attempt_that_died_stays_so_when_the_next_cannot_be_begun(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.ENOSPC, "made up")

    claim = claim_of(spool)
    spool.records.begin_attempt(claim, {"instance": 1})
    monkeypatch.setattr(Results, "reserve", failing)
    with pytest.raises(SpoolFailing):
        process(spool, claim)
    assert claim.crashes == 1


def test_differences_that_cannot_be_written_down_end_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "made up")

    monkeypatch.setattr(Results, "publish_discrepancies", failing)
    result = process(spool, claim_of(spool))
    assert result["discrepancies_file"] is None
    assert any("differences is not shown: made up" in one for one in result["warnings"])
