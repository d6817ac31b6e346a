"""The push log: who made a snapshot, when and why.

A line is `SV/s7 | pball | 2014-05-07 17:27:26 UTC (Wed) | message text`; the message may hold
" | ", and an empty one is written as `--`. The repository's name is data, not a pattern; that of
its normalised copy, `SV-norm`, means the same repository, because no other can be called so.

The same growing log lies in every snapshot. `PushLogs` takes all of them, the newest first, and its
work is linear all the same: a file that is how a newer one begins says nothing new and is only
compared with it, byte for byte; of any other file the lines that a newer one has are looked up, not
parsed. So each distinct line is parsed once, and what files say against each other is still found.

No error leaves this module: what cannot be read is a warning.
"""

# strptime() imports it at its first call, in the middle of work, when a file may not open.
import _strptime  # type: ignore[import-not-found]  # noqa: F401
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from dsgmigd.names import RepoName, SnapshotName

NO_MESSAGE = "--"
UNKNOWN_USER = "unknown"

_SEPARATOR = " | "
_FIELDS = 4
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S UTC"
_NORMALISED = "-norm"
_CONTENTS_KEPT = 8
_WARNINGS_SHOWN = 20
_CHARACTERS_SHOWN = 80


@dataclass(frozen=True)
class Push:
    """One line: `pushed_at` is in seconds since the epoch."""

    user: str
    pushed_at: float
    message: str


@dataclass(frozen=True)
class LogFile:
    """One push log; `origin` names it in warnings, `problem` is why it could not be read."""

    origin: str
    content: bytes = b""
    problem: str | None = None


@dataclass(frozen=True)
class _Said:
    """What a line says, and where it stands."""

    push: Push
    origin: str
    number: int

    @property
    def place(self) -> str:
        return f"{self.origin}, line {self.number}"


class PushLogs:
    """What the push logs of `repo` say of the snapshots in `wanted`, a line of the newest first."""

    def __init__(self, repo: RepoName, wanted: Iterable[SnapshotName]) -> None:
        self._repo = repo
        self._wanted = frozenset(wanted)
        self._said: dict[SnapshotName, _Said] = {}
        self._contents: deque[bytes] = deque(maxlen=_CONTENTS_KEPT)
        self._lines: set[bytes] = set()
        self.warnings: list[str] = []

    def pushes(self) -> dict[SnapshotName, Push]:
        """Return what is known; a snapshot without a line is not there."""
        return {name: said.push for name, said in self._said.items()}

    def take(self, file: LogFile) -> None:
        """Take in one more file, which is older than those before."""
        if file.problem is not None:
            self.warnings.append(f"{file.origin} cannot be read: {file.problem}")
            return
        if any(content.startswith(file.content) for content in self._contents):
            return
        self._contents.append(file.content)
        warnings: list[str] = []
        for name, said in self._read(file, warnings).items():
            newer = self._said.setdefault(name, said)
            if newer.push != said.push:
                warnings.append(_contradiction(name, newer, said))
        if len(warnings) > _WARNINGS_SHOWN:
            more = f"{file.origin}: {len(warnings) - _WARNINGS_SHOWN} more such lines"
            warnings[_WARNINGS_SHOWN:] = [more]
        self.warnings += warnings

    def _read(self, file: LogFile, warnings: list[str]) -> dict[SnapshotName, _Said]:
        """Return what the lines say that no newer file has; of several in one file the last."""
        found: dict[SnapshotName, _Said] = {}
        lines = file.content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            if line in self._lines or not line.strip():
                continue
            try:
                name, push = _parse_line(_decode(line), self._repo)
            except ValueError as error:
                warnings.append(f"{file.origin}, line {number}: {error}")
                continue
            if name not in self._wanted:
                continue
            said = _Said(push, file.origin, number)
            if not _is_text(line):
                warnings.append(f"{said.place}: not UTF-8; odd bytes are written as \\xNN")
            before = found.get(name)
            if before is not None and before.push != push:
                warnings.append(_contradiction(name, said, before))
            found[name] = said
        self._lines.update(lines)
        return found


def find_pushes(
    files: Iterable[LogFile], repo: RepoName, wanted: Iterable[SnapshotName]
) -> tuple[dict[SnapshotName, Push], list[str]]:
    """Return the push of each wanted snapshot, from `files` given newest first, and warnings.

    A snapshot without a line is not in the answer.
    """
    logs = PushLogs(repo, wanted)
    for file in files:
        logs.take(file)
    return logs.pushes(), logs.warnings


def _parse_line(text: str, repo: RepoName) -> tuple[SnapshotName, Push]:
    fields = text.strip().split(_SEPARATOR, _FIELDS - 1)
    if len(fields) == _FIELDS - 1:
        fields.append("")
    if len(fields) != _FIELDS:
        raise ValueError(f"not REPO/sN | user | time | message: {_shown(text)}")
    subject, user, time, message = (field.strip() for field in fields)
    owner, _, snapshot = subject.partition("/")
    if owner not in {repo, repo + _NORMALISED} or not SnapshotName.is_valid(snapshot):
        raise ValueError(f"{_shown(subject)} is not a snapshot of {repo}")
    push = Push(user or UNKNOWN_USER, _parse_time(time), message or NO_MESSAGE)
    return SnapshotName.parse(snapshot), push


def _parse_time(text: str) -> float:
    try:
        moment = datetime.strptime(text.partition(" (")[0], _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"{_shown(text)} is not a time: YYYY-MM-DD HH:MM:SS UTC") from error
    if moment.timestamp() < 0:  # the first years of all have no time in Los Angeles
        raise ValueError(f"{_shown(text)} is a time before 1970")
    return moment.timestamp()


def _decode(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")


def _is_text(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _shown(text: str) -> str:
    is_long = len(text) > _CHARACTERS_SHOWN
    return repr(text[:_CHARACTERS_SHOWN]) + ("…" if is_long else "")


def _contradiction(name: SnapshotName, taken: _Said, other: _Said) -> str:
    return f"{name}: taken from {taken.place}; {other.place} says something else"
