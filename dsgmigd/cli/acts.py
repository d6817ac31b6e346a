"""How commands that change something are told to the ledger (see dsgmigd.spool.ledger).

Raises: SpoolFailing.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dsgmigd.errors import Explained, SpoolFailing
from dsgmigd.names import RepoName
from dsgmigd.spool.ledger import acting_user
from dsgmigd.spool.ledger_line import BEGUN, Entry
from dsgmigd.spool.spool import Spool


@dataclass
class Act:
    """An act that goes on; the line of its end has what is set here."""

    outcome: str = "done"
    what: str | None = None
    error: str | None = None
    request_id: str | None = None
    result_path: str | None = None


@contextlib.contextmanager
def recorded(
    spool: Spool,
    act: str,
    repo: RepoName | None = None,
    *,
    what: str | None = None,
    request_id: str | None = None,
) -> Iterator[Act]:
    """Tell the ledger that the act in the block begins, and at the end how it ended.

    Without the first line the block does not begin. An exception ends the act as `failed`.
    """
    # Only here, because most commands log nothing: see dsgmigd.host.log.
    from dsgmigd.service.journal import logging_to_journal  # noqa: PLC0415

    begin = Entry(act, BEGUN, 0, acting_user(), repo, request_id, what)
    with logging_to_journal():
        seq = _begin(spool, begin)
        ended = Act(what=what, request_id=request_id)
        try:
            yield ended
        except BaseException as error:
            ended.outcome = "failed"
            ended.error = error.code if isinstance(error, Explained) else "internal"
            with contextlib.suppress(OSError):  # what failed is more important
                _end(spool, begin, seq, ended)
            raise
        try:
            _end(spool, begin, seq, ended)
        except OSError as error:
            raise SpoolFailing(
                f"{act} ended as {ended.outcome}, but the ledger cannot be written: "
                f"{error.strerror}",
                hint=f"line {seq} of the ledger says only that it was begun; check the spool's "
                "disk: df, mount, dmesg",
            ) from error


def _begin(spool: Spool, begin: Entry) -> int:
    """Write the line of a beginning; return its number."""
    try:
        spool.ledger.reserve()
        return spool.ledger.append(begin).seq
    except OSError as error:
        raise SpoolFailing(
            f"{begin.act} was not begun, because the ledger cannot be written: {error.strerror}",
            hint="nothing was changed; check the spool's disk: df, mount, dmesg",
        ) from error


def _end(spool: Spool, begin: Entry, seq: int, ended: Act) -> None:
    entry = replace(
        begin,
        outcome=ended.outcome,
        what=ended.what,
        error=ended.error,
        request_id=ended.request_id,
        begun=seq,
    )
    if ended.result_path is not None:
        entry = spool.ledger.with_result(entry, ended.result_path)
    spool.ledger.append(entry)
