"""What operators told the queue, as small files that outlive every process.

They lie in SPOOL/.dsgmigd/control/, which only root may enter:

    REPO.cancel         the claimed request whose id it holds is to end now
    REPO.ID.withdrawn   a request taken out of the spool that has no result yet, or just got it
    REPO.paused         requests of REPO stay in the spool
    I.instance          instance I claims nothing
    all                 no instance claims anything
    lock, new, nudge    a verb is at work; what it is about to write; nothing but an event

A cancel names the request it is meant for, so that it never hits a later one. Every file is whole
or not there. What is called otherwise is nobody's and is not looked at.

Leaving errors: AlreadyRunning, OSError when the spool's file system fails.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from dsgmigd.durable import read_json, sync_directory, write_durably
from dsgmigd.errors import AlreadyRunning, InvalidName
from dsgmigd.locks import try_lock
from dsgmigd.names import RepoName, parse_repo_name

_ALL = "all"
_CANCEL = ".cancel"
_INSTANCE = ".instance"
_NUDGE = "nudge"
_PAUSED = ".paused"
_WITHDRAWN = ".withdrawn"
_MODE = 0o600


@dataclass(frozen=True)
class Cancel:
    """The wish that one request ends; with `discard`, that what it built is destroyed."""

    request_id: str
    discard: bool


@dataclass(frozen=True)
class Pauses:
    """What is paused now."""

    is_all: bool = False
    instances: frozenset[int] = frozenset()
    repositories: frozenset[str] = frozenset()

    def holds_instance(self, instance: int) -> bool:
        """Say whether an instance may claim nothing."""
        return self.is_all or instance in self.instances

    def held_back(self, incoming: list[str], living: set[int]) -> list[str]:
        """Return which requests wait because of a pause, if `living` are the instances."""
        is_nobody_left = bool(living) and all(map(self.holds_instance, living))
        if self.is_all or is_nobody_left:
            return list(incoming)
        return [name for name in incoming if name in self.repositories]


class Control:
    """The control directory of one spool."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one that changes what waits and what is told; raise AlreadyRunning."""
        lock = try_lock(self._path("lock"))
        if lock is None:
            raise AlreadyRunning(
                "another verb changes the queue at this moment", hint="try again in a second"
            )
        try:
            yield
        finally:
            lock.release()

    # Pauses.

    def pause(self, repo: RepoName | None = None, instance: int | None = None) -> None:
        """Pause a repository, an instance, or without either all instances; may be repeated."""
        self._write(_marker(repo, instance), b"")

    def resume(self, repo: RepoName | None = None, instance: int | None = None) -> bool:
        """Take back the same pause; False if there was none. Other pauses stay."""
        return self._remove(_marker(repo, instance))

    def pauses(self) -> Pauses:
        """Return what is paused."""
        names = self._names()
        numbers = _stems(names, _INSTANCE)
        return Pauses(
            is_all=_ALL in names,
            instances=frozenset(int(number) for number in numbers if number.isdecimal()),
            repositories=frozenset(_stems(names, _PAUSED)),
        )

    # Cancels.

    def ask_to_cancel(self, repo: RepoName, cancel: Cancel) -> None:
        """Tell whoever works on that request to end it; the wish is on disk."""
        self._write(repo + _CANCEL, json.dumps(asdict(cancel)).encode())

    def cancel_for(self, repo: RepoName, request_id: str) -> Cancel | None:
        """Return the cancel of `repo`, if it is meant for that request."""
        document = read_json(self._path(repo + _CANCEL)) or {}
        if document.get("request_id") != request_id:
            return None
        return Cancel(request_id, discard=bool(document.get("discard")))

    def drop_cancel(self, repo: RepoName) -> None:
        """Forget the cancel of `repo`, whomever it was meant for."""
        self._remove(repo + _CANCEL)

    def cancels(self) -> list[RepoName]:
        """Return the repositories that have a cancel."""
        return _repositories(_stems(self._names(), _CANCEL))

    def nudge(self) -> None:
        """Let every instance look at the spool now."""
        with self.held():
            self._write(_NUDGE, b"")
            self._remove(_NUDGE)

    # Requests taken out of the spool.

    def withdrawn_path(self, repo: RepoName, request_id: str) -> str:
        """Return where a request lies between the spool and its result."""
        return self._path(f"{repo}.{request_id}{_WITHDRAWN}")

    def withdrawn(self) -> list[tuple[RepoName, str]]:
        """Return (repository, request id) of what was taken out and not forgotten yet."""
        pairs = [stem.rpartition(".") for stem in _stems(self._names(), _WITHDRAWN)]
        return [
            (name, request_id)
            for repo, _, request_id in sorted(pairs)
            for name in _repositories([repo])
        ]

    # Files.

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.directory)
        except FileNotFoundError:
            return []

    def _write(self, name: str, content: bytes) -> None:
        """Write a file as a whole; `held` keeps others from the name that it has before."""
        write_durably(self._path("new"), content, _MODE)
        os.rename(self._path("new"), self._path(name))
        sync_directory(self.directory)

    def _remove(self, name: str) -> bool:
        try:
            os.unlink(self._path(name))
        except FileNotFoundError:
            return False
        sync_directory(self.directory)
        return True


def _marker(repo: RepoName | None, instance: int | None) -> str:
    if repo is not None:
        return repo + _PAUSED
    return _ALL if instance is None else f"{instance}{_INSTANCE}"


def _stems(names: list[str], ending: str) -> list[str]:
    return sorted(name.removesuffix(ending) for name in names if name.endswith(ending))


def _repositories(names: list[str]) -> list[RepoName]:
    found = []
    for name in names:
        with contextlib.suppress(InvalidName):
            found.append(parse_repo_name(name))
    return found
