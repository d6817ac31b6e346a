"""Results in the spool: kept, shown, and what stands in their way."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from dsgmigd.names import RepoName
from dsgmigd.request import Request
from dsgmigd.spool.claiming import finish_claim
from dsgmigd.spool.ledger_line import Entry
from dsgmigd.spool.results import has_verified, log_result
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from tests.unit.spool.claims import SV, claimed, kept_results, result_of
from tests.unit.spool.crashes import CutOffError, cut_off_after
from tests.unit.spool.occupants import make_directory, make_fifo, make_hard_link, make_symlink


def test_a_result_replaces_the_older_one_and_both_are_kept(spool: Spool, directory: Path) -> None:
    for note in ("first", "second"):
        submit_request(spool, SV, Request(note=note))
        claim = claimed(spool)
        finish_claim(spool, claim, result_of(claim, note=note))
        claim.lock.release()

    shown = spool.results.newest(SV)
    assert shown is not None
    assert shown["note"] == "second"
    assert sorted(result["note"] for result in kept_results(directory)) == ["first", "second"]
    assert spool.records.claims() == []


@pytest.mark.parametrize("ending", [".result.json", ".discrepancies.jsonl"])
@pytest.mark.parametrize("occupy", [make_directory, make_symlink, make_hard_link, make_fifo])
def test_what_a_user_put_where_a_result_belongs_gives_way_and_is_never_written_through(
    spool: Spool, directory: Path, occupy: Any, ending: str
) -> None:
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    occupy(directory / f"SV{ending}")
    Path(spool.results.discrepancies_path(SV)).write_text("found")

    assert spool.results.publish_discrepancies(SV) == "SV.discrepancies.jsonl"
    finish_claim(spool, claim, result_of(claim))

    assert spool.results.newest(SV) == result_of(claim)
    assert (directory / "SV.discrepancies.jsonl").read_text() == "found"
    assert len(kept_results(directory)) == 1
    secret = directory / "secret"
    assert not secret.exists() or secret.read_text() == "{}"
    if occupy is make_directory:
        (aside,) = (directory / "rejected").iterdir()
        assert [path.name for path in aside.iterdir()] == ["inside"]


def test_a_result_whose_name_is_taken_again_and_again_is_kept_and_the_journal_says_so(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    rename = os.rename

    def rename_then_occupy(old: str, new: str) -> None:
        rename(old, new)
        if old.endswith("SV.result.json"):
            make_directory(Path(old))

    make_directory(directory / "SV.result.json")
    monkeypatch.setattr("dsgmigd.spool.results.os.rename", rename_then_occupy)
    with structlog.testing.capture_logs() as logs:
        finish_claim(spool, claim, result_of(claim))

    events = [entry["event"] for entry in logs]
    assert events == ["result.not_shown", "ledger.recorded", "request.finished"]
    assert spool.results.newest(SV) is None
    assert spool.results.last(SV) == result_of(claim)
    assert spool.records.claims() == []


def publish(spool: Spool, request_id: str, **more: Any) -> None:
    spool.results.publish(SV, request_id, {"request_id": request_id, **more})


def test_a_result_is_found_by_its_request_and_by_its_repository_only(spool: Spool) -> None:
    assert spool.results.of_request(SV, "one") is None
    assert spool.results.newest(SV) is None
    publish(spool, "one")

    assert spool.results.of_request(SV, "one") == {"request_id": "one"}
    assert spool.results.newest(SV) == {"request_id": "one"}
    assert spool.results.of_request(RepoName("SV.one"), "one") is None
    assert spool.results.last(RepoName("S")) is None


def test_the_last_result_is_the_one_that_finished_last_whatever_a_user_shows(
    spool: Spool, directory: Path
) -> None:
    for request_id, finished_at in (("a", "2001"), ("b", "2003"), ("c", "2002")):
        publish(spool, request_id, finished_at=finished_at)
    (directory / "SV.result.json").unlink()
    (directory / "SV.result.json").write_text('{"request_id": "forged", "finished_at": "9999"}')
    (directory / ".dsgmigd/results/SV.torn.json").write_text("{")

    assert spool.results.last(SV) == {"request_id": "b", "finished_at": "2003"}


def test_a_result_is_for_everybody_to_read_and_ends_its_line(spool: Spool, directory: Path) -> None:
    publish(spool, "one")

    shown, kept = directory / "SV.result.json", directory / ".dsgmigd/results/SV.one.json"
    assert shown.stat().st_mode & 0o777 == 0o644
    assert shown.samefile(kept)
    assert shown.read_text() == '{\n "request_id": "one"\n}\n'
    assert os.listdir(spool.layout.work) == []


def test_a_kept_result_is_never_written_again(spool: Spool) -> None:
    publish(spool, "one", outcome="done")
    publish(spool, "one", outcome="failed")
    assert spool.results.of_request(SV, "one") == {"request_id": "one", "outcome": "done"}


def test_a_result_is_written_into_the_space_that_was_reserved_for_it(
    spool: Spool, directory: Path
) -> None:
    spool.results.reserve(SV)
    # Held open, so that no new file can have its inode number.
    with open(spool.layout.work_file(SV, "result", 1), "rb") as reserved:
        assert os.fstat(reserved.fileno()).st_blocks * 512 >= 256 * 1024

        publish(spool, "one")

        shown = (directory / "SV.result.json").stat()
        assert os.path.samestat(shown, os.fstat(reserved.fileno()))
    assert spool.results.newest(SV) == {"request_id": "one"}


def test_space_that_is_not_needed_is_given_back(spool: Spool) -> None:
    spool.results.reserve(SV)

    spool.results.release(SV)
    spool.results.release(SV)

    assert os.listdir(spool.layout.work) == []


def test_a_result_is_shown_again_over_what_a_user_wrote(spool: Spool, directory: Path) -> None:
    publish(spool, "one")
    (directory / "SV.result.json").unlink()
    (directory / "SV.result.json").write_text('{"request_id": "forged"}')
    Path(spool.layout.work_file(SV, "show", 1)).write_text("left by a crash")

    spool.results.show_again(SV, "one")

    assert spool.results.newest(SV) == {"request_id": "one"}
    assert spool.results.of_request(SV, "one") == {"request_id": "one"}


@pytest.mark.parametrize("is_reserved", [True, False])
def test_a_result_that_a_crash_cuts_off_is_published_by_the_next_try(
    spool: Spool, directory: Path, *, is_reserved: bool
) -> None:
    shown = []
    for count in range(20):
        if is_reserved:
            spool.results.reserve(SV)
        effects = cut_off_after(count)
        request_id = f"id{count}"
        try:
            publish(spool, request_id)
        except CutOffError:
            effects.undo()
        else:
            effects.undo()
            break
        newest = spool.results.newest(SV) or {}
        shown.append(newest.get("request_id") == request_id)
        if shown[-1]:
            assert spool.results.of_request(SV, request_id), "it is kept before it is shown"
        publish(spool, request_id)
        assert spool.results.newest(SV) == {"request_id": request_id}
        assert spool.results.of_request(SV, request_id) == {"request_id": request_id}
    assert {True, False} == set(shown)
    assert len(kept_results(directory)) == len(shown) + 1


def test_without_discrepancies_those_of_an_older_result_are_gone(
    spool: Spool, directory: Path
) -> None:
    (directory / "SV.discrepancies.jsonl").write_text("of an older result")

    assert spool.results.publish_discrepancies(SV) is None

    assert not (directory / "SV.discrepancies.jsonl").exists()


def test_the_result_of_an_impossible_name_lies_beside_the_rejected_file(
    spool: Spool, directory: Path
) -> None:
    spool.results.write_rejected("id", {"outcome": "rejected"})

    path = directory / "rejected/id.result.json"
    assert json.loads(path.read_text()) == {"outcome": "rejected"}
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_result_of_an_impossible_name_is_on_disk_before_its_line(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr("dsgmigd.spool.results.sync_directory", synced.append)
    spool.results.write_rejected("id", {"outcome": "rejected"})
    assert synced == [spool.layout.rejected]


ERROR = {"code": "target_full", "message": "no space", "hint": "make some"}
ROWS = [{"files": 2, "bytes": 10}, {"files": 3, "bytes": 5}]
COUNTS = {"snapshots": 2, "files": 5, "bytes": 15, "duration_usec": 1_500_000}


@pytest.mark.parametrize(
    ("result", "record"),
    [
        (
            {"outcome": "done", "error": None, "warnings": ["one"]},
            {"event": "request.finished", "log_level": "info", "warnings": 1},
        ),
        (
            {"outcome": "failed", "error": ERROR},
            {
                "event": "request.failed",
                "log_level": "error",
                "error_code": "target_full",
                "reason": "no space",
                "hint": "make some",
            },
        ),
        (
            {"outcome": "cancelled", "error": ERROR},
            {"event": "request.cancelled", "log_level": "warning"},
        ),
    ],
)
def test_the_journal_gets_one_record_of_each_result(
    result: dict[str, Any], record: dict[str, Any]
) -> None:
    with structlog.testing.capture_logs() as logs:
        log_result({"snapshots": ROWS, "seconds": 1.5, **result}, repo="SV")

    assert logs == [{"outcome": result["outcome"], "repo": "SV", **COUNTS, **record}]


def test_a_result_without_rows_is_recorded_as_well() -> None:
    with structlog.testing.capture_logs() as logs:
        log_result({"outcome": "up_to_date"})

    (told,) = logs
    assert (told["snapshots"], told["files"], told["duration_usec"]) == (0, 0, 0)


VERIFIED: dict[str, Any] = {"error": None, "verified_now": {"level": "complete"}}


@pytest.mark.parametrize(
    ("result", "is_so"),
    [
        (VERIFIED, True),
        ({**VERIFIED, "error": {"code": "verification_failed"}}, False),
        ({**VERIFIED, "verified_now": None}, False),
        ({"outcome": "up_to_date"}, False),
    ],
)
def test_a_result_has_verified_if_it_is_a_success_and_compared_a_snapshot(
    result: dict[str, Any], *, is_so: bool
) -> None:
    assert has_verified(result) == is_so


def test_what_verified_nothing_does_not_bury_what_did(spool: Spool, directory: Path) -> None:
    publish(spool, "one", **VERIFIED)
    shown = directory / "SV.verified.json"
    assert shown.samefile(directory / ".dsgmigd/results/SV.one.json")
    publish(spool, "two", outcome="up_to_date")
    assert json.loads(shown.read_text())["request_id"] == "one"
    publish(spool, "three", **VERIFIED)
    assert json.loads(shown.read_text())["request_id"] == "three"
    assert os.listdir(spool.layout.work) == []


def test_what_was_verified_is_shown_again_too(spool: Spool, directory: Path) -> None:
    publish(spool, "one", **VERIFIED)
    shown = directory / "SV.verified.json"
    shown.unlink()
    make_directory(shown)
    spool.results.show_again(SV, "one")
    assert json.loads(shown.read_text())["request_id"] == "one"


def test_the_result_of_a_command_is_kept_and_neither_shown_nor_the_last(
    spool: Spool, directory: Path
) -> None:
    publish(spool, "one", finished_at="2001")
    spool.results.reserve_foreground(SV)
    result = {"instance": 0, "request_id": "run", "finished_at": "2002", **VERIFIED}
    spool.results.keep_foreground(SV, "run", result)
    spool.results.release_foreground(SV)
    assert spool.results.of_request(SV, "run") == result
    assert (spool.results.newest(SV) or {})["request_id"] == "one"
    assert (spool.results.last(SV) or {})["request_id"] == "one"
    assert json.loads((directory / "SV.verified.json").read_text()) == result
    assert os.listdir(spool.layout.work) == []


def test_the_result_of_a_withdrawn_request_is_one_of_a_request(spool: Spool) -> None:
    publish(spool, "one", instance=0, submitted_by={"uid": 5}, finished_at="2001")
    assert (spool.results.last(SV) or {})["request_id"] == "one"


def test_the_ledger_is_no_result_of_a_repository_of_its_name(spool: Spool) -> None:
    spool.ledger.append(Entry("pause", "done", 0))
    assert spool.results.last(RepoName("ledger")) is None
