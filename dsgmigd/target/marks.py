"""What was found out about a snapshot, as its properties say it: pure rules.

    verified   LEVEL AT REQUEST_ID         compared with its source, and equal
    differs    COUNT LEVEL AGAINST AT REQUEST_ID
                                           so many differences, AGAINST the source or its manifests
    differs    none                        a later verification found no difference

AT is in UTC, to the second. Older versions wrote the level alone: such a mark has no time and no
request.

Raises: nothing. A mark that cannot be read is none; one of `differs` counts in any case.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from dsgmigd.request import VERIFY_LEVELS, VERIFY_STRENGTH, VerifyLevel, is_as_strong
from dsgmigd.target.layout import DIFFERS, VERIFIED

Against = Literal["source", "manifests"]
NO_DIFFERENCES = "none"

_AT_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
# A source is compared with contents and manifests alike: it is the stronger witness.
_WITNESSES: dict[Against, int] = {"manifests": 1, "source": 2}
_BY_NAME: dict[str, Against] = {one: one for one in _WITNESSES}
_LEVELS: dict[str, VerifyLevel] = {one: one for one in VERIFY_LEVELS}


@dataclass(frozen=True)
class Verified:
    """A snapshot was equal to its source at `level`; `at` and `request_id` may be unknown."""

    level: VerifyLevel
    at: str | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        return " ".join(part for part in (self.level, self.at, self.request_id) if part)

    def is_at_least(self, level: VerifyLevel | None) -> bool:
        """Say whether it is as strong as `level`; every mark is, if there is none."""
        return level is None or is_as_strong(self.level, level)

    def exceeds(self, level: VerifyLevel) -> bool:
        """Say whether it is stronger than `level`."""
        return not is_as_strong(level, self.level)

    def to_json(self) -> dict[str, str | None]:
        """Return an object `last_verified` of a result, see docs/schemas/result.schema.json."""
        return {"level": self.level, "at": self.at, "request_id": self.request_id}


@dataclass(frozen=True)
class Differs:
    """A verification found differences; nothing of it is known if the mark cannot be read."""

    count: int | None = None
    level: VerifyLevel | None = None
    against: Against | None = None
    at: str | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        parts = (self.count, self.level, self.against, self.at, self.request_id)
        return " ".join(map(str, parts))

    def is_refuted_by(self, level: VerifyLevel, against: Against) -> bool:
        """Say whether a verification that finds none, at `level`, ends this mark.

        It has to be as strong as the one that found them, and to ask the same witness or a better.
        """
        if self.level is None or self.against is None:
            return level == "exhaustive" and against == "source"
        is_strong = is_as_strong(level, self.level)
        return is_strong and _WITNESSES[against] >= _WITNESSES[self.against]

    def to_json(self) -> dict[str, Any]:
        """Return an object `differs` of a result, see docs/schemas/result.schema.json."""
        return dict(vars(self))

    def describe(self) -> str:
        """Return it in words."""
        if self.count is None:
            return "is marked as different"
        witness = "its source" if self.against == "source" else "its own manifests"
        return f"has {self.count} differences to {witness}, found at {self.at}"


def verified_mark(properties: Mapping[str, str]) -> Verified | None:
    """Return the mark `verified` among the properties of a snapshot."""
    level, _, rest = properties.get(VERIFIED, "").partition(" ")
    at, _, request_id = rest.partition(" ")
    found = _LEVELS.get(level)
    return Verified(found, at or None, request_id or None) if found else None


def differs_mark(properties: Mapping[str, str]) -> Differs | None:
    """Return the mark `differs` among the properties of a snapshot."""
    text = properties.get(DIFFERS)
    if text is None or text == NO_DIFFERENCES:
        return None
    parts = text.split(" ")
    if len(parts) != len(vars(Differs())) or not parts[0].isdecimal():
        return Differs()
    count, level, against, at, request_id = parts
    found, witness = _LEVELS.get(level), _BY_NAME.get(against)
    return Differs(int(count), found, witness, at, request_id) if found and witness else Differs()


def mark_time(seconds: float) -> str:
    """Return `seconds` since the epoch as marks spell it."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_AT_FORMAT)


def weakest(marks: list[Verified | None]) -> Verified | None:
    """Return what may be said of all snapshots: the weakest mark, of these the oldest.

    None if one of them has no mark, or there is none.
    """
    found = [one for one in marks if one is not None]
    if not found or len(found) < len(marks):
        return None
    return min(found, key=lambda one: (VERIFY_STRENGTH[one.level], one.at or ""))
