"""Cancels the requests for one repository.

A waiting request is taken out of the spool by one rename, then gets its result. For a claimed
request, a file with its request id is written; the worker that processes or adopts the claim ends
it with the outcome `cancelled`. After a crash between two of these steps, `clean_up` finishes: a
request that was taken out gets its result, and the cancel of a finished request is deleted.

Raises: NothingToCancel, AlreadyRunning, SpoolFailing, OSError when the spool's file system fails.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dsgmigd.errors import (
    AlreadyRunning,
    DsgmigdError,
    NothingToCancel,
    RequestCancelled,
    SpoolFailing,
    StateTooNew,
)
from dsgmigd.host.file_errors import spool_errors
from dsgmigd.host.log import get_logger
from dsgmigd.migration.result import Ending, Result
from dsgmigd.names import RepoName
from dsgmigd.spool.control import Cancel
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.withdrawal import (
    claimed_request_id,
    publish_withdrawn,
    read_withdrawn,
    withdraw_orphan,
    withdraw_request,
)

_LOOKS = 40
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Cancelled:
    """The ids of cancelled requests: those that waited, and the one that is running."""

    withdrawn: list[str]
    told_to_stop: str | None


def cancel(
    spool: Spool, repo: RepoName, *, discard: bool, sleep: Callable[[float], None] = time.sleep
) -> Cancelled:
    """Cancel every request for `repo`: a waiting one at once, a running one at a checkpoint."""
    with spool.control.held(), spool_errors(f"cancelling the requests for {repo}"):
        _finish_withdrawn(spool)
        waiting = withdraw_request(spool, repo)
        # After the waiting one: a request that was claimed in between is found here.
        claimed = _claimed_request(spool, repo, sleep)
        orphan = withdraw_orphan(spool, repo) if claimed == "" else None
        _finish_withdrawn(spool)
        if claimed == "" and orphan is None:
            raise AlreadyRunning(
                f"{repo} is being claimed at this moment", hint="try again in a second"
            )
        told = (
            claimed if claimed and _cancel_running(spool, repo, Cancel(claimed, discard)) else None
        )
    withdrawn = [one for one in (waiting, orphan) if one]
    if not withdrawn and not told:
        raise NothingToCancel(
            f"no request for {repo} is waiting or running",
            hint="see the queue: dsgmigd status; Ctrl-C ends a `dsgmigd migrate`",
        )
    return Cancelled(withdrawn, told)


def _claimed_request(spool: Spool, repo: RepoName, sleep: Callable[[float], None]) -> str | None:
    """Return the id of the claimed request: None without a claim, "" if none gets recorded."""
    for _ in range(_LOOKS):
        found = claimed_request_id(spool, repo)
        if found != "":
            return found
        sleep(_LOOK_SECONDS)  # its worker is about to write it
    return ""


def _cancel_running(spool: Spool, repo: RepoName, cancel_request: Cancel) -> bool:
    """Write the cancel for the worker; return False if its request ended meanwhile."""
    spool.control.ask_to_cancel(repo, cancel_request)
    if spool.results.of_request(repo, cancel_request.request_id) is not None:
        spool.control.drop_cancel(repo)
        return False
    return True


def clean_up(spool: Spool) -> None:
    """Finish what crashed commands and workers began; do nothing while a command is running."""
    control = spool.control
    if not control.withdrawn() and not control.cancels():
        return
    try:
        with control.held():
            failures = [*_finish_withdrawn(spool), *_drop_stale_cancels(spool)]
    except AlreadyRunning:
        return
    for error in failures:
        get_logger().error("spool.failing", reason=error.message, hint=error.hint)


def _finish_withdrawn(spool: Spool) -> list[DsgmigdError]:
    """Publish the result of each request that was taken out; return what failed.

    What failed stays, and is repeated at the next scan. It does not stop the others.
    """
    failures: list[DsgmigdError] = []
    for repo, request_id in spool.control.withdrawn():
        with _collecting(failures, f"ending the withdrawn request for {repo}"):
            publish_withdrawn(spool, repo, request_id, _withdrawn_result(spool, repo, request_id))
    return failures


def _withdrawn_result(spool: Spool, repo: RepoName, request_id: str) -> dict[str, Any]:
    record = read_withdrawn(spool, repo, request_id)
    now = time.time()
    return Result(
        Ending(error=RequestCancelled()),
        request_id=request_id,
        repo=repo,
        request=record.request.to_json(),
        instance=spool.instance,
        started_at=now,
        finished_at=now,
        submission=record.submission(),
    ).to_json()


def _drop_stale_cancels(spool: Spool) -> list[DsgmigdError]:
    failures: list[DsgmigdError] = []
    for repo in spool.control.cancels():
        with _collecting(failures, f"ending the cancel for {repo}"):
            lock = spool.lock_repository(repo)
            if lock is None:
                continue  # its worker obeys it, or deletes it
            try:
                if claimed_request_id(spool, repo) is None:
                    spool.control.drop_cancel(repo)
            finally:
                lock.release()
    return failures


@contextlib.contextmanager
def _collecting(failures: list[DsgmigdError], action: str) -> Iterator[None]:
    try:
        with spool_errors(action):
            yield
    except (SpoolFailing, StateTooNew) as error:
        failures.append(error)
