"""Every path of a spool: built here from names, and parsed back into names here.

    REPO.request                     a request
    REPO.claim.I                     a request that instance I claimed
    REPO.result.json                 the newest result of REPO
    REPO.discrepancies.jsonl         all discrepancies that this result counts
    .submit.ID                       a request that is being submitted
    rejected/                        files that could not be requests
    .dsgmigd/locks/REPO              the lock of a repository
    .dsgmigd/instances/I.lock|json   the lock and the last status of instance I
    .dsgmigd/results/REPO.ID.json    every result, but for old ones of rejected requests
    .dsgmigd/proofs/REPO             what the last run proved of REPO, for the next one
    .dsgmigd/work/                   files that are renamed when they are complete
    .dsgmigd/control/                pauses, cancels and withdrawn requests

Nothing here looks at the disk. The caller passes names that were parsed (see dsgmigd.names).
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dsgmigd.errors import InvalidName
from dsgmigd.names import RepoName, is_request_id, parse_repo_name

WorkKind = Literal["claim", "result", "show", "discrepancies"]

_REQUEST = ".request"
_CLAIM = ".claim."
RESULT_ENDING = ".result.json"
_DISCREPANCIES = ".discrepancies.jsonl"
_SUBMISSION = ".submit."
_PRIVATE = ".dsgmigd"
_REJECTED = "rejected"
_LOCK = ".lock"
_STATUS = ".json"
_ALL = "all"
_CANCEL = ".cancel"
_INSTANCE = ".instance"
_PAUSED = ".paused"
_WITHDRAWN = ".withdrawn"

# Instances have the numbers 1 to 999, each with one spelling: 01 is no number of an instance.
_INSTANCE_NUMBER = r"([1-9][0-9]{0,2})"
_NUMBER = re.compile(_INSTANCE_NUMBER)
_WORK_FILE = re.compile(
    rf"(?:(.+)\.(claim|show|result|discrepancies)|(status))\.{_INSTANCE_NUMBER}"
)
# What Emacs and macOS put beside a file: a lock, and the attributes of a foreign file system.
_BESIDE_A_FILE = (".#", "._")
# An instance writes these only while it holds the repository's lock.
_UNDER_THE_REPOSITORY_LOCK = frozenset({"claim", "show", "discrepancies"})


@dataclass(frozen=True)
class WorkFile:
    """What the name of a file in work/ says; `repo` is None for the status of an instance."""

    kind: str
    instance: int
    repo: RepoName | None

    @property
    def is_under_the_repository_lock(self) -> bool:
        """Say whether only the holder of the repository's lock writes this file."""
        return self.kind in _UNDER_THE_REPOSITORY_LOCK


@dataclass(frozen=True)
class SpoolLayout:
    """The paths of the spool in `directory`."""

    directory: str

    @property
    def rejected(self) -> str:
        """Return the directory of files that could not be requests."""
        return os.path.join(self.directory, _REJECTED)

    @property
    def locks(self) -> str:
        """Return the directory of repository locks."""
        return self._private("locks")

    @property
    def work(self) -> str:
        """Return the directory of files that are renamed when they are complete."""
        return self._private("work")

    @property
    def control(self) -> str:
        """Return the directory of pauses, cancels and withdrawn requests."""
        return self._private("control")

    @property
    def instances(self) -> str:
        """Return the directory of instance locks and statuses."""
        return self._private("instances")

    @property
    def results(self) -> str:
        """Return the directory that keeps every result."""
        return self._private("results")

    @property
    def proofs(self) -> str:
        """Return the directory of what runs proved."""
        return self._private("proofs")

    def own_directories(self) -> list[tuple[str, int]]:
        """Return (path, mode) of every directory that dsgmigd makes, parents first."""
        return [
            (os.path.join(self.directory, _PRIVATE), 0o755),
            (self.locks, 0o700),
            (self.work, 0o700),
            (self.control, 0o700),
            (self.proofs, 0o700),
            (self.instances, 0o755),
            (self.results, 0o755),
            (self.rejected, 0o755),
        ]

    def request(self, name: str) -> str:
        """Return the path of a request; `name` may be invalid if the file was listed."""
        return os.path.join(self.directory, name + _REQUEST)

    def submission(self, unique: str) -> str:
        """Return the path of a request that is being submitted."""
        return os.path.join(self.directory, _SUBMISSION + unique)

    def claim(self, repo: RepoName, instance: int) -> str:
        """Return the path of the claim of `repo` by `instance`."""
        return os.path.join(self.directory, f"{repo}{_CLAIM}{instance}")

    def newest_result(self, repo: RepoName) -> str:
        """Return the path of the newest result of `repo`."""
        return os.path.join(self.directory, repo + RESULT_ENDING)

    def discrepancies(self, repo: RepoName) -> str:
        """Return the path of the discrepancies that the newest result of `repo` counts."""
        return os.path.join(self.directory, repo + _DISCREPANCIES)

    def rejected_file(self, unique: str) -> str:
        """Return where a file goes that could not be a request."""
        return os.path.join(self.rejected, unique)

    def rejected_result(self, unique: str) -> str:
        """Return the path of the result of a rejected file without a valid repository name."""
        return self.rejected_file(unique) + RESULT_ENDING

    def lock(self, repo: RepoName) -> str:
        """Return the path of the lock of `repo`."""
        return os.path.join(self.locks, repo)

    def kept_result(self, repo: RepoName, request_id: str) -> str:
        """Return the path under which the result of one request is kept."""
        return os.path.join(self.results, f"{repo}.{request_id}.json")

    def kept_proofs(self, repo: RepoName) -> str:
        """Return the path of what the last run of `repo` proved."""
        return os.path.join(self.proofs, repo)

    def work_file(self, repo: RepoName, kind: WorkKind, instance: int) -> str:
        """Return the path of a file of `repo` that `instance` renames when it is complete."""
        return os.path.join(self.work, f"{repo}.{kind}.{instance}")

    def new_status(self, instance: int) -> str:
        """Return the path under which `instance` writes its status before the rename."""
        return os.path.join(self.work, f"status.{instance}")

    def instance_lock(self, instance: int) -> str:
        """Return the path of the lock of `instance`."""
        return os.path.join(self.instances, f"{instance}{_LOCK}")

    def instance_status(self, instance: int) -> str:
        """Return the path of the last status of `instance`."""
        return os.path.join(self.instances, f"{instance}{_STATUS}")

    def control_file(self, name: Literal["lock", "new", "nudge"]) -> str:
        """Return the path of the queue's lock, of a file before its rename, or of what wakes."""
        return os.path.join(self.control, name)

    def cancel(self, repo: RepoName) -> str:
        """Return the path of the cancel of `repo`."""
        return os.path.join(self.control, repo + _CANCEL)

    def pause(self, repo: RepoName | None, instance: int | None) -> str:
        """Return the path of the pause of a repository, an instance, or without either of all."""
        if repo is not None:
            return os.path.join(self.control, repo + _PAUSED)
        return os.path.join(self.control, _ALL if instance is None else f"{instance}{_INSTANCE}")

    def withdrawn(self, repo: RepoName, request_id: str) -> str:
        """Return the path of a request that was withdrawn and has no result yet."""
        return os.path.join(self.control, f"{repo}.{request_id}{_WITHDRAWN}")

    def _private(self, name: str) -> str:
        return os.path.join(self.directory, _PRIVATE, name)


# From the names in a directory back to what they stand for. Whoever may write to the spool chooses
# names there, so a name that does not parse is skipped, never an error.


def is_request_name(name: str) -> bool:
    """Say whether a file of that name, or path, is a request or wants to be one."""
    return name.endswith(_REQUEST) and not os.path.basename(name).startswith(_BESIDE_A_FILE)


def parse_request_name(name: str) -> str | None:
    """Return the name before `.request`, valid or not; None if `name` ends otherwise."""
    return name.removesuffix(_REQUEST) if is_request_name(name) else None


def is_submission_name(name: str) -> bool:
    """Say whether `name` is that of a request that is being submitted."""
    return name.startswith(_SUBMISSION)


def parse_claim_name(name: str) -> tuple[RepoName, int] | None:
    """Return (repository, instance) of the name of a claim; None for another name."""
    text, _, number = name.rpartition(_CLAIM)
    repo, instance = _repo_or_none(text), _instance_or_none(number)
    return (repo, instance) if repo and instance else None


def is_spool_name(name: str) -> bool:
    """Say whether dsgmigd or a submitter has a use for a file of that name in the spool."""
    if name in {_PRIVATE, _REJECTED} or is_request_name(name) or is_submission_name(name):
        return True
    results = _stems([name], RESULT_ENDING) + _stems([name], _DISCREPANCIES)
    return parse_claim_name(name) is not None or any(map(_repo_or_none, results))


def parse_kept_result_name(name: str) -> str:
    """Return the repository of the name of a kept result."""
    return name.rsplit(".", 2)[0]


def parse_instance_numbers(names: Iterable[str]) -> set[int]:
    """Return the numbers of all instances that ever took their lock."""
    numbers = map(_instance_or_none, _stems(names, _LOCK))
    return {number for number in numbers if number}


def parse_work_file_name(name: str) -> WorkFile | None:
    """Return what the name of a file in work/ says; None if no instance uses that name."""
    match = _WORK_FILE.fullmatch(name)
    if match is None:
        return None
    repo = _repo_or_none(match[1]) if match[1] else None
    if match[1] and repo is None:
        return None
    return WorkFile(match[2] or match[3], int(match[4]), repo)


@dataclass(frozen=True)
class ControlNames:
    """What the names of the files in control/ say."""

    is_all_paused: bool
    paused_instances: frozenset[int]
    paused_repositories: frozenset[str]
    cancels: list[RepoName]
    withdrawn: list[tuple[RepoName, str]]


def parse_control_names(names: list[str]) -> ControlNames:
    """Return what the names of the files in control/ say; other names are skipped."""
    pairs = [stem.rpartition(".") for stem in _stems(names, _WITHDRAWN)]
    return ControlNames(
        is_all_paused=_ALL in names,
        paused_instances=frozenset(
            number for stem in _stems(names, _INSTANCE) if (number := _instance_or_none(stem))
        ),
        paused_repositories=frozenset(_stems(names, _PAUSED)),
        cancels=[repo for stem in _stems(names, _CANCEL) if (repo := _repo_or_none(stem))],
        withdrawn=[
            (repo, request_id)
            for text, _, request_id in sorted(pairs)
            if (repo := _repo_or_none(text)) and is_request_id(request_id)
        ],
    )


def _stems(names: Iterable[str], ending: str) -> list[str]:
    return sorted(name.removesuffix(ending) for name in names if name.endswith(ending))


def _instance_or_none(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _repo_or_none(text: str) -> RepoName | None:
    try:
        return parse_repo_name(text)
    except InvalidName:
        return None
