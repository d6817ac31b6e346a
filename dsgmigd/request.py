"""What a submitter may ask for: the body of a request file, as pure data.

An empty body asks for the defaults. Otherwise the body is one JSON object with known keys. Whatever
else is in the file is refused with `InvalidRequest`; nothing is guessed.
"""

import difflib
import json
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NoReturn, get_args

from dsgmigd.errors import InvalidRequest

VerifyLevel = Literal["complete", "changes", "exhaustive", "structure"]
Loss = Literal["xattr", "acl", "subsecond_mtime", "mtime_range"]

VERIFY_LEVELS: tuple[VerifyLevel, ...] = get_args(VerifyLevel)
# What a snapshot was verified at stands for every weaker level too.
VERIFY_STRENGTH: dict[str, int] = {"structure": 1, "changes": 2, "complete": 3, "exhaustive": 4}
LOSSES: tuple[Loss, ...] = get_args(Loss)

BODY_LIMIT_BYTES = 64 * 1024
_LIMIT_MAXIMUM = 999_999_999
_NOTE_LIMIT = 1_000
_SHOWN_CHARACTERS = 100
_TAG = re.compile(r"v[0-9]{1,9}(\.[0-9]{1,9}){0,2}(-[A-Za-z0-9._-]{1,100})?")


@dataclass(frozen=True)
class Request:
    """The options of one request; None means the configuration's value."""

    limit: int | None = None
    verify: VerifyLevel | None = None
    replace: bool | None = None
    allow_loss: tuple[Loss, ...] | None = None
    note: str | None = None
    migration_tag: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the keys that were given, as they stand in a request body."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if value is not None
        }


def parse_request(body: bytes) -> Request:
    """Return the request that a file's `body` asks for."""
    if len(body) > BODY_LIMIT_BYTES:
        raise _invalid(f"the body is longer than {BODY_LIMIT_BYTES} bytes")
    if not body.strip():
        return Request()
    try:
        document = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise _invalid(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _invalid(f"the body is a JSON {type(document).__name__}, not an object")
    return request_from_mapping(document)


def request_from_mapping(document: Mapping[str, Any]) -> Request:
    """Return the request that the decoded object `document` asks for."""
    unknown = [key for key in document if key not in _CHECKS]
    if unknown:
        raise _invalid(f"unknown key {_shown(unknown[0])}{suggestion(unknown[0], _CHECKS)}")
    return Request(**{key: _CHECKS[key](key, value) for key, value in document.items()})


def suggestion(word: str, valid: Iterable[str]) -> str:
    """Return words that name the valid names nearest to `word`."""
    names = sorted(valid)
    near = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(names)}"


def check_losses(key: str, value: object) -> tuple[Loss, ...]:
    """Return `value` as a list of losses; `key` is named in the error."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _invalid(f"{key!r} must be a list of strings")
    for item in value:
        if item not in LOSSES:
            raise _invalid(f"{key!r} names no known loss: {_shown(item)}{suggestion(item, LOSSES)}")
    return tuple(value)


def check_verify_level(key: str, value: object) -> VerifyLevel:
    """Return `value` as a level of verification; `key` is named in the error."""
    for level in VERIFY_LEVELS:
        if value == level:
            return level
    raise _invalid(f"{key!r} is {_shown(value)}{suggestion(str(value), VERIFY_LEVELS)}")


def _check_limit(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LIMIT_MAXIMUM:
        raise _invalid(f"{key!r} must be a whole number from 1 to {_LIMIT_MAXIMUM}")
    return value


def _check_replace(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _invalid(f"{key!r} must be true or false")
    return value


def _check_note(key: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _NOTE_LIMIT:
        raise _invalid(f"{key!r} must be a text of at most {_NOTE_LIMIT} characters")
    return value


def _check_migration_tag(key: str, value: object) -> str:
    if not isinstance(value, str) or not _TAG.fullmatch(value):
        raise _invalid(f"{key!r} must be a version like v1, v1.0.0 or v2-moved-to-zfs")
    return value


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "limit": _check_limit,
    "verify": check_verify_level,
    "replace": _check_replace,
    "allow_loss": check_losses,
    "note": _check_note,
    "migration_tag": _check_migration_tag,
}


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return document


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _shown(value: object) -> str:
    """Return any value in a few words: one may be as long as a body."""
    words = reprlib.Repr()
    words.maxstring = _SHOWN_CHARACTERS
    return words.repr(value)


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(
        message,
        hint="an empty file asks for the defaults; otherwise write one JSON object, "
        'for instance {"limit": 5, "verify": "complete"}',
    )
