"""cancel, pause, resume and retry."""

import json
from pathlib import Path

from dsgmigd.spool.claim import Claim
from dsgmigd.spool.claim_record import Attempt
from dsgmigd.spool.claiming import claim_request
from dsgmigd.spool.spool import Spool
from tests.unit.cli.commands import run


def test_cancel_says_what_it_ended(config: Path) -> None:
    run(config, "submit", "SV", "--limit", "5")

    result = run(config, "cancel", "SV")

    assert result.exit_code == 0
    assert "SV: the waiting request is cancelled" in result.output
    assert not (config.parent / "spool/SV.request").exists()
    assert run(config, "cancel", "SV").exit_code == 1


def test_the_control_directory_is_for_its_owner_alone(config: Path) -> None:
    run(config, "pause", "SV")

    assert (config.parent / "spool/.dsgmigd/control").stat().st_mode & 0o777 == 0o700


def test_a_pause_is_taken_back_by_its_own_words_only(config: Path) -> None:
    run(config, "pause", "--all")

    assert run(config, "resume", "SV").output == "SV: was not paused\n"
    assert "paused: all instances\n" in run(config, "status").output
    assert run(config, "resume", "--all").output == "all instances: resumed\n"
    assert "paused" not in run(config, "status").output


def test_retry_asks_again_with_the_same_options(config: Path) -> None:
    run(config, "submit", "SV", "--limit", "5")
    run(config, "cancel", "SV")

    assert run(config, "retry", "SV").exit_code == 0
    assert json.loads((config.parent / "spool/SV.request").read_text()) == {"limit": 5}
    assert run(config, "retry", "SV").exit_code == 75


def keep_result(config: Path, finished_at: str, outcome: str, **more: object) -> None:
    directory = config.parent / "spool/.dsgmigd/results"
    result = {
        "request_id": finished_at,
        "outcome": outcome,
        "finished_at": finished_at,
        "request": {},
        **more,
    }
    (directory / f"SV.{finished_at}.json").write_text(json.dumps(result))


def test_retry_of_what_did_not_fail_says_why_not(config: Path) -> None:
    assert "has no result yet" in run(config, "retry", "SV").output
    keep_result(config, "2001", "failed")
    (config.parent / "spool/SV.result.json").write_text('{"outcome": "failed", "request": {}}')
    keep_result(config, "2002", "done")

    result = run(config, "retry", "SV")

    assert result.exit_code == 1
    assert "ended as done" in result.output
    assert not (config.parent / "spool/SV.request").exists()


def test_retry_does_not_ask_as_root_for_what_the_submitter_may_not(config: Path) -> None:
    run(config, "pause", "SV")
    member = {"uid": 4_000_000_000, "user": "ana"}
    asked = {"replace": True}
    keep_result(config, "2001", "cancelled", request=asked, submitted_by=member)

    result = run(config, "retry", "SV")

    assert result.exit_code == 2
    assert 'user ana may not ask for "replace": true' in result.output
    assert not (config.parent / "spool/SV.request").exists()


def test_retry_waits_for_nobody(config: Path) -> None:
    run(config, "pause", "SV")
    keep_result(config, "2001", "failed")
    Spool(str(config.parent / "spool"), 1).instances.lock().release()
    (config.parent / "spool/SV.claim.1").touch()

    result = run(config, "retry", "SV")

    assert (result.exit_code, "is being processed" in result.output) == (75, True)


def test_retry_of_what_has_its_result_does_not_wait_for_its_claim_to_go(config: Path) -> None:
    run(config, "submit", "SV", "--limit", "5")
    spool = Spool(str(config.parent / "spool"), 1)
    spool.prepare()
    claim = claim_request(spool, "SV")
    assert isinstance(claim, Claim)
    spool.records.begin_attempt(claim, Attempt(1))
    result = {"request_id": claim.request_id, "outcome": "failed", "request": {"limit": 5}}
    assert run(config, "retry", "SV").exit_code == 75
    spool.results.publish(claim.repo, claim.request_id, result)

    assert run(config, "retry", "SV").exit_code == 0
    assert json.loads((config.parent / "spool/SV.request").read_text()) == {"limit": 5}
