"""Compares the ledger of a spool with itself and with the results that it names.

The chain is recounted from its first line, and every result file is read. A result that is gone is
a problem, unless it was that of a rejected request: those are pruned. A result without a line is
one too, unless its request or its command has not ended.

Raises: AlreadyRunning, StateTooNew, OSError when the spool's file system fails.
"""

import contextlib
import os
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

from dsgmigd.errors import StateTooNew
from dsgmigd.host.regular import read_json
from dsgmigd.spool.file_names import parse_kept_result_name
from dsgmigd.spool.ledger import hash_file
from dsgmigd.spool.ledger_chain import Misfit, recount
from dsgmigd.spool.ledger_line import BEGUN, REQUEST, Line
from dsgmigd.spool.spool import Spool

_REJECTED = "rejected"


@dataclass(frozen=True)
class Problem:
    """A result file that is not as the ledger says; `line` is None if no line names it."""

    result: str
    line: int | None
    why: str


@dataclass(frozen=True)
class Head:
    """The last line of the chain that fits."""

    line: int
    sha256: str


@dataclass
class LedgerCheck:
    """What there is: `problems` and `misfit` are wrong, all else is for people to know.

    `pruned` counts results of rejected requests that are gone, `unended` lists the lines of
    commands that were begun and neither ended nor run now, as far as the ledger knows. `repeated`
    are lines about a request that has another one, as after a crash. `older` counts results from
    before the first line, by the time of the file. `has_wanted` says whether the
    line with the hash that was asked for is in the chain.
    """

    head: Head | None = None
    misfit: Misfit | None = None
    problems: list[Problem] = field(default_factory=list)
    results: int = 0
    pruned: int = 0
    older: int = 0
    recovered: int = 0
    repeated: list[int] = field(default_factory=list)
    unended: list[int] = field(default_factory=list)
    has_wanted: bool | None = None

    @property
    def is_intact(self) -> bool:
        """Say whether everything is as the ledger says, and the wanted line is there."""
        return not self.misfit and not self.problems and self.has_wanted is not False

    def to_json(self) -> dict[str, Any]:
        """Return all of it as one object for scripts."""
        return {"is_intact": self.is_intact, **asdict(self)}


def check_ledger(spool: Spool, *, wanted: str | None = None) -> LedgerCheck:
    """Recount the ledger and its results; `wanted` is the hash of a line that must be there."""
    # In this order: the line of a request comes before its claim goes. So a result without a line
    # has its claim still, or had it when the claims were listed.
    kept = _kept_results(spool)
    ending = _ids_that_end_now(spool)
    with spool.ledger.quiet():  # so that the last line is whole, or a crash cut it
        pieces = spool.ledger.read()
        first = next(pieces, None)  # opens the file, and notes its size
    walk = _Walk(spool, LedgerCheck(has_wanted=None if wanted is None else False), wanted)
    walk.found.misfit = recount(chain([first] if first else [], pieces), walk.take)
    walk.end(kept, ending)
    return walk.found


def _kept_results(spool: Spool) -> set[str]:
    """Return the names of all kept results, but not of those that were rejected."""
    names = filter(parse_kept_result_name, os.listdir(spool.layout.results))
    return set(names)


def _ids_that_end_now(spool: Spool) -> set[str]:
    """Return the ids of claimed and of withdrawn requests: their results may have no line yet."""
    ids = {request_id for _, request_id in spool.control.withdrawn()}
    for repo, instance in spool.records.claims():
        with contextlib.suppress(StateTooNew):
            record = spool.records.read(repo, instance)
            ids |= {record.request_id} if record else set()
    return ids


class _Walk:
    def __init__(self, spool: Spool, found: LedgerCheck, wanted: str | None) -> None:
        self.found = found
        self._spool = spool
        self._wanted = wanted
        self._named: set[str] = set()
        self._ended: set[str] = set()
        self._begun: dict[int, str | None] = {}
        self._first_at = 0.0

    def take(self, line: Line) -> None:
        found, told = self.found, line.document
        if found.head is None:
            self._first_at = datetime.fromisoformat(told["at"]).timestamp()
        found.head = Head(line.seq, line.sha256)
        if line.sha256 == self._wanted:
            found.has_wanted = True
        found.recovered += "torn" in told
        if told["outcome"] == BEGUN:
            self._begun[line.seq] = told["request_id"]
        self._begun.pop(told.get("begun", 0), None)
        if told["act"] == REQUEST:
            self._note_request(line)
        if told["result"] is not None:
            self._check_result(line)

    def _note_request(self, line: Line) -> None:
        request_id = line.document["request_id"]
        if request_id in self._ended:
            self.found.repeated.append(line.seq)
        self._ended.add(request_id)

    def _check_result(self, line: Line) -> None:
        name = line.document["result"]
        if name in self._named:
            return
        self._named.add(name)
        digest = hash_file(self._spool.layout.recorded_result(name))
        if digest == line.document["result_sha256"]:
            self.found.results += 1
        elif digest is not None:
            self._problem(name, line.seq, "it is not what it was when its line was written")
        elif line.document["outcome"] == _REJECTED:
            self.found.pruned += 1
        else:
            self._problem(name, line.seq, "it is gone")

    def end(self, kept: set[str], ending: set[str]) -> None:
        self.found.unended = sorted(self._begun)
        if self.found.misfit is not None:
            return  # the lines behind it may name them
        known = ending | {one for one in self._begun.values() if one}
        for name in sorted(kept - self._named):
            parsed = parse_kept_result_name(name)
            if parsed is None or parsed[1] in known or self._is_rejected(name):
                continue
            if os.lstat(self._spool.layout.recorded_result(name)).st_mtime < self._first_at:
                self.found.older += 1
            else:
                self._problem(name, None, "no line names it")

    def _is_rejected(self, name: str) -> bool:
        """Say whether a result is of a rejected request, of which not each has a line; or gone."""
        path = self._spool.layout.recorded_result(name)
        result = read_json(path)
        if result is None:
            return not os.path.lexists(path)
        return result.get("outcome") == _REJECTED

    def _problem(self, name: str, line: int | None, why: str) -> None:
        self.found.problems.append(Problem(name, line, why))
