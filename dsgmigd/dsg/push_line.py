"""One line of a push log: which snapshot, who pushed it, when, and why.

The form is `SV/s7 | pball | 2014-05-07 17:27:26 UTC (Wed) | message text`. People also write such
lines by hand and by other tools, so these forms are read too: bars without blanks, or tabs in place
of bars; times of ISO 8601, of RFC 2822 and of date(1), and seconds since the epoch. A time must
have a zone: an offset, or a name that RFC 2822 defines. What could mean two times is not a time.

Raises: ValueError, with what is wrong in words.
"""

# strptime() imports it at its first call; then, during the work, a file may fail to open.
import _strptime  # type: ignore[import-not-found]  # noqa: F401
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from dsgmigd.names import NORMALISED, RepoName, SnapshotName

NO_MESSAGE = "--"
UNKNOWN_USER = "unknown"

_FIELDS = 4
_SEPARATORS = tuple(map(re.compile, (r" \| ", r"\s*\|\s*", r"\t+", r"\t")))
_SUBJECT = re.compile(r"[^|\t]*/(s[0-9]+)\s*(?:[|\t]|$)")
_CHARACTERS_SHOWN = 80

_TIME_FORMAT = "%Y-%m-%d %H:%M:%S UTC"
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
# RFC 2822, 4.3: other names of zones have no defined meaning.
_HOURS_OF_ZONE = dict.fromkeys(("Z", "UT", "UTC", "GMT"), 0) | {
    name: -hours
    for hours, names in ((4, "EDT"), (5, "EST CDT"), (6, "CST MDT"), (7, "MST PDT"), (8, "PST"))
    for name in names.split()
}
_CLOCK = (
    r"(?P<hour>\d{1,2}):?(?P<minute>\d\d)(?::?(?P<second>\d\d(?:[.,]\d+)?))?"
    r"(?: ?(?P<half>[AP]M))?"
)
_ZONE = r" *(?P<zone>[A-Z]{1,3}|[+-]\d\d(?::?\d\d)?)"
_DATE = r"(?P<year>\d{4})(?P<dash>[-/]?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
_DAY = r"(?:[A-Z][a-z]{2},? )?"
_MONTH = r"(?P<month>[A-Z][a-z]{2})[a-z]*"
_FORMS = tuple(
    re.compile(form, re.ASCII)
    for form in (
        rf"{_DATE}[T ]{_CLOCK}{_ZONE}",
        rf"{_DAY}(?P<day>\d{{1,2}}) {_MONTH} (?P<year>\d{{4}}) {_CLOCK}{_ZONE}",
        rf"{_DAY}{_MONTH} (?P<day>\d{{1,2}}) {_CLOCK}{_ZONE} (?P<year>\d{{4}})",
    )
)
_SECONDS = re.compile(r"@?(\d{9,11})", re.ASCII)
_YEAR_10000 = 253_402_300_800


@dataclass(frozen=True)
class Push:
    """What a line says: `pushed_at` is in seconds since the epoch."""

    user: str
    pushed_at: float
    message: str


def parse_line(text: str, repo: RepoName) -> tuple[SnapshotName, Push]:
    """Return the snapshot of `repo` that a line is about, and what it says."""
    problem: ValueError | None = None
    for separator in _SEPARATORS:
        fields = separator.split(text.strip(), _FIELDS - 1)
        if len(fields) == _FIELDS - 1:
            fields.append("")
        if len(fields) != _FIELDS:
            continue
        try:
            return _parse_fields([field.strip() for field in fields], repo)
        except ValueError as error:
            problem = problem or error
    raise problem or ValueError(f"not of the form REPO/sN | user | time | message: {_shown(text)}")


def named_snapshot(text: str) -> SnapshotName | None:
    """Return the snapshot that a line seems to be about, even if the rest of it cannot be read."""
    match = _SUBJECT.match(text.strip())
    return SnapshotName.parse(match[1]) if match and SnapshotName.is_valid(match[1]) else None


def _parse_fields(fields: list[str], repo: RepoName) -> tuple[SnapshotName, Push]:
    subject, user, time, message = fields
    owner, _, snapshot = subject.partition("/")
    if owner not in {repo, repo + NORMALISED} or not SnapshotName.is_valid(snapshot):
        raise ValueError(f"{_shown(subject)} is not a snapshot of {repo}")
    push = Push(user or UNKNOWN_USER, parse_time(time), message or NO_MESSAGE)
    return SnapshotName.parse(snapshot), push


def parse_time(text: str) -> float:
    """Return a time in seconds since the epoch."""
    plain = " ".join(text.partition(" (")[0].split())
    try:
        seconds = _seconds_of(plain)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{_shown(text)} is not a time of the form YYYY-MM-DD HH:MM:SS UTC"
        ) from error
    if seconds < 0:  # the year 1 has no time in Los Angeles
        raise ValueError(f"{_shown(text)} is a time before 1970")
    if seconds >= _YEAR_10000:
        raise ValueError(f"{_shown(text)} is a time after the year 9999")
    return seconds


def _seconds_of(text: str) -> float:
    try:
        return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        pass
    if match := _SECONDS.fullmatch(text):
        return float(match[1])
    for form in _FORMS:
        if match := form.fullmatch(text):
            return datetime.fromisoformat(_iso_time(match)).timestamp()
    raise ValueError("no known form")


def _iso_time(match: re.Match[str]) -> str:
    """Return what matched one of `_FORMS` as ISO 8601 writes it."""
    month, zone = match["month"], match["zone"]
    if not month.isdecimal():
        month = f"{_MONTHS.index(month) // 3 + 1:02}"
    if zone[0] not in "+-":
        if zone not in _HOURS_OF_ZONE:
            raise ValueError(f"unknown zone {zone}")
        zone = f"{_HOURS_OF_ZONE[zone]:+03}"
    hour = int(match["hour"])
    if match["half"]:
        if not 1 <= hour <= 12:  # noqa: PLR2004 # of a clock
            raise ValueError(f"no hour {hour} {match['half']}")
        hour = hour % 12 + 12 * (match["half"] == "PM")
    date = f"{match['year']}-{month}-{int(match['day']):02}"
    return f"{date}T{hour:02}:{match['minute']}:{match['second'] or '00'}{zone}"


def _shown(text: str) -> str:
    is_long = len(text) > _CHARACTERS_SHOWN
    return repr(text[:_CHARACTERS_SHOWN]) + ("…" if is_long else "")
