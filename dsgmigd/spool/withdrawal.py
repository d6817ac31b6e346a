"""Taking a request out of the spool before any work on it; the caller holds `control.held()`.

Guarantees: a withdrawn request gets exactly one result, wherever a crash happens: it stays in
control/ under its id until that result is published and in the ledger.

Raises: StateTooNew, OSError when the spool's file system fails.
"""

import os
import uuid
from typing import Any

from dsgmigd.host.durable import sync_directory
from dsgmigd.host.syscalls import rename_noreplace
from dsgmigd.names import RepoName
from dsgmigd.spool.claim import why_no_request
from dsgmigd.spool.claim_files import read_regular
from dsgmigd.spool.claim_record import ClaimRecord, new_record
from dsgmigd.spool.rejected import move_to_rejected
from dsgmigd.spool.spool import Spool


def claimed_request_id(spool: Spool, repo: RepoName) -> str | None:
    """Return the id of the claimed request: None without a claim, "" if none is recorded yet."""
    for instance in spool.records.claims_of(repo):
        record = spool.records.read(repo, instance)  # also None if it ends at this moment
        return record.request_id if record else ""
    return None


def withdraw_request(spool: Spool, repo: RepoName) -> str | None:
    """Take the waiting request out of the spool; return its new id, None if there is none.

    A file that cannot be a request is left to a worker, which rejects it.
    """
    path = spool.layout.request(repo)
    try:
        if why_no_request(path, repo, os.lstat(path)) is not None:
            return None
        return _withdraw(spool, repo, path)
    except FileNotFoundError:
        return None


def withdraw_orphan(spool: Spool, repo: RepoName) -> str | None:
    """Take out a claim whose worker crashed before it recorded an id; None if there is none."""
    lock = spool.lock_repository(repo)
    if lock is None:
        return None
    try:
        if claimed_request_id(spool, repo) != "":
            return None
        instance = spool.records.claims_of(repo)[-1]
        return _withdraw(spool, repo, spool.records.path(repo, instance))
    finally:
        lock.release()


def _withdraw(spool: Spool, repo: RepoName, path: str) -> str:
    request_id = str(uuid.uuid4())
    rename_noreplace(path, spool.control.withdrawn_path(repo, request_id))
    sync_directory(spool.control.directory)
    sync_directory(spool.directory)
    return request_id


def read_withdrawn(spool: Spool, repo: RepoName, request_id: str) -> ClaimRecord:
    """Return the record that a claim of this withdrawn request would have."""
    path = spool.control.withdrawn_path(repo, request_id)
    status = os.lstat(path)
    # A user who may write to the spool may have exchanged the file just before the rename.
    if why_no_request(path, repo, status) is not None:
        return new_record(repo, b"", status)
    return new_record(repo, *read_regular(path))


def publish_withdrawn(
    spool: Spool, repo: RepoName, request_id: str, result: dict[str, Any]
) -> None:
    """Publish the result of a withdrawn request, then remove it; a newer result stays shown."""
    kept = spool.results.of_request(repo, request_id)
    if kept is None or spool.results.last(repo) == kept:
        spool.results.publish(repo, request_id, kept or result)
    spool.ledger.record_kept(repo, request_id, kept or result, is_replayed=kept is not None)
    path = spool.control.withdrawn_path(repo, request_id)
    try:
        os.unlink(path)
    except IsADirectoryError:
        move_to_rejected(spool.layout, path, request_id)
    sync_directory(spool.control.directory)
