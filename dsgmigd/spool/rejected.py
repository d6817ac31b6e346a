"""Files that could not be requests, or had the name of one of ours, in rejected/.

    rejected/REPO.ID                  the request with that id, whose result is in results/
    rejected/ID                       a file without a valid repository name
    rejected/ID.result.json           its result

They are moved there unread. Members can make any number of them, and root owns their results. So of
each member only the newest files stay; an older one goes, and its result goes with it. Those of
administrators stay. A directory that is not empty stays: it is its owner's.

Raises: OSError when the spool's file system fails.
"""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from dsgmigd.errors import InvalidName
from dsgmigd.host.locks import try_lock
from dsgmigd.names import RepoName, parse_repo_name
from dsgmigd.spool.layout import RESULT_ENDING, SpoolLayout
from dsgmigd.spool.submitter import is_administrator

# More than a member gets answered in an hour by four instances.
KEPT_OF_EACH_MEMBER = 300


@dataclass(frozen=True)
class Rejected:
    """A file in rejected/, without the ending of a result; `moved_at` is in nanoseconds."""

    unique: str
    owner: int
    moved_at: int


def request_name(repo: RepoName, request_id: str) -> str:
    """Return the name in rejected/ of the request with that id."""
    return f"{repo}.{request_id}"


def move_to_rejected(
    layout: SpoolLayout, path: str, unique: str, *, locked: RepoName | None = None
) -> None:
    """Move what is at `path` away, unread, and remove what is too old to be kept.

    `locked` is the repository whose lock the caller holds.
    """
    moved = layout.rejected_file(unique)
    os.rename(path, moved)
    if is_administrator(os.lstat(moved).st_uid):
        return
    for one in surplus(_list_rejected(layout)):
        with contextlib.suppress(OSError):  # it stays, and the next call tries again
            _remove(layout, one, locked)


def surplus(found: Iterable[Rejected], kept: int = KEPT_OF_EACH_MEMBER) -> list[str]:
    """Return which files have to go so that each owner has at most `kept`."""
    by_owner: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for one in found:
        by_owner[one.owner].append((one.moved_at, one.unique))
    return [unique for files in by_owner.values() for _, unique in sorted(files)[:-kept]]


def _list_rejected(layout: SpoolLayout) -> list[Rejected]:
    found = []
    for unique in {name.removesuffix(RESULT_ENDING) for name in os.listdir(layout.rejected)}:
        with contextlib.suppress(OSError):
            status = _look_at(layout, unique)
            if not is_administrator(status.st_uid):
                found.append(Rejected(unique, status.st_uid, status.st_ctime_ns))
    return found


def _look_at(layout: SpoolLayout, unique: str) -> os.stat_result:
    try:
        return os.lstat(layout.rejected_file(unique))
    except FileNotFoundError:  # only its result is left
        return os.lstat(layout.rejected_result(unique))


def _remove(layout: SpoolLayout, unique: str, locked: RepoName | None) -> None:
    """Remove a file and its result, the file last, so that what is left is found again."""
    _remove_result(layout, unique, locked)
    path = layout.rejected_file(unique)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(layout.rejected_result(unique))
    with contextlib.suppress(FileNotFoundError):
        try:
            os.unlink(path)
        except IsADirectoryError:
            os.rmdir(path)


def _remove_result(layout: SpoolLayout, unique: str, locked: RepoName | None) -> None:
    """Remove the result of a rejected request, also where it is shown; a newer one stays shown.

    Raises BlockingIOError while somebody works on that repository.
    """
    name, _, request_id = unique.rpartition(".")
    try:
        repo = parse_repo_name(name)
    except InvalidName:
        return
    kept, shown = layout.kept_result(repo, request_id), layout.newest_result(repo)
    if not os.path.exists(kept):
        return
    with contextlib.ExitStack() as stack:
        if repo != locked:  # without the lock, what is shown could be exchanged meanwhile
            lock = try_lock(layout.lock(repo))
            if lock is None:
                raise BlockingIOError
            stack.callback(lock.release)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(shown), os.lstat(kept)):
                os.unlink(shown)
        os.unlink(kept)
