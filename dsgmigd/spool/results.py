"""Results in the spool: the newest of each repository for people, and all of them, kept.

    REPO.result.json                   the newest result of REPO, by rename
    REPO.discrepancies.jsonl           all differences that it tells of, if there are any
    .dsgmigd/results/REPO.ID.json      every result ever published, each written once

A result is on disk under its own name before the newest-result name moves. Its space is reserved
before the work begins that it will tell of.

Leaving error: OSError when the spool's file system fails.
"""

import contextlib
import json
import os
import stat
import uuid
from typing import Any

import structlog

from dsgmigd.durable import read_json, reserve, sync_directory, write_durably, write_reserved
from dsgmigd.names import RepoName

_RESULT = ".result.json"
_DISCREPANCIES = ".discrepancies.jsonl"
_MODE = 0o644
_RESERVED_BYTES = 256 * 1024  # the rows of 300 snapshots


class Results:
    """The results in one spool `directory`, as one instance writes them.

    `kept` is the directory of all results, `work` that of files that are not whole yet, `aside`
    that of what users put where a result belongs.
    """

    def __init__(self, directory: str, *, kept: str, work: str, aside: str, instance: int) -> None:
        self._directory = directory
        self._aside = aside
        self._kept = kept
        self._work = work
        self._instance = instance

    def newest(self, repo: RepoName) -> dict[str, Any] | None:
        """Return the newest result of `repo`, from where people look."""
        return read_json(self._shown_path(repo))

    def last(self, repo: RepoName) -> dict[str, Any] | None:
        """Return the last of all results of `repo`, from where only we write."""
        names = [name for name in os.listdir(self._kept) if name.rsplit(".", 2)[0] == repo]
        found = [read_json(os.path.join(self._kept, name)) for name in names]
        results = [result for result in found if result]
        return max(results, key=lambda result: str(result.get("finished_at")), default=None)

    def of_request(self, repo: RepoName, request_id: str) -> dict[str, Any] | None:
        """Return the result of that request."""
        return read_json(self._kept_path(repo, request_id))

    def reserve(self, repo: RepoName) -> None:
        """Take the space of a result, so that a spool that is full later can still hold it."""
        reserve(self._temporary(repo, "result"), _RESERVED_BYTES, _MODE)

    def release(self, repo: RepoName) -> None:
        """Give reserved space back."""
        with contextlib.suppress(OSError):  # it serves nobody, and doctor finds it
            os.unlink(self._temporary(repo, "result"))

    def publish(self, repo: RepoName, request_id: str, result: dict[str, Any]) -> None:
        """Keep a result and show it; what a user put in its place gives way."""
        temporary = self._temporary(repo, "result")
        write_reserved(temporary, _as_bytes(result), _MODE)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, self._kept_path(repo, request_id))
        sync_directory(self._kept)
        self._show(repo, temporary)

    def show_again(self, repo: RepoName, request_id: str) -> None:
        """Show the kept result of that request; what lies there is not asked: anybody wrote it."""
        temporary = self._temporary(repo, "show")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.link(self._kept_path(repo, request_id), temporary)
        self._show(repo, temporary)

    def discrepancies_path(self, repo: RepoName) -> str:
        """Return where all differences are written while they are found."""
        return self._temporary(repo, "discrepancies")

    def publish_discrepancies(self, repo: RepoName) -> str | None:
        """Show the differences that were found; return the name of the file, None without any.

        To be called before the result that tells of them is published.
        """
        shown = os.path.join(self._directory, repo + _DISCREPANCIES)
        self._put_directory_aside(shown)
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(shown)
        try:
            os.rename(self.discrepancies_path(repo), shown)
        except FileNotFoundError:
            return None
        return os.path.basename(shown)

    def _show(self, repo: RepoName, temporary: str) -> None:
        shown = self._shown_path(repo)
        self._put_directory_aside(shown)
        try:
            os.rename(temporary, shown)
        except IsADirectoryError:
            structlog.get_logger().warning("result.hidden", name=os.path.basename(shown))
            os.unlink(temporary)
        sync_directory(self._directory)

    def _put_directory_aside(self, shown: str) -> None:
        """Move away, unread, the one thing that a user can put there and no rename replaces."""
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(shown).st_mode):
                os.rename(shown, os.path.join(self._aside, str(uuid.uuid4())))

    def _shown_path(self, repo: RepoName) -> str:
        return os.path.join(self._directory, repo + _RESULT)

    def _kept_path(self, repo: RepoName, request_id: str) -> str:
        return os.path.join(self._kept, f"{repo}.{request_id}.json")

    def _temporary(self, repo: RepoName, what: str) -> str:
        return os.path.join(self._work, f"{repo}.{what}.{self._instance}")


def write_beside(path: str, result: dict[str, Any]) -> None:
    """Write the result of what is no repository's request beside `path`, where that was put."""
    write_durably(path + _RESULT, _as_bytes(result), _MODE)


def _as_bytes(result: dict[str, Any]) -> bytes:
    return json.dumps(result, indent=1).encode() + b"\n"
