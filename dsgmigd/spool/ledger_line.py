"""The lines of the ledger: what one act leaves there, and how a line hangs on the one before it.

A line is one JSON object in ASCII, of at most `LINE_LIMIT_BYTES` with its newline. `before` is the
SHA-256 of the line before it, newline included, and null in the first one; so
`sed -n 7p ledger.jsonl | sha256sum` prints what line 8 must have. docs/schemas/ledger.schema.json
describes all keys. Pure rules.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsgmigd.host.encoding import to_json
from dsgmigd.host.terminal import shortened

LINE_LIMIT_BYTES = 16 * 1024
BEGUN = "begun"
RECOVERED = "recovered"
REQUEST = "request"

_WHAT_CHARACTERS = 1000  # each may take twelve bytes as JSON
_NAME_CHARACTERS = 255
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class When:
    """A moment: by the wall clock, for people, and by the clock since the boot with that id."""

    at: str
    boot_id: str
    boot_seconds: float


@dataclass(frozen=True)
class Entry:
    """One act, or the beginning of one.

    `what` is what it was about, beside the repository. `begun` is the number of the line that told
    of its beginning. `unlisted` counts the requests of this user that were rejected since the last
    line about one, and have no line. `again`: there may be a line about this act already. `torn`
    is what a crash left of a line.
    """

    act: str
    outcome: str | None
    instance: int
    user: Mapping[str, Any] | None = None
    repo: str | None = None
    request_id: str | None = None
    what: str | None = None
    error: str | None = None
    result: str | None = None
    result_sha256: str | None = None
    begun: int | None = None
    unlisted: int = 0
    again: bool = False
    torn: bytes | None = None

    def to_json(self, seq: int, before: str | None, when: When) -> dict[str, Any]:
        """Return the document of line `seq`, after the line with the hash `before`."""
        return {
            "seq": seq,
            "at": when.at,
            "boot_id": when.boot_id,
            "boot_seconds": round(when.boot_seconds, 3),
            "act": self.act,
            "repo": None if self.repo is None else shortened(self.repo, _NAME_CHARACTERS),
            "request_id": self.request_id,
            "user": None if self.user is None else dict(self.user),
            "instance": self.instance,
            "outcome": self.outcome,
            **self._more(),
            "result": self.result,
            "result_sha256": self.result_sha256,
            "before": before,
        }

    def _more(self) -> dict[str, Any]:
        what = None if self.what is None else shortened(self.what, _WHAT_CHARACTERS)
        torn = None if self.torn is None else {"bytes": len(self.torn), "sha256": sha256(self.torn)}
        more = {"what": what, "error": self.error, "begun": self.begun, "torn": torn}
        found = {key: value for key, value in more.items() if value is not None}
        if self.unlisted:
            found["unlisted"] = self.unlisted
        return found | ({"again": True} if self.again else {})


@dataclass(frozen=True)
class Line:
    """One whole line of a ledger, as it is there: its `document` and the hash of its bytes."""

    document: Mapping[str, Any]
    sha256: str

    @property
    def seq(self) -> int:
        """Return the number of the line, from 1."""
        return int(self.document["seq"])

    def follows(self, last: "Line | None") -> bool:
        """Say whether this line comes right after `last`; None stands for the beginning."""
        expected = (1, None) if last is None else (last.seq + 1, last.sha256)
        return (self.seq, self.document["before"]) == expected

    def tells_of(self, entry: Entry) -> bool:
        """Say whether this line is about the same act, with the same result."""
        keys = ("act", "request_id", "result_sha256")
        return all(self.document.get(key) == getattr(entry, key) for key in keys)

    def accounts_for(self, torn: bytes) -> bool:
        """Say whether this line tells of what is between it and the line before, mostly nothing."""
        if self.document["act"] != RECOVERED:
            return not torn
        return bool(self.document.get("torn") == {"bytes": len(torn), "sha256": sha256(torn)})


def write_line(entry: Entry, last: Line | None, when: When) -> tuple[bytes, Line]:
    """Return the line of `entry` that comes after `last`: its bytes, and what they are."""
    seq, before = (1, None) if last is None else (last.seq + 1, last.sha256)
    document = entry.to_json(seq, before, when)
    content = to_json(document).encode() + b"\n"
    return content, Line(document, sha256(content))


def sha256(content: bytes) -> str:
    """Return the SHA-256 of `content` in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def parse_line(content: bytes) -> Line | None:
    """Return the line whose bytes, newline included, are `content`; None if it is none."""
    if content.find(b"\n") != len(content) - 1:
        return None
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("act"), str):
        return None
    seq, before = document.get("seq"), document.get("before", "")
    is_number = isinstance(seq, int) and not isinstance(seq, bool) and seq >= 1
    is_hash = before is None or (isinstance(before, str) and _SHA256.fullmatch(before))
    return Line(document, sha256(content)) if is_number and is_hash else None


@dataclass(frozen=True)
class Tail:
    """The end of a ledger: its last lines, and what a crash left behind the last one.

    `is_ended`: the ledger ends with a newline; if nothing is torn, the last line lacks no more than
    that. `is_whole`: `lines` has every line of the ledger.
    """

    lines: tuple[Line, ...]
    torn: bytes
    is_ended: bool
    is_whole: bool

    @property
    def last(self) -> Line | None:
        """Return the last line; None in an empty ledger."""
        return self.lines[-1] if self.lines else None


def parse_tail(content: bytes, *, is_whole: bool) -> Tail | None:
    """Return the tail in the last bytes of a ledger, or in all of them if `is_whole`.

    None if there is no whole line in them: then more bytes are needed.
    """
    pieces = _split(content)
    if not is_whole:
        pieces = pieces[1:]  # the end of a line that begins before
    lines: list[Line] = []
    torn = b""
    for piece in pieces:
        line = parse_line(piece)
        if line is None:
            torn += piece
        else:
            lines.append(line)
            torn = b""
    if not lines and not is_whole:
        return None
    # It may lack its newline only, also if it is about a part of a line that comes before it.
    last = torn.rpartition(b"\n")[2]
    unended = parse_line(last + b"\n") if last else None
    if unended is not None and unended.follows(lines[-1] if lines else None):
        return Tail((*lines, unended), b"", is_ended=False, is_whole=is_whole)
    is_ended = not torn or torn.endswith(b"\n")
    return Tail(tuple(lines), torn, is_ended=is_ended, is_whole=is_whole)


def _split(content: bytes) -> list[bytes]:
    *whole, rest = content.split(b"\n")
    return [piece + b"\n" for piece in whole] + ([rest] if rest else [])
