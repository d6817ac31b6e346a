"""What operators told the queue to do, as small files that outlive every process.

They are in SPOOL/.dsgmigd/control/, which only root may enter:

    REPO.cancel         the claimed request with the id in this file must end now
    REPO.ID.withdrawn   a request that was withdrawn and has no result yet, or just got it
    REPO.paused         requests of REPO are not claimed
    I.instance          instance I claims nothing
    all                 no instance claims anything
    lock, new, nudge    a command is changing the queue; the file it is about to rename; an event

A cancel names the request that it is for, so it never hits a later one. Every file is complete or
absent. Other names are ignored.

Raises: AlreadyRunning, OSError when the spool's file system fails.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from dsgmigd.host.durable import sync_directory, write_durably
from dsgmigd.host.locks import already_locked, try_lock
from dsgmigd.host.regular import read_json
from dsgmigd.names import RepoName
from dsgmigd.spool.file_names import ControlNames, parse_control_names
from dsgmigd.spool.layout import SpoolLayout

_MODE = 0o600


@dataclass(frozen=True)
class Cancel:
    """An order to end one request; with `discard`, what it built is destroyed too."""

    request_id: str
    discard: bool


@dataclass(frozen=True)
class Pauses:
    """What is paused now."""

    is_all: bool = False
    instances: frozenset[int] = frozenset()
    repositories: frozenset[str] = frozenset()

    def holds_instance(self, instance: int) -> bool:
        """Say whether a pause keeps an instance from claiming anything."""
        return self.is_all or instance in self.instances

    def paused_requests(self, waiting: list[str], running: set[int]) -> list[str]:
        """Return which of the waiting requests are not claimed because of a pause.

        `running` are the numbers of the running instances.
        """
        are_all_paused = bool(running) and all(map(self.holds_instance, running))
        if self.is_all or are_all_paused:
            return list(waiting)
        return [name for name in waiting if name in self.repositories]


class Control:
    """The control directory of one spool."""

    def __init__(self, layout: SpoolLayout) -> None:
        self.directory = layout.control
        self._layout = layout

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lock the queue against other commands; raise AlreadyRunning if one holds the lock."""
        lock = try_lock(self._layout.control_file("lock"))
        if lock is None:
            raise already_locked(
                self._layout.control_file("lock"),
                "another command is changing the queue",
                hint="try again in a second",
            )
        try:
            yield
        finally:
            lock.release()

    # Pauses.

    def pause(self, repo: RepoName | None = None, instance: int | None = None) -> None:
        """Pause a repository, an instance, or without either all instances; may be repeated."""
        self._write(self._layout.pause(repo, instance), b"")

    def resume(self, repo: RepoName | None = None, instance: int | None = None) -> bool:
        """Remove the same pause; False if there was none. Other pauses stay."""
        return self._remove(self._layout.pause(repo, instance))

    def pauses(self) -> Pauses:
        """Return what is paused."""
        names = self._names()
        return Pauses(
            is_all=names.is_all_paused,
            instances=names.paused_instances,
            repositories=names.paused_repositories,
        )

    # Cancels.

    def ask_to_cancel(self, repo: RepoName, cancel: Cancel) -> None:
        """Order the worker of that request to end it; the order is on disk on return."""
        self._write(self._layout.cancel(repo), json.dumps(asdict(cancel)).encode())

    def cancel_for(self, repo: RepoName, request_id: str) -> Cancel | None:
        """Return the cancel of `repo` if it is for that request."""
        document = read_json(self._layout.cancel(repo)) or {}
        if document.get("request_id") != request_id:
            return None
        return Cancel(request_id, discard=bool(document.get("discard")))

    def drop_cancel(self, repo: RepoName) -> None:
        """Remove the cancel of `repo`, whichever request it is for."""
        self._remove(self._layout.cancel(repo))

    def cancels(self) -> list[RepoName]:
        """Return the repositories that have a cancel."""
        return self._names().cancels

    def nudge(self) -> None:
        """Make every instance look at the spool now."""
        with self.held():
            self._write(self._layout.control_file("nudge"), b"")
            self._remove(self._layout.control_file("nudge"))

    # Withdrawn requests.

    def withdrawn_path(self, repo: RepoName, request_id: str) -> str:
        """Return the path of a withdrawn request that has no result yet."""
        return self._layout.withdrawn(repo, request_id)

    def withdrawn(self) -> list[tuple[RepoName, str]]:
        """Return (repository, request id) of every withdrawn request that is still on disk."""
        return self._names().withdrawn

    # Files.

    def _names(self) -> ControlNames:
        try:
            return parse_control_names(os.listdir(self.directory))
        except FileNotFoundError:
            return parse_control_names([])

    def _write(self, path: str, content: bytes) -> None:
        """Write a complete file; the caller holds the lock, so the temporary name is free."""
        temporary = self._layout.control_file("new")
        write_durably(temporary, content, _MODE)
        os.rename(temporary, path)
        sync_directory(self.directory)

    def _remove(self, path: str) -> bool:
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        sync_directory(self.directory)
        return True
