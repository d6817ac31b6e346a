"""The result of one request: what REPO.result.json contains.

`outcome` is `done`, `up_to_date`, `verified`, `differs`, `failed`, `cancelled` or `rejected`; the
last four have an `error`. A result repeats the request, so that nobody takes an old result for the
answer to a new request. docs/schemas/result.schema.json describes the format.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dsgmigd import __version__
from dsgmigd.errors import Explained
from dsgmigd.host.encoding import iso_time
from dsgmigd.migration.bounds import bounded
from dsgmigd.migration.report import Report

SCHEMA = 1

_OUTCOMES = {
    "invalid_request": "rejected",
    "invalid_name": "rejected",
    "cancelled": "cancelled",
    "target_differs": "differs",
}


@dataclass(frozen=True)
class Ending:
    """How the work on a request ended: its report, and the error if there was one."""

    report: Report = field(default_factory=Report)
    error: Explained | None = None

    @property
    def outcome(self) -> str:
        """The outcome, as the result names it."""
        return _OUTCOMES.get(self.error.code, "failed") if self.error else self.report.outcome


@dataclass(frozen=True)
class Result:
    """The answer to one request.

    `request` and `submission` repeat what was asked, by whom; instance 0 is a command in the
    foreground. `attempts_left_out` counts those that the claim no longer has. Times are seconds
    since the epoch.
    """

    ending: Ending
    request_id: str
    repo: str
    request: Mapping[str, Any]
    instance: int
    started_at: float
    finished_at: float
    submission: Mapping[str, Any] = field(default_factory=dict)
    attempts: Sequence[Mapping[str, Any]] = ()
    attempts_left_out: int = 0
    discrepancies_file: str | None = None
    warnings: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the result as it is written to disk."""
        error = self.ending.error
        document = {
            "outcome": self.ending.outcome,
            "error": _error_to_json(error) if error else None,
            **self.ending.report.to_json(),
            "schema": SCHEMA,
            "request_id": self.request_id,
            "repo": self.repo,
            "request": dict(self.request),
            "instance": self.instance,
            "host": platform.node(),
            "versions": {
                "dsgmigd": __version__,
                "python": platform.python_version(),
                "kernel": platform.release(),
            },
            "started_at": iso_time(self.started_at),
            "finished_at": iso_time(self.finished_at),
            "seconds": round(self.finished_at - self.started_at, 3),
        }
        document["warnings"] = [*document["warnings"], *self.warnings]
        document |= {
            **self.submission,
            "attempts": list(self.attempts),
            "discrepancies_file": self.discrepancies_file,
        }
        result = bounded(document)
        if self.attempts_left_out:
            result["left_out"]["attempts"] = self.attempts_left_out
        return result


def _error_to_json(error: Explained) -> dict[str, str]:
    return {
        "code": error.code,
        "class": error.error_class,
        "message": error.message,
        "hint": error.hint,
    }
