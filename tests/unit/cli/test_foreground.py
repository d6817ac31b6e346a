"""Runs in the foreground: their results are kept, and the ledger tells of them."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.cli.foreground import ForegroundRun, kept_run
from dsgmigd.errors import SpoolFailing, VerificationFailed
from dsgmigd.maintenance.ledger_check import check_ledger
from dsgmigd.migration.report import Report, SnapshotRow
from dsgmigd.migration.result import Ending
from dsgmigd.names import RepoName
from dsgmigd.request import Request
from dsgmigd.spool.results import Results
from dsgmigd.spool.spool import Spool
from dsgmigd.verification.findings import Verification
from tests.unit.cli.commands import run
from tests.unit.failing import failing
from tests.unit.spool.claims import kept_results, lines_of
from tests.unit.spool.crashes import is_killed_after

SV = RepoName("SV")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(str(tmp_path))
    spool.prepare()
    return spool


def verified_report() -> Report:
    row = SnapshotRow("s1", None, is_pinned=False)
    row.verification = Verification("complete")
    return Report(outcome="verified", snapshots=[row])


def run_once(spool: Spool, ending: Ending) -> dict[str, Any]:
    told = ForegroundRun("SV", Request(), None)
    with kept_run(spool, "verify", SV, told.request_id) as one:
        result = told.result_of(ending)
        one.keep(result)
    return result


def test_a_result_is_kept_and_recorded_and_is_no_answer_to_a_request(spool: Spool) -> None:
    result = run_once(spool, Ending(verified_report()))
    assert kept_results(Path(spool.directory)) == [result]
    assert spool.results.newest(SV) is None
    assert spool.results.last(SV) is None
    begun, ended = lines_of(spool)
    assert (begun["act"], begun["outcome"], begun["result"]) == ("verify", "begun", None)
    assert begun["request_id"] == ended["request_id"] == result["request_id"]
    assert (ended["outcome"], ended["result"]) == ("verified", f"SV.{result['request_id']}.json")
    assert check_ledger(spool).results == 1
    assert os.listdir(spool.layout.work) == []


def test_a_run_that_failed_is_told_with_its_error(spool: Spool) -> None:
    error = VerificationFailed("they differ", hint="look")
    run_once(spool, Ending(verified_report(), error))
    ended = lines_of(spool)[1]
    assert (ended["outcome"], ended["error"]) == ("failed", "verification_failed")
    assert check_ledger(spool).is_intact


def test_what_verified_is_shown_as_verified_only_if_it_was_a_success(spool: Spool) -> None:
    shown = Path(spool.layout.verified_result(SV))
    run_once(spool, Ending(verified_report(), VerificationFailed("they differ", hint="look")))
    run_once(spool, Ending(Report(outcome="up_to_date")))
    assert not shown.exists()
    result = run_once(spool, Ending(verified_report()))
    run_once(spool, Ending(Report(outcome="up_to_date")))
    assert json.loads(shown.read_text()) == result


@pytest.mark.parametrize("call", ["posix_fallocate", "write"])
def test_without_room_nothing_begins(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(errno.ENOSPC))
        with (
            pytest.raises(SpoolFailing, match="verify was not begun"),
            kept_run(spool, "verify", SV, "id"),
        ):
            pytest.fail("it has begun")
    assert lines_of(spool) == []
    assert os.listdir(spool.layout.work) == []


def test_a_result_that_cannot_be_kept_says_so(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Results, "keep_foreground", failing(errno.EIO))
    result = run_once(spool, Ending(verified_report()))
    assert result["warnings"] == ["this result could not be kept: Input/output error"]
    ended = lines_of(spool)[1]
    assert (ended["outcome"], ended["result"]) == ("verified", None)


def test_a_run_that_is_killed_anywhere_was_begun_and_ended_only_with_its_result(
    spool: Spool,
) -> None:
    seen = set()
    for count in range(100):
        before = len(lines_of(spool))
        is_killed = is_killed_after(count, lambda: run_once(spool, Ending(verified_report())))
        assert check_ledger(spool).is_intact, "every result has a line"
        new = [(line["outcome"], bool(line["result"])) for line in lines_of(spool)[before:]]
        seen.add(tuple(new))
        if not is_killed:
            break
    assert not is_killed
    assert seen == {(), (("begun", False),), (("begun", False), ("verified", True))}


def test_a_command_that_cannot_tell_the_end_of_its_work_warns(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work was done: here it failed, and the result says that."""
    real = os.write
    ledger = Spool(str(config.parent / "spool")).layout.ledger

    def full(descriptor: int, content: Any) -> int:
        is_ledger = os.readlink(f"/proc/self/fd/{descriptor}") == ledger
        if is_ledger and b'"begun": 1' in bytes(content):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, content)

    monkeypatch.setattr(os, "write", full)
    done = run(config, "migrate", "SV", "--json")
    result = json.loads(done.output[done.output.index("{\n") :])  # behind what is logged
    assert (result["outcome"], result["error"]["code"]) == ("failed", "target_unavailable")
    assert "migrate ended as failed, but the ledger cannot be written" in result["warnings"][-1]


def test_a_run_that_never_began_has_neither_line_nor_result(config: Path) -> None:
    spool = Spool(str(config.parent / "spool"))
    spool.prepare()
    lock = spool.lock_repository(SV)
    assert lock is not None
    assert json.loads(run(config, "migrate", "SV", "--json").stdout)["outcome"] == "failed"
    lock.release()
    assert json.loads(run(config, "migrate", "a/b", "--json").stdout)["outcome"] == "rejected"
    assert lines_of(spool) == []
    assert kept_results(config.parent / "spool") == []
