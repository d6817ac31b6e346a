"""The options of a request: the body of a request file, as pure data.

An empty body means the defaults. Otherwise the body must be one JSON object with known keys.
Anything else is rejected; nothing is guessed.

Raises: InvalidRequest.
"""

import codecs
import difflib
import json
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar, get_args

from dsgmigd.errors import InvalidRequest
from dsgmigd.names import SnapshotName

VerifyLevel = Literal["complete", "changes", "exhaustive", "structure"]
Loss = Literal["xattr", "acl", "subsecond_mtime", "mtime_range", "push_log"]
# The keys that can ask for less strictness than the configuration has.
Loosening = Literal["replace", "allow_loss", "verify", "rebuild_from", "evidence"]
Evidence = Literal["sha256", "none"]

Word = TypeVar("Word", bound=str)

VERIFY_LEVELS: tuple[VerifyLevel, ...] = get_args(VerifyLevel)
# A snapshot that was verified at one level counts as verified at every weaker level too.
VERIFY_STRENGTH: dict[str, int] = {"structure": 1, "changes": 2, "complete": 3, "exhaustive": 4}


def is_as_strong(level: VerifyLevel, other: VerifyLevel) -> bool:
    """Say whether a verification at `level` counts as one at `other`."""
    return VERIFY_STRENGTH[level] >= VERIFY_STRENGTH[other]


def stronger(one: VerifyLevel, other: VerifyLevel) -> VerifyLevel:
    """Return the stronger of two levels of verification."""
    return max(one, other, key=VERIFY_STRENGTH.__getitem__)


LOSSES: tuple[Loss, ...] = get_args(Loss)
LOOSENINGS: tuple[Loosening, ...] = get_args(Loosening)
EVIDENCES: tuple[Evidence, ...] = get_args(Evidence)
LOSS_WORDS: dict[Loss, str] = {
    "xattr": "extended attributes",
    "acl": "POSIX ACLs",
    "subsecond_mtime": "modification times below the second",
    "mtime_range": "modification times out of the target's range",
    "push_log": "users, times and messages of pushes",
}

BODY_LIMIT_BYTES = 64 * 1024
_LIMIT_MAXIMUM = 999_999_999
_NOTE_LIMIT = 1_000
_SHOWN_CHARACTERS = 100
_ONLY_TO_MIGRATE = ("limit", "replace", "allow_loss", "migration_tag", "rebuild_from")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_TRAILING_COMMA = re.compile(r",\s*[}\]]")
# A document mark, an item of a list, or `key: value`.
_YAML_LINE = re.compile(r"---|-\s|[\w-]+\s*:(\s|$)")
_EXAMPLE = '{"limit": 5, "verify": "complete"}'
_KINDS = {list: "a JSON list", str: "a JSON string", bool: "a JSON boolean", type(None): "null"}
_TAG = re.compile(r"v[0-9]{1,9}(\.[0-9]{1,9}){0,2}(-[A-Za-z0-9._-]{1,100})?")


@dataclass(frozen=True)
class Request:
    """The options of one request; None means the value of the configuration."""

    limit: int | None = None
    verify: VerifyLevel | None = None
    replace: bool | None = None
    allow_loss: tuple[Loss, ...] | None = None
    note: str | None = None
    migration_tag: str | None = None
    rebuild_from: SnapshotName | None = None
    verify_only: bool | None = None
    without_source: bool | None = None
    evidence: Evidence | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the keys that were given, as in the body of a request."""
        return {key: _to_json(value) for key, value in vars(self).items() if value is not None}


def parse_request(body: bytes) -> Request:
    """Return the request in the body of a file."""
    if len(body) > BODY_LIMIT_BYTES:
        raise _invalid(f"the request is longer than {BODY_LIMIT_BYTES} bytes")
    if not body.strip():
        return Request()
    text = _decode(body)
    try:
        document = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _not_json(text, error) from error
    if not isinstance(document, dict):
        raise _invalid(
            f"the request is {_KINDS.get(type(document), 'a JSON number')}, not an object"
        )
    return request_from_mapping(document)


def _decode(body: bytes) -> str:
    """Return the text of a body; raise InvalidRequest if its encoding is not plain UTF-8."""
    if body.startswith((codecs.BOM_UTF8, *_UTF16)):
        encoding = "UTF-8" if body.startswith(codecs.BOM_UTF8) else "UTF-16"
        raise _invalid(
            f"the request is not JSON: it begins with a byte order mark ({encoding})",
            hint=f"save it as UTF-8 without a byte order mark, for instance {_EXAMPLE}; "
            "or leave the file empty for the defaults",
        )
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(f"the request is not JSON: it is not UTF-8 text: {error}") from error


def _not_json(text: str, error: Exception) -> InvalidRequest:
    """Return what is wrong with a body that the JSON parser refused."""
    where = error.pos if isinstance(error, json.JSONDecodeError) else -1
    comma = next(
        (one for one in _TRAILING_COMMA.finditer(text) if one.start() <= where < one.end()), None
    )
    if comma is not None:
        line = text.count("\n", 0, comma.start()) + 1
        return _invalid(
            f"the request is not JSON: there is a comma before {comma[0][-1]!r} in line {line}",
            hint=f"remove this comma, as in {_EXAMPLE}; or leave the file empty for the defaults",
        )
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if _YAML_LINE.match(first):
        return _invalid("the request is not JSON: it looks like YAML")
    return _invalid(f"the request is not JSON: {error}")


def request_from_mapping(document: Mapping[str, Any]) -> Request:
    """Return the request in the decoded object `document`."""
    unknown = [key for key in document if key not in _CHECKS]
    if unknown:
        raise _invalid(f"unknown key {_shown(unknown[0])}{suggestion(unknown[0], _CHECKS)}")
    request = Request(**{key: _CHECKS[key](key, value) for key, value in document.items()})
    _check_together(request)
    return request


def _check_together(request: Request) -> None:
    """Raise InvalidRequest for keys that contradict each other."""
    given = request.to_json()
    for key in _ONLY_TO_MIGRATE:
        if request.verify_only and key in given:
            raise _invalid(f"'verify_only' changes nothing, so {key!r} means nothing beside it")
    if request.without_source and not request.verify_only:
        raise _invalid("'without_source' is only for 'verify_only'")
    if request.without_source and request.verify == "changes":
        raise _invalid("the level 'changes' needs the source")
    if request.without_source and request.evidence == "sha256":
        raise _invalid("evidence is taken of what was compared with its source only")


def suggestion(word: str, valid: Iterable[str]) -> str:
    """Return the end of a message: the valid name nearest to `word`, or all valid names."""
    names = sorted(valid)
    near = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; use one of: {', '.join(names)}"


def check_losses(key: str, value: object) -> tuple[Loss, ...]:
    """Return `value` as a list of losses; the error names `key`."""
    return _check_words("loss", LOSSES, key, value)


def check_loosenings(key: str, value: object) -> tuple[Loosening, ...]:
    """Return `value` as a list of keys that may loosen; the error names `key`."""
    return _check_words("key of a request", LOOSENINGS, key, value)


def _check_words(what: str, valid: tuple[Word, ...], key: str, value: object) -> tuple[Word, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _invalid(f"{key!r} must be a list of texts")
    for item in value:
        if item not in valid:
            raise _invalid(f"unknown {what} {_shown(item)} in {key!r}{suggestion(item, valid)}")
    return tuple(value)


def check_verify_level(key: str, value: object) -> VerifyLevel:
    """Return `value` as a level of verification; the error names `key`."""
    for level in VERIFY_LEVELS:
        if value == level:
            return level
    raise _invalid(f"{key!r} cannot be {_shown(value)}{suggestion(str(value), VERIFY_LEVELS)}")


def check_evidence(key: str, value: object) -> Evidence:
    """Return `value` as a kind of evidence; the error names `key`."""
    for kind in EVIDENCES:
        if value == kind:
            return kind
    raise _invalid(f"{key!r} cannot be {_shown(value)}{suggestion(str(value), EVIDENCES)}")


def _check_limit(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LIMIT_MAXIMUM:
        raise _invalid(f"{key!r} must be a whole number from 1 to {_LIMIT_MAXIMUM}")
    return value


def _check_boolean(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _invalid(f"{key!r} must be true or false")
    return value


def _check_note(key: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _NOTE_LIMIT:
        raise _invalid(f"{key!r} must be a text of at most {_NOTE_LIMIT} characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _invalid(f"{key!r} has half of a surrogate pair, which is not a character")
    return value


def _check_rebuild_from(key: str, value: object) -> SnapshotName:
    if not isinstance(value, str) or not SnapshotName.is_valid(value):
        raise _invalid(f"{key!r} must be the name of a snapshot, like s7; s1 rebuilds everything")
    return SnapshotName.parse(value)


def _check_migration_tag(key: str, value: object) -> str:
    if not isinstance(value, str) or not _TAG.fullmatch(value):
        raise _invalid(f"{key!r} must be a version like v1, v1.0.0 or v2-moved-to-zfs")
    return value


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "limit": _check_limit,
    "verify": check_verify_level,
    "replace": _check_boolean,
    "allow_loss": check_losses,
    "note": _check_note,
    "migration_tag": _check_migration_tag,
    "rebuild_from": _check_rebuild_from,
    "verify_only": _check_boolean,
    "without_source": _check_boolean,
    "evidence": check_evidence,
}


def _to_json(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, SnapshotName) else value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise ValueError(f"the key {_shown(key)} occurs twice in one object")
        document[key] = value
    return document


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _shown(value: object) -> str:
    """Return any value in a few words: it may be as long as a body."""
    words = reprlib.Repr()
    words.maxstring = _SHOWN_CHARACTERS
    return words.repr(value)


def _invalid(
    message: str,
    *,
    hint: str = f"write one JSON object, for instance {_EXAMPLE}; "
    "or leave the file empty for the defaults",
) -> InvalidRequest:
    return InvalidRequest(message, hint=hint)
