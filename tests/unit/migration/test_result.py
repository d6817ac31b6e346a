"""What REPO.result.json says: test_schemas.py has its form, this its meaning."""

import json
import platform
from typing import Any

import pytest

from dsgmigd import __version__
from dsgmigd.errors import (
    Explained,
    InvalidName,
    InvalidRequest,
    RequestCancelled,
    SourceMissing,
    TargetFull,
)
from dsgmigd.host.encoding import iso_time
from dsgmigd.migration.report import Outcome, Report
from dsgmigd.migration.result import Ending, Result

FAILED = SourceMissing("gone", hint="mount it")


def written(ending: Ending, **facts: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "request_id": "id",
        "repo": "SV",
        "request": {"limit": 2},
        "instance": 3,
        "started_at": 1_400_000_000.0,
        "finished_at": 1_400_000_001.23456,
    }
    return Result(ending, **(given | facts)).to_json()


# Outcomes and errors.


@pytest.mark.parametrize("outcome", ["done", "up_to_date", "verified"])
def test_without_an_error_the_outcome_is_that_of_the_report(outcome: Outcome) -> None:
    result = written(Ending(Report(outcome=outcome)))
    assert (result["outcome"], result["error"]) == (outcome, None)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (FAILED, "failed"),
        (TargetFull("full", hint=""), "failed"),
        (InvalidRequest("no", hint=""), "rejected"),
        (InvalidName("no", hint=""), "rejected"),
        (RequestCancelled(), "cancelled"),
    ],
)
def test_an_error_decides_the_outcome_whatever_was_done_before(
    error: Explained, outcome: str
) -> None:
    assert written(Ending(Report(outcome="up_to_date"), error))["outcome"] == outcome


def test_an_error_has_its_code_its_class_and_what_to_do() -> None:
    assert written(Ending(error=FAILED))["error"] == {
        "code": "source_missing",
        "class": "operator",
        "message": "gone",
        "hint": "mount it",
    }


def test_a_failed_request_shows_what_was_done_before() -> None:
    report = Report(level="changes", warnings=["w"])
    result = written(Ending(report, FAILED))
    assert (result["verified_now"], result["warnings"]) == (None, ["w"])


# What is repeated of the request.


def test_the_request_and_who_submitted_it_are_repeated() -> None:
    submitter = {"submitted_by": {"uid": 7}, "submitted_at": "then"}
    result = written(Ending(), submission=submitter, attempts=[{"instance": 3}])
    assert (result["request_id"], result["repo"], result["request"]) == ("id", "SV", {"limit": 2})
    assert (result["instance"], result["attempts"]) == (3, [{"instance": 3}])
    assert result.items() >= submitter.items()


def test_a_result_of_the_foreground_has_no_attempts_and_no_file_of_differences() -> None:
    result = written(Ending(), instance=0)
    assert (result["attempts"], result["discrepancies_file"]) == ([], None)
    assert "submitted_by" not in result


def test_warnings_of_the_queue_come_after_those_of_the_migration() -> None:
    report = Report(warnings=["of the migration"])
    result = written(Ending(report), warnings=["of the queue"], discrepancies_file="SV.d")
    assert result["warnings"] == ["of the migration", "of the queue"]
    assert result["discrepancies_file"] == "SV.d"
    assert report.warnings == ["of the migration"]


def test_a_result_has_bounds_and_says_what_it_lacks() -> None:
    report = Report(warnings=[f"{number}: {'w' * 100_000}" for number in range(3000)])
    result = written(Ending(report), attempts=[{"instance": 3}], attempts_left_out=7)
    assert len(json.dumps(result)) < 1_000_000
    assert result["left_out"] == {"warnings": 2800, "attempts": 7}
    assert len(report.warnings) == 3000


# Host, versions, times.


def test_a_result_says_where_and_by_what_it_was_made() -> None:
    result = written(Ending())
    assert (result["schema"], result["host"]) == (1, platform.node())
    assert result["versions"] == {
        "dsgmigd": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def test_times_are_in_utc_to_the_millisecond() -> None:
    result = written(Ending())
    assert result["started_at"] == "2014-05-13T16:53:20.000+00:00"
    assert result["finished_at"] == "2014-05-13T16:53:21.234+00:00"
    assert result["seconds"] == 1.235


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        (0, "1970-01-01T00:00:00.000+00:00"),
        (0.0005, "1970-01-01T00:00:00.000+00:00"),
        (1_400_000_000.9996, "2014-05-13T16:53:20.999+00:00"),
    ],
)
def test_a_time_is_cut_off_so_that_it_never_lies_in_the_future(timestamp: float, text: str) -> None:
    assert iso_time(timestamp) == text
