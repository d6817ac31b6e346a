"""Results in the spool: the newest result of each repository for people, and every result, kept.

    REPO.result.json                   the newest result of REPO, by rename
    REPO.verified.json                 the last result that is a success and verified snapshots
    REPO.discrepancies.jsonl           all discrepancies that the newest result counts, if any
    .dsgmigd/results/REPO.ID.json      every result, each written once; those of rejected requests
                                       go after a while (see dsgmigd.spool.rejected)

A result is on disk under its own name before the name of the newest result moves to it. Its space
is reserved before the work begins that it reports. That of a command in the foreground is kept, and
never shown as the newest: that name is for the answers to requests.

Raises: OSError when the spool's file system fails.
"""

import contextlib
import os
import uuid
from collections.abc import Mapping
from typing import Any

from dsgmigd.host.durable import reserve, sync_directory, write_durably, write_reserved
from dsgmigd.host.encoding import to_json
from dsgmigd.host.log import get_logger
from dsgmigd.host.regular import read_json
from dsgmigd.names import RepoName
from dsgmigd.spool.claim_files import STUCK
from dsgmigd.spool.file_names import parse_kept_result_name
from dsgmigd.spool.layout import SpoolLayout
from dsgmigd.spool.rejected import move_to_rejected

_MODE = 0o644
# Only dsgmigd writes kept results: no result that it can write may count as absent.
_KEPT_LIMIT_BYTES = 1024**3
_RESERVED_BYTES = 256 * 1024  # the rows of 300 snapshots


class Results:
    """The results in one spool, as one instance writes them."""

    def __init__(self, layout: SpoolLayout, instance: int) -> None:
        self._layout = layout
        self._instance = instance

    def newest(self, repo: RepoName) -> dict[str, Any] | None:
        """Return the newest result of `repo`, from the file that people read."""
        return read_json(self._layout.newest_result(repo))

    def last(self, repo: RepoName) -> dict[str, Any] | None:
        """Return the last of all kept results of requests for `repo`.

        They are read from where only dsgmigd writes.
        """
        names = map(parse_kept_result_name, os.listdir(self._layout.results))
        found = [self.of_request(repo, name[1]) for name in names if name and name[0] == repo]
        results = [result for result in found if result and not _is_of_foreground(result)]
        return max(results, key=lambda result: str(result.get("finished_at")), default=None)

    def of_request(self, repo: RepoName, request_id: str) -> dict[str, Any] | None:
        """Return the result of that request."""
        return _read_kept(self._layout.kept_result(repo, request_id))

    def reserve(self, repo: RepoName) -> None:
        """Reserve the space of a result, so that it can be written even if the spool fills up."""
        reserve(self._temporary(repo), _RESERVED_BYTES, _MODE)

    def release(self, repo: RepoName) -> None:
        """Give reserved space back."""
        _remove(self._temporary(repo))

    def reserve_foreground(self, repo: RepoName) -> None:
        """Reserve the space of the result of a command; the caller holds the repository's lock."""
        reserve(self._foreground(repo), _RESERVED_BYTES, _MODE)

    def release_foreground(self, repo: RepoName) -> None:
        """Give that space back."""
        _remove(self._foreground(repo))

    def keep_foreground(self, repo: RepoName, request_id: str, result: dict[str, Any]) -> None:
        """Keep the result of a command; the caller holds the repository's lock."""
        write_reserved(self._foreground(repo), _as_bytes(result), _MODE)
        os.link(self._foreground(repo), self._layout.kept_result(repo, request_id))
        sync_directory(self._layout.results)
        self._show_verified(repo, request_id, result)

    def publish(self, repo: RepoName, request_id: str, result: dict[str, Any]) -> None:
        """Keep a result and show it; what a user put under its name is replaced or moved away."""
        temporary = self._temporary(repo)
        write_reserved(temporary, _as_bytes(result), _MODE)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, self._layout.kept_result(repo, request_id))
        sync_directory(self._layout.results)
        self._show(temporary, self._layout.newest_result(repo))
        self._show_verified(repo, request_id, result)

    def show_again(self, repo: RepoName, request_id: str) -> None:
        """Show the kept result of that request; any user may have written what is shown now."""
        temporary = self._layout.work_file(repo, "show", self._instance)
        self._link_kept(repo, request_id, temporary)
        self._show(temporary, self._layout.newest_result(repo))
        self._show_verified(repo, request_id, self.of_request(repo, request_id) or {})

    def discrepancies_path(self, repo: RepoName) -> str:
        """Return the path to which all discrepancies are written while they are found."""
        return self._layout.work_file(repo, "discrepancies", self._instance)

    def publish_discrepancies(self, repo: RepoName) -> str | None:
        """Show the discrepancies that were found; return the file's name, None without any.

        Call it before the result that counts them is published.
        """
        shown = self._layout.discrepancies(repo)
        with contextlib.suppress(FileNotFoundError):
            try:
                os.unlink(shown)
            except IsADirectoryError:
                self._move_away(shown)
        try:
            os.rename(self.discrepancies_path(repo), shown)
        except FileNotFoundError:
            return None
        return os.path.basename(shown)

    def _show_verified(self, repo: RepoName, request_id: str, result: dict[str, Any]) -> None:
        if has_verified(result):
            temporary = self._layout.work_file(repo, "verified", self._instance)
            self._link_kept(repo, request_id, temporary)
            self._show(temporary, self._layout.verified_result(repo))

    def _link_kept(self, repo: RepoName, request_id: str, temporary: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.link(self._layout.kept_result(repo, request_id), temporary)

    def _show(self, temporary: str, shown: str) -> None:
        try:
            try:
                os.rename(temporary, shown)
            except IsADirectoryError:
                self._move_away(shown)
                os.rename(temporary, shown)
        except OSError as error:
            if error.errno not in STUCK:
                raise
            get_logger().warning("result.not_shown", name=os.path.basename(shown))
        with contextlib.suppress(FileNotFoundError):  # it stays too if it is shown already
            os.unlink(temporary)
        sync_directory(self._layout.directory)

    def _move_away(self, shown: str) -> None:
        """Move a directory away, unread.

        Nothing is looked at before: what a user mounted there might never answer.
        """
        with contextlib.suppress(FileNotFoundError):
            move_to_rejected(self._layout, shown, str(uuid.uuid4()))

    def write_rejected(self, unique: str, result: dict[str, Any]) -> None:
        """Write the result of a file without a valid repository name beside the rejected file."""
        write_durably(self._layout.rejected_result(unique), _as_bytes(result), _MODE)
        sync_directory(self._layout.rejected)

    def _temporary(self, repo: RepoName) -> str:
        return self._layout.work_file(repo, "result", self._instance)

    def _foreground(self, repo: RepoName) -> str:
        return self._layout.work_file(repo, "foreground", 0)


def has_verified(result: Mapping[str, Any]) -> bool:
    """Say whether a run succeeded and compared at least one snapshot itself."""
    return not result.get("error") and result.get("verified_now") is not None


def _is_of_foreground(result: Mapping[str, Any]) -> bool:
    # A request that `dsgmigd cancel` withdrew has no instance either, but somebody submitted it.
    return result.get("instance") == 0 and "submitted_by" not in result


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):  # a leftover harms nothing, and doctor finds it
        os.unlink(path)


def log_result(result: dict[str, Any], **also: object) -> None:
    """Write the one canonical record of a request to the journal, with `also` as further fields.

    It is written after the result is published and before the claim is removed. After a crash
    between the two, the next owner of the claim writes it again with `replayed=1`, so it may come
    twice. If the journal is down, a record that it has not taken is lost.
    """
    log, rows = get_logger(), result.get("snapshots", [])
    fields = {
        "outcome": result["outcome"],
        "snapshots": len(rows),
        "files": sum(row["files"] for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
        "duration_usec": int(result.get("seconds", 0) * 1_000_000),
        **also,
    }
    if result["outcome"] == "cancelled":
        log.warning("request.cancelled", **fields)
    elif error := result.get("error"):
        log.error(
            "request.failed",
            error_code=error["code"],
            reason=error["message"],
            hint=error["hint"],
            **fields,
        )
    else:
        log.info("request.finished", warnings=len(result.get("warnings", [])), **fields)


def _read_kept(path: str) -> dict[str, Any] | None:
    return read_json(path, _KEPT_LIMIT_BYTES)


def _as_bytes(result: dict[str, Any]) -> bytes:
    return to_json(result, indent=1).encode() + b"\n"
