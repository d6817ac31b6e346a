"""Files on their way into the spool whose writer died before they arrived.

In work/ an instance writes REPO.claim.I, REPO.show.I and REPO.discrepancies.I under the
repository's lock, REPO.result.I and status.I at any time, and renames each of them in the end.
`.submit.ID` in the spool is that of a submitter, who holds no lock: whether he lives, nobody knows.

Leaving errors: AlreadyRunning, OSError when the spool's file system fails.
"""

import contextlib
import os
import re

from dsgmigd.doctor.leftover import Leftover, foreign
from dsgmigd.errors import InvalidName
from dsgmigd.names import RepoName, parse_repo_name
from dsgmigd.spool import Spool

_OF_A_REPOSITORY = re.compile(r"(.+)\.(claim|show|result|discrepancies)\.([0-9]+)")
_STATUS = re.compile(r"status\.([0-9]+)")
_UNDER_THE_REPOSITORYS_LOCK = frozenset({"claim", "show", "discrepancies"})


class TemporaryPlace:
    """The temporary files of one spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def repositories(self) -> set[RepoName]:
        """Return the repositories that have temporary files, in use or not."""
        owners = (_owner(name) for name in os.listdir(self._spool.work_directory))
        return {owner for owner in owners if owner}

    def strangers(self) -> list[Leftover]:
        """Return what is no repository's."""
        found = []
        for name in sorted(os.listdir(self._spool.work_directory)):
            path = os.path.join(self._spool.work_directory, name)
            status = _STATUS.fullmatch(name)
            if status and not self._spool.instances.is_alive(int(status[1])):
                why = f"instance {status[1]} died before it could say what it does"
                found.append(Leftover("temporary", path, why, "remove"))
            elif not status and not _owner(name):
                found.append(foreign(path, "no instance writes a file of this name"))
        why = "a submission that was cut off, or is going on now: delete it by hand if it stays"
        found += [Leftover("temporary", path, why, "look") for path in self._spool.submissions()]
        return found

    def find(self, repo: RepoName) -> list[Leftover]:
        """Return the temporary files of `repo`, whose lock is ours."""
        found = []
        for name in sorted(os.listdir(self._spool.work_directory)):
            match = _OF_A_REPOSITORY.fullmatch(name)
            if match is None or match[1] != repo:
                continue
            instance = int(match[3])
            is_ours_to_judge = match[2] in _UNDER_THE_REPOSITORYS_LOCK
            if is_ours_to_judge or not self._spool.instances.is_alive(instance):
                path = os.path.join(self._spool.work_directory, name)
                why = f"instance {instance} died before it could rename it"
                found.append(Leftover("temporary", path, why, "remove", repo))
        return found

    def remove(self, leftover: Leftover) -> None:
        """Remove a file while no instance of its number can write it."""
        stem, _, instance = os.path.basename(leftover.where).rpartition(".")
        if stem.rpartition(".")[2] in _UNDER_THE_REPOSITORYS_LOCK:
            _remove(leftover.where)
            return
        lock = Spool(self._spool.directory, int(instance)).instances.lock()
        try:
            _remove(leftover.where)
        finally:
            lock.release()


def _owner(name: str) -> RepoName | None:
    match = _OF_A_REPOSITORY.fullmatch(name)
    with contextlib.suppress(InvalidName):
        return parse_repo_name(match[1]) if match else None
    return None


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
