"""The result of one request: what REPO.result.json says.

`outcome` is `done`, `up_to_date`, `verified`, `failed`, `cancelled` or `rejected`. `error` stands
exactly with the last three. A result repeats the request, so that an old one is never taken for the
answer to a new one.
"""

import platform
from datetime import UTC, datetime
from typing import Any

from dsgmigd import __version__
from dsgmigd.errors import DsgmigdError
from dsgmigd.report import Report

SCHEMA = 1

_OUTCOMES = {"invalid_request": "rejected", "invalid_name": "rejected", "cancelled": "cancelled"}


def success(report: Report) -> dict[str, Any]:
    """Return the part of a result that says that all went well."""
    return {"outcome": report.outcome, "error": None, **report.to_json()}


def failure(error: DsgmigdError, report: Report | None = None) -> dict[str, Any]:
    """Return the part of a result that says what went wrong, and how far it had come."""
    return {
        "outcome": _OUTCOMES.get(error.code, "failed"),
        "error": {
            "code": error.code,
            "class": error.error_class,
            "message": error.message,
            "hint": error.hint,
        },
        **(report or Report()).to_json(),
    }


def envelope(
    *,
    request_id: str,
    repo: str,
    options: dict[str, Any],
    instance: int,
    started_at: float,
    finished_at: float,
) -> dict[str, Any]:
    """Return the part of a result that says which request it answers, and who answered when."""
    return {
        "schema": SCHEMA,
        "request_id": request_id,
        "repo": repo,
        "request": options,
        "instance": instance,
        "host": platform.node(),
        "versions": {
            "dsgmigd": __version__,
            "python": platform.python_version(),
            "kernel": platform.release(),
        },
        "started_at": iso_time(started_at),
        "finished_at": iso_time(finished_at),
        "seconds": round(finished_at - started_at, 3),
    }


def iso_time(timestamp: float) -> str:
    """Return seconds since the epoch in UTC, to the millisecond."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")
