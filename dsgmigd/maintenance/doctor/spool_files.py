"""Temporary files in the spool whose writer ended before it renamed them, and what nobody uses.

In work/ an instance writes REPO.claim.I, REPO.show.I, REPO.verified.I and REPO.discrepancies.I
under the repository's lock, REPO.result.I and status.I at any time, and then renames each of them.
Under that lock too, a command in the foreground writes REPO.foreground.0 and REPO.verified.0.
A submitter writes `.submit.ID` in the spool without a lock, so it may still be running.

Raises: AlreadyRunning, OSError when the spool's file system fails.
"""

import contextlib
import os

from dsgmigd.maintenance.doctor.leftover import Leftover, foreign
from dsgmigd.names import RepoName
from dsgmigd.spool.file_names import is_spool_name, parse_claim_name, parse_work_file_name
from dsgmigd.spool.spool import Spool


class TemporaryPlace:
    """The temporary files of one spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def repositories(self) -> set[RepoName]:
        """Return the repositories that have temporary files, in use or not."""
        files = map(parse_work_file_name, os.listdir(self._spool.layout.work))
        return {file.repo for file in files if file and file.repo}

    def unowned(self) -> list[Leftover]:
        """Return the files that belong to no repository."""
        found = []
        for name in sorted(os.listdir(self._spool.layout.work)):
            path = os.path.join(self._spool.layout.work, name)
            file = parse_work_file_name(name)
            if file is None:
                found.append(foreign(path, "no instance writes a file of this name"))
            elif not file.repo and not self._spool.instances.is_alive(file.instance):
                why = f"instance {file.instance} ended before it could write its status"
                found.append(Leftover("temporary", path, why, "remove"))
        found += self._unused()
        why = "a submission in progress, or an interrupted one: delete it by hand if it stays"
        found += [Leftover("temporary", path, why, "look") for path in self._spool.submissions()]
        return found

    def _unused(self) -> list[Leftover]:
        """Return what lies between the requests and is of no use: nobody will ever take it."""
        directory = self._spool.directory
        why = "neither a request, nor a claim of an instance, nor a result has this name"
        return [
            foreign(os.path.join(directory, name), why)
            for name in sorted(os.listdir(directory))
            if not is_spool_name(name) or self._is_claim_of_nobody(name)
        ]

    def _is_claim_of_nobody(self, name: str) -> bool:
        claim = parse_claim_name(name)
        if claim is None or claim[1] in self._spool.instances.numbers():
            return False
        return claim not in self._spool.records.claims()

    def find(self, repo: RepoName) -> list[Leftover]:
        """Return the temporary files of `repo`; the caller holds its lock."""
        found = []
        for name in sorted(os.listdir(self._spool.layout.work)):
            file = parse_work_file_name(name)
            if file is None or file.repo != repo:
                continue
            has_no_writer = file.is_under_the_repository_lock
            if has_no_writer or not self._spool.instances.is_alive(file.instance):
                path = os.path.join(self._spool.layout.work, name)
                writer = f"instance {file.instance}" if file.instance else "a command"
                why = f"{writer} ended before it could rename it"
                found.append(Leftover("temporary", path, why, "remove", repo))
        return found

    def remove(self, leftover: Leftover) -> None:
        """Remove a file while no instance with its number can write it."""
        file = parse_work_file_name(os.path.basename(leftover.where))
        if file is None:
            return
        if file.is_under_the_repository_lock:
            _remove(leftover.where)
            return
        lock = Spool(self._spool.directory, file.instance).instances.lock()
        try:
            _remove(leftover.where)
        finally:
            lock.release()


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
