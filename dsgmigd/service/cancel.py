"""How a request ends before its time, on an operator's word.

A waiting request is taken out of the spool by one rename, then gets its result. A claimed one is
told to stop by a file that holds its request id; whoever works on it, or adopts it, ends it with
the outcome `cancelled`. After a crash between two of these steps `clean_up` finds the way: what was
taken out gets its result, and a cancel whose request is done is dropped.

Leaving errors: NothingToCancel, AlreadyRunning, OSError when the spool's file system fails.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from dsgmigd.claim import submission
from dsgmigd.control import Cancel
from dsgmigd.errors import AlreadyRunning, NothingToCancel, RequestCancelled
from dsgmigd.names import RepoName
from dsgmigd.result import envelope, failure
from dsgmigd.spool import Spool

_LOOKS = 40
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Cancelled:
    """What a cancel hit: the requests that waited, and the one that was told to stop."""

    withdrawn: list[str]
    told_to_stop: str | None


def cancel(
    spool: Spool, repo: RepoName, *, discard: bool, sleep: Callable[[float], None] = time.sleep
) -> Cancelled:
    """End all that is asked for `repo`: what waits at once, what runs at its next checkpoint."""
    with spool.control.held():
        _finish_withdrawn(spool)
        waiting = spool.withdraw_request(repo)
        # Only now: a request that was claimed in between is found here.
        claimed = _claimed_request(spool, repo, sleep)
        orphan = spool.withdraw_orphan(repo) if claimed == "" else None
        _finish_withdrawn(spool)
        if claimed == "" and orphan is None:
            raise AlreadyRunning(f"{repo} was claimed at this moment", hint="try again in a second")
        told = claimed if claimed and _tell(spool, repo, Cancel(claimed, discard)) else None
    withdrawn = [one for one in (waiting, orphan) if one]
    if not withdrawn and not told:
        raise NothingToCancel(
            f"no request for {repo} waits or is worked on",
            hint="see what does: dsgmigd status; `dsgmigd migrate` by hand ends with Ctrl-C",
        )
    return Cancelled(withdrawn, told)


def _claimed_request(spool: Spool, repo: RepoName, sleep: Callable[[float], None]) -> str | None:
    """Return the id of the claimed request: None without a claim, "" if it has none for long."""
    for _ in range(_LOOKS):
        found = spool.claimed_request_id(repo)
        if found != "":
            return found
        sleep(_LOOK_SECONDS)  # its worker is about to write it
    return ""


def _tell(spool: Spool, repo: RepoName, wish: Cancel) -> bool:
    """Leave word for the worker; False if its request ended meanwhile."""
    spool.control.ask_to_cancel(repo, wish)
    if spool.results.of_request(repo, wish.request_id) is not None:
        spool.control.drop_cancel(repo)
        return False
    return True


def clean_up(spool: Spool) -> None:
    """Do what crashed verbs and workers left to do; leave it if a verb is at work."""
    control = spool.control
    if not control.withdrawn() and not control.cancels():
        return
    try:
        with control.held():
            _finish_withdrawn(spool)
            _drop_stale_cancels(spool)
    except AlreadyRunning:
        return


def _finish_withdrawn(spool: Spool) -> None:
    """Give each request that was taken out its result, once."""
    for repo, request_id in spool.control.withdrawn():
        record = spool.read_withdrawn(repo, request_id)
        now = time.time()
        result = failure(RequestCancelled()) | envelope(
            request_id=request_id,
            repo=repo,
            options=record["options"],
            instance=spool.instance,
            started_at=now,
            finished_at=now,
        )
        result["discrepancies_file"] = None
        result |= submission(record)
        result["attempts"] = []
        spool.publish_withdrawn(repo, request_id, result)


def _drop_stale_cancels(spool: Spool) -> None:
    for repo in spool.control.cancels():
        lock = spool.lock_repository(repo)
        if lock is None:
            continue  # its worker will see it, or drop it
        if spool.claimed_request_id(repo) is None:
            spool.control.drop_cancel(repo)
        lock.release()
