"""From the names of files in a spool back to what they stand for.

Whoever may write to the spool chooses names there, so a name that does not parse is skipped, never
an error. Nothing here looks at the disk.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from dsgmigd.errors import InvalidName
from dsgmigd.names import RepoName, is_request_id, parse_repo_name
from dsgmigd.spool.layout import (
    ALL,
    CANCEL_ENDING,
    CLAIM_MARK,
    DISCREPANCIES_ENDING,
    INSTANCE_ENDING,
    KEPT_ENDING,
    LOCK_ENDING,
    PAUSED_ENDING,
    PRIVATE,
    REJECTED,
    REQUEST_ENDING,
    RESULT_ENDING,
    SUBMISSION_START,
    VERIFIED_ENDING,
    WITHDRAWN_ENDING,
)

# Instances have the numbers 1 to 999, each with one spelling: 01 is no number of an instance.
_INSTANCE_NUMBER = r"([1-9][0-9]{0,2})"
_NUMBER = re.compile(_INSTANCE_NUMBER)
_WORK_FILE = re.compile(
    rf"(?:(.+)\.(claim|show|result|discrepancies|verified)|(status))\.{_INSTANCE_NUMBER}"
)
# A command in the foreground writes these as instance 0.
_FOREGROUND_FILE = re.compile(r"(.+)\.(verified|foreground)\.0")
# What Emacs and macOS put beside a file: a lock, and the attributes of a foreign file system.
_BESIDE_A_FILE = (".#", "._")
# An instance writes these only while it holds the repository's lock.
_UNDER_THE_REPOSITORY_LOCK = frozenset({"claim", "show", "discrepancies", "verified", "foreground"})


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


def is_request_name(name: str) -> bool:
    """Say whether a file of that name, or path, is a request or wants to be one."""
    return name.endswith(REQUEST_ENDING) and not os.path.basename(name).startswith(_BESIDE_A_FILE)


def parse_request_name(name: str) -> str | None:
    """Return the name before `.request`, valid or not; None if `name` ends otherwise."""
    return name.removesuffix(REQUEST_ENDING) if is_request_name(name) else None


def is_submission_name(name: str) -> bool:
    """Say whether `name` is that of a request that is being submitted."""
    return name.startswith(SUBMISSION_START)


def parse_claim_name(name: str) -> tuple[RepoName, int] | None:
    """Return (repository, instance) of the name of a claim; None for another name."""
    text, _, number = name.rpartition(CLAIM_MARK)
    repo, instance = _repo_or_none(text), _instance_or_none(number)
    return (repo, instance) if repo and instance else None


def is_spool_name(name: str) -> bool:
    """Say whether dsgmigd or a submitter has a use for a file of that name in the spool."""
    if name in {PRIVATE, REJECTED} or is_request_name(name) or is_submission_name(name):
        return True
    results = [
        stem
        for ending in (RESULT_ENDING, VERIFIED_ENDING, DISCREPANCIES_ENDING)
        for stem in _stems([name], ending)
    ]
    return parse_claim_name(name) is not None or any(map(_repo_or_none, results))


def parse_kept_result_name(name: str) -> tuple[str, str] | None:
    """Return (repository, request id) of the name of a kept result; None for another name."""
    repo, _, request_id = name.removesuffix(KEPT_ENDING).rpartition(".")
    is_kept = name.endswith(KEPT_ENDING) and repo and is_request_id(request_id)
    return (repo, request_id) if is_kept else None


def parse_instance_numbers(names: Iterable[str]) -> set[int]:
    """Return the numbers of all instances that ever took their lock."""
    numbers = map(_instance_or_none, _stems(names, LOCK_ENDING))
    return {number for number in numbers if number}


def parse_work_file_name(name: str) -> WorkFile | None:
    """Return what the name of a file in work/ says; None if no instance uses that name."""
    if match := _FOREGROUND_FILE.fullmatch(name):
        text, kind, number = match[1], match[2], 0
    elif match := _WORK_FILE.fullmatch(name):
        text, kind, number = match[1], match[2] or match[3], int(match[4])
    else:
        return None
    repo = _repo_or_none(text) if text else None
    return None if text and repo is None else WorkFile(kind, number, repo)


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
    pairs = [stem.rpartition(".") for stem in _stems(names, WITHDRAWN_ENDING)]
    return ControlNames(
        is_all_paused=ALL in names,
        paused_instances=frozenset(
            number for stem in _stems(names, INSTANCE_ENDING) if (number := _instance_or_none(stem))
        ),
        paused_repositories=frozenset(_stems(names, PAUSED_ENDING)),
        cancels=[repo for stem in _stems(names, CANCEL_ENDING) if (repo := _repo_or_none(stem))],
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
