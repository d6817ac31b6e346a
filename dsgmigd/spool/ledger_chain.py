"""Recounts the chain of a ledger: does each line come right after the one before it? Pure rules.

It stops at the first line that does not, and looks at what follows only to say why. Whoever writes
all lines anew from some line on, or cuts the last ones off, leaves a chain that fits: that shows
only by a hash that was noted elsewhere.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from dsgmigd.spool.ledger_line import Line, parse_line

Why = Literal["edited", "removed", "reordered", "torn"]

# More than crashes can leave between two lines.
_TORN_LIMIT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Misfit:
    """The first line that does not fit: its number, what was done to it, and how that shows."""

    line: int
    why: Why
    words: str


def recount(pieces: Iterable[bytes], use: Callable[[Line], None]) -> Misfit | None:
    """Call `use` with each line of the chain in turn; return the first misfit, None if all fit.

    `pieces` are the lines of the file with their newlines; the last may lack its own.
    """
    rest = iter(pieces)
    last: Line | None = None
    torn = b""
    for piece in rest:
        line = parse_line(piece)
        if line is None:
            torn += piece
            if len(torn) > _TORN_LIMIT_BYTES:
                return _unreadable(last)
        elif not line.follows(last):
            return _unreadable(last) if torn else _explain(line, last, rest)
        elif not line.accounts_for(torn.removesuffix(b"\n")):
            return _unreadable(last)
        else:
            use(line)
            last, torn = line, b""
    return _explain_end(torn, last) if torn else None


def _number_after(last: Line | None) -> int:
    return last.seq + 1 if last else 1


def _unreadable(last: Line | None) -> Misfit:
    number = _number_after(last)
    return Misfit(number, "edited", f"where line {number} belongs is something that is no line")


def _explain_end(torn: bytes, last: Line | None) -> Misfit:
    if torn.endswith(b"\n"):
        return _unreadable(last)
    number = _number_after(last)
    words = f"a crash left a part of line {number}; the next act recovers it"
    return Misfit(number, "torn", words)


def _explain(line: Line, last: Line | None, rest: Iterator[bytes]) -> Misfit:
    number = _number_after(last)
    before = last.sha256 if last else None
    if line.document["before"] == before:
        return Misfit(number, "edited", f"line {number} calls itself line {line.seq}")
    if line.seq == number:
        return _explain_hash(line, last, rest)
    if line.seq < number:
        return Misfit(number, "reordered", f"line {line.seq} is where line {number} belongs")
    if any(found.seq == number for found in _lines(rest)):
        return Misfit(number, "reordered", f"line {number} comes after line {line.seq}")
    gone = (
        f"line {number} is" if line.seq == number + 1 else f"lines {number} to {line.seq - 1} are"
    )
    return Misfit(number, "removed", f"{gone} gone; line {line.seq} comes instead")


def _explain_hash(line: Line, last: Line | None, rest: Iterator[bytes]) -> Misfit:
    """Tell whether a line was edited or the one before it: the one after it knows its hash."""
    following = next(_lines(itertools.islice(rest, 1)), None)
    is_whole = following is None or following.document["before"] == line.sha256
    if last is not None and is_whole:
        words = f"line {last.seq} is not what it was when line {line.seq} was written"
        return Misfit(last.seq, "edited", words)
    return Misfit(line.seq, "edited", f"line {line.seq} does not name the line before it")


def _lines(pieces: Iterable[bytes]) -> Iterator[Line]:
    return filter(None, map(parse_line, pieces))
