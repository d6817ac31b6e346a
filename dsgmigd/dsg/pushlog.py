"""The push log: who made a snapshot, when and why.

A line is `SV/s7 | pball | 2014-05-07 17:27:26 UTC (Wed) | message text`; the message may hold
" | ", and an empty one is written as `--`. The repository's name is data, not a pattern.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from dsgmigd.names import RepoName, SnapshotName

NO_MESSAGE = "--"
UNKNOWN_USER = "unknown"

_SEPARATOR = " | "
_FIELDS = 4
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S UTC"


@dataclass(frozen=True)
class Push:
    """One line: `pushed_at` is in seconds since the epoch."""

    user: str
    pushed_at: float
    message: str


@dataclass(frozen=True)
class PushLog:
    """What one file says, with a warning for each line that says nothing usable."""

    pushes: dict[SnapshotName, Push]
    warnings: tuple[str, ...]


def parse_push_log(content: bytes, repo: RepoName, *, origin: str) -> PushLog:
    """Return the pushes of `repo` in a push log; `origin` names the file in warnings."""
    pushes: dict[SnapshotName, Push] = {}
    warnings = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        text = line.decode("utf-8", "replace").strip()
        if not text:
            continue
        try:
            name, push = _parse_line(text, repo)
        except ValueError as error:
            warnings.append(f"{origin}, line {number}: {error}")
        else:
            pushes[name] = push
    return PushLog(pushes, tuple(warnings))


def _parse_line(text: str, repo: RepoName) -> tuple[SnapshotName, Push]:
    fields = text.split(_SEPARATOR, _FIELDS - 1)
    if len(fields) == _FIELDS - 1:
        fields.append("")
    if len(fields) != _FIELDS:
        raise ValueError("not REPO/sN | user | time | message")
    subject, user, time, message = (field.strip() for field in fields)
    owner, _, snapshot = subject.partition("/")
    if owner != repo or not SnapshotName.is_valid(snapshot):
        raise ValueError(f"{subject!r} is not a snapshot of {repo}")
    moment = datetime.strptime(time.partition(" (")[0], _TIME_FORMAT).replace(tzinfo=UTC)
    push = Push(user or UNKNOWN_USER, moment.timestamp(), message or NO_MESSAGE)
    return SnapshotName.parse(snapshot), push


def find_pushes(
    logs: Iterable[PushLog], wanted: Iterable[SnapshotName]
) -> tuple[dict[SnapshotName, Push], list[str]]:
    """Return the push of each wanted snapshot, from `logs` given newest first, and warnings.

    No more logs are taken than are needed. A snapshot without a line is not in the answer.
    """
    missing = set(wanted)
    found: dict[SnapshotName, Push] = {}
    warnings: dict[str, None] = {}
    for log in logs:
        warnings.update(dict.fromkeys(log.warnings))
        hits = missing & log.pushes.keys()
        found.update((name, log.pushes[name]) for name in hits)
        missing -= hits
        if not missing:
            break
    return found, list(warnings)
