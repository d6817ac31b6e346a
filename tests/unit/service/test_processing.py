"""What becomes of one claim: real spool, a target that is not there."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dsgmigd import errors
from dsgmigd.errors import DsgmigdError, RequestCancelled, SpoolFailing
from dsgmigd.host.command import Commands
from dsgmigd.migration.job import Settings
from dsgmigd.migration.migration import Migration
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.published_check import PublishedCheck
from dsgmigd.migration.report import Report
from dsgmigd.names import DatasetName, RepoName
from dsgmigd.service.permission import Permission
from dsgmigd.service.policy import Retries
from dsgmigd.service.processing import Processing
from dsgmigd.spool.claim import Claim
from dsgmigd.spool.claim_record import Attempt
from dsgmigd.spool.claiming import adopt_claim, claim_request
from dsgmigd.spool.control import Cancel
from dsgmigd.spool.deferral import Moment
from dsgmigd.spool.results import Results
from dsgmigd.spool.spool import Spool
from tests.unit.failing import failing

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
    claim = claim_request(spool, "SV")
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
        permission=Permission(SETTINGS),
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
        spool.records.begin_attempt(claim, Attempt(1))

    result = process(spool, claim)

    assert result["error"]["code"] == "crash_loop"
    assert result["attempts"] == [{"instance": 1}] * 3


def test_two_crashes_do_not_end_a_request(spool: Spool) -> None:
    claim = claim_of(spool)
    for _ in range(2):
        spool.records.begin_attempt(claim, Attempt(1))

    assert process(spool, claim)["error"]["code"] != "crash_loop"


def test_a_stop_keeps_the_claim_and_writes_no_result(spool: Spool) -> None:
    claim = claim_of(spool)

    assert process(spool, claim, Progress(stop_requested=True)) == {}

    claim.lock.release()
    adopted = adopt_claim(spool, SV, 3)
    assert adopted is not None
    assert adopted.crashes == 0
    assert [attempt.ended for attempt in adopted.attempts] == ["stopped"]


def test_a_cancelled_request_ends_for_good_without_another_attempt(spool: Spool) -> None:
    claim = claim_of(spool, '{"limit": 2}')
    for _ in range(3):
        spool.records.begin_attempt(claim, Attempt(1))
    spool.control.ask_to_cancel(SV, Cancel(claim.request_id, discard=False))

    result = process(spool, claim, Progress(cancel_requested=True))

    assert (result["outcome"], result["error"]["code"]) == ("cancelled", "cancelled")
    assert "continues after" in result["error"]["hint"]
    assert len(result["attempts"]) == 3
    assert spool.records.claims() == []
    assert spool.control.cancels() == []


@pytest.mark.parametrize(
    ("body", "method"),
    [
        ('{"verify_only": true}', "verify"),
        ('{"verify_only": true, "without_source": true}', "check"),
    ],
)
def test_a_request_to_verify_only_migrates_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, body: str, method: str
) -> None:
    monkeypatch.setattr(Migration, "run", raising(AssertionError("migrated")))
    asked: list[str] = []

    def verify(_: PublishedCheck, *, level: str) -> Report:
        asked.append(level)
        return Report(outcome="verified")

    monkeypatch.setattr(PublishedCheck, method, verify)
    assert process(spool, claim_of(spool, body))["outcome"] == "verified"
    assert asked == ["complete"]


def test_a_cancelled_verification_ends_and_cleans_up_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("take_back", "discard", "release_pins"):
        monkeypatch.setattr(Migration, name, raising(AssertionError(name)))
    claim = claim_of(spool, '{"verify_only": true}')
    result = process(spool, claim, Progress(cancel_requested=True))
    assert (result["outcome"], result["warnings"]) == ("cancelled", [])


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_only_a_cancelled_request_gives_up_its_pins(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, *, is_cancelled: bool
) -> None:
    """A stopped one continues from what they hold."""
    released: list[str] = []
    monkeypatch.setattr(
        Migration, "release_pins", lambda migration: released.append(migration.job.request_id)
    )
    claim = claim_of(spool)
    process(spool, claim, Progress(cancel_requested=is_cancelled, stop_requested=not is_cancelled))
    assert released == [claim.request_id] * is_cancelled


def test_a_cancel_wins_over_a_stop_that_comes_with_it(spool: Spool) -> None:
    progress = Progress(stop_requested=True, cancel_requested=True)

    with pytest.raises(RequestCancelled):
        progress.checkpoint()
    assert process(spool, claim_of(spool), progress)["outcome"] == "cancelled"


def test_what_cannot_be_discarded_is_said_in_the_result(spool: Spool) -> None:
    claim = claim_of(spool)
    spool.control.ask_to_cancel(SV, Cancel(claim.request_id, discard=True))

    result = process(spool, claim, Progress(cancel_requested=True))

    assert any("cleaning up failed" in warning for warning in result["warnings"])
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
    assert "the pool no-such-pool is not available" in deferral.error["message"]
    adopted = adopt_claim(spool, SV, 3)
    assert adopted is not None
    (attempt,) = adopted.attempts
    assert attempt.ended == "deferred"
    assert attempt.not_before == deferral.not_before
    assert attempt.error == deferral.error
    assert adopted.crashes == 0


def test_after_all_waits_the_failure_is_the_result(spool: Spool) -> None:
    claim = claim_of(spool)
    for _ in range(3):
        assert process(spool, claim, retries=Retries(10, 40, for_seconds=70)) == {}

    result = process(spool, claim, retries=Retries(10, 40, for_seconds=70))

    assert result["error"]["code"] == "target_unavailable"
    assert [attempt["ended"] for attempt in result["attempts"]] == [*["deferred"] * 3, "failed"]


# A worker does not make a result of them: they leave the claim as it is.
NO_RESULT = {"spool_io"}
NO_FAILURE = {
    "invalid_request": "rejected",
    "invalid_name": "rejected",
    "target_differs": "differs",
}


def every_error() -> dict[str, DsgmigdError]:
    """Return one error of each class, by its code."""
    made = [
        kind("made up", hint="do this")
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, DsgmigdError)
        and kind.__init__ is DsgmigdError.__init__
        and kind is not DsgmigdError
    ]
    made += [
        errors.SpoolReplaced("/spool"),
        errors.CommandFailed(("zfs", "list"), status=1, stderr="made up"),
        errors.CommandTimedOut(("zfs", "list"), timeout_seconds=1),
    ]
    return {error.code: error for error in made if error.code not in NO_RESULT}


def test_every_class_of_error_is_tried_below() -> None:
    kinds = {type(error) for error in every_error().values()}
    below = errors.VerificationFailed.__subclasses__()
    assert kinds == {*DsgmigdError.__subclasses__(), *below} - {SpoolFailing}
    assert {error.error_class for error in every_error().values()} == {
        *("transient", "permanent", "operator")
    }


@pytest.mark.parametrize("code", sorted(every_error()))
def test_an_error_of_a_run_is_retried_if_it_is_transient_and_is_the_result_otherwise(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    error = every_error()[code]
    monkeypatch.setattr(Migration, "run", raising(error))
    claim = claim_of(spool)
    result = process(spool, claim, retries=Retries(3600, 3600))
    claim.lock.release()
    if error.error_class == "transient":
        assert result == {}
        deferral = spool.records.deferral(SV, 3)
        assert deferral is not None
        assert deferral.error["code"] == code
        return
    assert spool.records.claims() == []
    assert result["outcome"] == NO_FAILURE.get(code, "failed")
    told = {"code": code, "class": error.error_class, "message": error.message, "hint": error.hint}
    assert result["error"] == told


@pytest.mark.parametrize("code", sorted(every_error()))
def test_no_error_is_retried_when_nothing_is_to_be_retried(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(Migration, "run", raising(every_error()[code]))
    result = process(spool, claim_of(spool), retries=AT_ONCE)
    assert (result["error"]["code"], spool.records.claims()) == (code, [])


def raising(error: Exception) -> Callable[..., NoReturn]:
    def fail(*_: object) -> NoReturn:
        raise error

    return fail


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
    assert os.listdir(spool.layout.work) == []


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
    with pytest.raises(SpoolFailing, match="recording that the work begins failed"):
        process(spool, claim)
    claim.lock.release()
    adopted = adopt_claim(spool, SV, 3)
    assert adopted is not None
    assert adopted.attempts == ()


def test_nothing_begins_without_the_space_for_its_line_in_the_ledger(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsgmigd.host.durable.reserve_space", failing(errno.ENOSPC))
    claim = claim_of(spool)
    with pytest.raises(SpoolFailing, match="recording that the work begins failed"):
        process(spool, claim)
    claim.lock.release()
    adopted = adopt_claim(spool, SV, 3)
    assert adopted is not None
    assert adopted.attempts == ()


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
    adopted = adopt_claim(spool, SV, 3)
    assert adopted is not None
    assert ([attempt.ended for attempt in adopted.attempts], adopted.crashes) == (
        ["not begun"],
        0,
    )


def test_an_attempt_that_died_stays_so_when_the_next_cannot_be_begun(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.ENOSPC, "made up")

    claim = claim_of(spool)
    spool.records.begin_attempt(claim, Attempt(1))
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
    assert any("differences could not be published: made up" in one for one in result["warnings"])


# What a member may ask for.


def submitted_by_a_member(claim: Claim) -> Claim:
    member = {"uid": 4_000_000_000, "user": "ana", "gid": 5, "group": "dsgmigd"}
    claim.record = replace(claim.record, submitted_by=member)
    return claim


@pytest.mark.parametrize(
    "body", ['{"replace": true}', '{"allow_loss": ["acl"]}', '{"verify": "structure"}']
)
def test_a_member_who_asks_for_less_than_the_configuration_is_refused_before_anything_begins(
    spool: Spool, body: str
) -> None:
    claim = submitted_by_a_member(claim_of(spool, body))
    result = process(spool, claim)
    claim.lock.release()

    assert (result["outcome"], result["attempts"]) == ("rejected", [])
    assert "user ana may not ask for" in result["error"]["message"]
    assert result["submitted_by"]["user"] == "ana"
    assert process(spool, claim_of(spool, body))["outcome"] == "failed"  # of the daemon's user


def test_a_claim_that_was_begun_is_refused_too_if_its_submitter_may_not_ask_for_it(
    spool: Spool,
) -> None:
    """The configuration may have become stricter since."""
    claim = submitted_by_a_member(claim_of(spool, '{"replace": true}'))
    spool.records.begin_attempt(claim, Attempt(3))
    assert process(spool, claim)["outcome"] == "rejected"
