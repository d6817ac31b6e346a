"""From a request to a claim, and from a claim to a result.

Guarantees: one live worker per repository; a request ends in exactly one result, wherever a crash
happens. Every function that ends a request publishes its result, then writes its line in the
ledger, then removes the file.

Raises: StateTooNew, OSError when the spool's file system fails.
"""

import contextlib
import os
from dataclasses import replace
from typing import Any

from dsgmigd.errors import InvalidName, StateTooNew
from dsgmigd.host.durable import sync_directory
from dsgmigd.host.locks import Lock
from dsgmigd.host.regular import read_json
from dsgmigd.host.syscalls import rename_noreplace
from dsgmigd.names import RepoName, parse_repo_name
from dsgmigd.spool.claim import (
    Claim,
    Unclaimable,
    is_being_written,
    unclaimable,
    why_no_request,
)
from dsgmigd.spool.claim_files import is_regular, leaving_stuck_names, read_regular
from dsgmigd.spool.claim_record import ClaimRecord, is_own_record_file, new_record, own_record
from dsgmigd.spool.deferral import Deferral
from dsgmigd.spool.rejected import move_to_rejected, request_name
from dsgmigd.spool.results import log_result
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submitter import why_not_allowed

# Claiming.


def claim_request(spool: Spool, name: str) -> Claim | Unclaimable | None:
    """Claim the request `name` if it is valid and free.

    None: another instance was faster or works on that repository, or the file is being written.
    """
    try:
        repo = parse_repo_name(name)
    except InvalidName as error:
        return _refuse_name(spool, name, error)
    lock = spool.lock_repository(repo)
    if lock is None:
        return None
    with contextlib.ExitStack() as stack:
        stack.callback(lock.release)
        claim = _claim_locked(spool, repo, lock)
        if isinstance(claim, Claim):
            stack.pop_all()
        return claim


def _refuse_name(spool: Spool, name: str, error: InvalidName) -> Unclaimable | None:
    try:
        status = os.lstat(spool.layout.request(name))
    except FileNotFoundError:
        return None
    return unclaimable(name, None, (error.message, error.hint), status)


def _claim_locked(spool: Spool, repo: RepoName, lock: Lock) -> Claim | Unclaimable | None:
    path = spool.layout.request(repo)
    try:
        refused = why_no_request(path, repo, os.lstat(path))
        if refused is not None:
            return refused
        if _has_claim(spool, repo) or is_being_written(path):
            return None
        claimed = spool.records.path(repo, spool.instance)
        spool.records.move_away_unless_regular(claimed)
        rename_noreplace(path, claimed)
        sync_directory(spool.directory)
        return _open_claim(spool, repo, claimed, lock)
    except (FileNotFoundError, FileExistsError):
        return None


def _has_claim(spool: Spool, repo: RepoName) -> bool:
    # The spool may hold very many files, so it is not listed: every claimant has a number.
    return any(is_regular(spool.records.path(repo, number)) for number in spool.instances.numbers())


def adopt_claim(spool: Spool, repo: RepoName, instance: int) -> Claim | None:
    """Take over a claim of a worker that crashed, or an own claim of an earlier run.

    None if its worker runs, or if the request was done and only the claim had to be removed.
    """
    lock = spool.lock_repository(repo)
    if lock is None:
        return None
    with contextlib.ExitStack() as stack:
        stack.callback(lock.release)
        claim = _adopt_locked(spool, repo, instance, lock)
        if claim is not None:
            stack.pop_all()
        return claim


def _adopt_locked(spool: Spool, repo: RepoName, instance: int, lock: Lock) -> Claim | None:
    path = spool.records.path(repo, instance)
    own = spool.records.path(repo, spool.instance)
    spool.records.read(repo, instance)  # raises if a newer version wrote it: leave it alone
    try:
        if path != own:
            spool.records.move_away_unless_regular(own)
            rename_noreplace(path, own)
            sync_directory(spool.directory)
        claim = _open_claim(spool, repo, own, lock)
    except (FileNotFoundError, FileExistsError):
        return None
    return None if _finish_if_done(spool, claim) else claim


def _open_claim(spool: Spool, repo: RepoName, path: str, lock: Lock) -> Claim:
    content, status = read_regular(path)
    record = own_record(repo, content, status) or _first_record(spool, repo, content, status)
    return Claim(repo, path, lock, record)


def _first_record(
    spool: Spool, repo: RepoName, content: bytes, status: os.stat_result
) -> ClaimRecord:
    # Between the check and the rename a user may have exchanged the file: check what we hold.
    refused = why_no_request(spool.layout.request(repo), repo, status)
    refusal = why_not_allowed(status.st_uid, os.stat(spool.directory).st_gid)
    refusal = (refused.message, refused.hint) if refused else refusal
    return new_record(repo, content, status, refusal)


def preview_request(spool: Spool, name: str) -> ClaimRecord | Unclaimable | None:
    """Return what would become of the request `name`, without claiming it; None if it is gone."""
    try:
        repo = parse_repo_name(name)
    except InvalidName as error:
        return _refuse_name(spool, name, error)
    path = spool.layout.request(repo)
    try:
        return why_no_request(path, repo, os.lstat(path)) or preview_claim(spool, repo, path)
    except FileNotFoundError:
        return None


def preview_claim(spool: Spool, repo: RepoName, path: str) -> ClaimRecord | None:
    """Return what would become of a claim that is not begun; None if it is begun, or gone."""
    try:
        content, status = read_regular(path)
    except FileNotFoundError:
        return None
    if is_own_record_file(status):
        return None
    return _first_record(spool, repo, content, status)


# Waiting for the next attempt.


def list_deferrals(spool: Spool) -> list[tuple[RepoName, Deferral]]:
    """Return every claim that waits for its next attempt, as far as the caller may read it."""
    found = []
    for repo, instance in spool.records.claims():
        with contextlib.suppress(OSError, StateTooNew):
            found.append((repo, spool.records.deferral(repo, instance)))
    return [(repo, deferral) for repo, deferral in found if deferral]


def end_deferral(spool: Spool, repo: RepoName) -> bool:
    """Make the claim of `repo` due now; False if it does not wait, or is being worked on."""
    lock = spool.lock_repository(repo)
    if lock is None:
        return False
    try:
        for instance in spool.records.claims_of(repo):
            record = spool.records.read(repo, instance)
            if record and record.deferral:
                path = spool.records.path(repo, instance)
                spool.records.write(Claim(repo, path, lock, replace(record, deferral=None)))
                return True
        return False
    finally:
        lock.release()


# Ending.


def finish_claim(spool: Spool, claim: Claim, result: dict[str, Any]) -> None:
    """Publish the result of a claim, then remove the claim; may be repeated from any point."""
    spool.results.publish(claim.repo, claim.request_id, result)
    spool.ledger.record_kept(claim.repo, claim.request_id, result)
    log_result(result)
    with leaving_stuck_names():
        os.unlink(claim.path)
    sync_directory(spool.directory)


def _finish_if_done(spool: Spool, claim: Claim) -> bool:
    """Remove a claim whose result was published before a crash; True if it was."""
    result = spool.results.of_request(claim.repo, claim.request_id)
    if result is None:
        return False
    spool.results.show_again(claim.repo, claim.request_id)
    spool.ledger.record_kept(claim.repo, claim.request_id, result, is_replayed=True)
    log_result(result, repo=claim.repo, request_id=claim.request_id, replayed=1)
    with leaving_stuck_names():
        os.unlink(claim.path)
    sync_directory(spool.directory)
    return True


def reject_claim(spool: Spool, claim: Claim, result: dict[str, Any]) -> None:
    """Publish the result of a claim whose body is not a request; keep the body in rejected/.

    May be repeated from any point.
    """
    spool.results.publish(claim.repo, claim.request_id, result)
    spool.ledger.record_kept(claim.repo, claim.request_id, result)
    log_result(result)
    with leaving_stuck_names():
        unique = request_name(claim.repo, claim.request_id)
        move_to_rejected(spool.layout, claim.path, unique, locked=claim.repo)
    sync_directory(spool.directory)


def reject_file(spool: Spool, refused: Unclaimable, result: dict[str, Any]) -> bool:
    """Publish why a file can never be a request, and move it to rejected/, unread.

    False if another instance did so already, or if the file cannot be moved. A file without a
    valid repository name gets its result beside it in rejected/.
    """
    if refused.repo is None:
        _answer_bad_name(spool, refused, result)
    elif kept := spool.results.of_request(refused.repo, refused.request_id):
        spool.results.show_again(refused.repo, refused.request_id)
        spool.ledger.record_kept(refused.repo, refused.request_id, kept, is_replayed=True)
    else:
        spool.results.publish(refused.repo, refused.request_id, result)
        spool.ledger.record_kept(refused.repo, refused.request_id, result)
    is_moved = False
    with leaving_stuck_names():
        unique = refused.request_id
        if refused.repo is not None:
            unique = request_name(refused.repo, unique)
        move_to_rejected(spool.layout, spool.layout.request(refused.name), unique)
        is_moved = True
    sync_directory(spool.directory)
    return is_moved


def _answer_bad_name(spool: Spool, refused: Unclaimable, result: dict[str, Any]) -> None:
    path = spool.layout.rejected_result(refused.request_id)
    kept = read_json(path)
    if kept is None:
        spool.results.write_rejected(refused.request_id, result)
    told, is_replayed = kept or result, kept is not None
    spool.ledger.record_result(
        refused.name, refused.request_id, told, path, is_replayed=is_replayed
    )
