"""What an interrupted request left behind, and what may be done about it: pure data and rules."""

from dataclasses import dataclass
from typing import Literal

from dsgmigd.errors import InvalidName
from dsgmigd.names import RepoName, parse_repo_name

Kind = Literal["pins", "view", "staging", "replaced", "probe", "temporary", "foreign", "differs"]

# "remove": dsgmigd made it and no longer needs it. "discard": dsgmigd made it, and a migration
# would continue it. "keep": it is meant to stay. "look": an administrator has to decide.
Treatment = Literal["remove", "discard", "keep", "look"]


@dataclass(frozen=True)
class Leftover:
    """One object that no running and no waiting request needs; `where` is a path or a dataset."""

    kind: Kind
    where: str
    why: str
    treatment: Treatment
    repo: RepoName | None = None
    request_id: str | None = None
    is_removed: bool = False
    error: str | None = None

    @property
    def is_open(self) -> bool:
        """Say whether it still has to be removed or inspected."""
        return self.treatment != "keep" and not self.is_removed


@dataclass(frozen=True)
class Findings:
    """Everything that was found; `problems` says which locations could not be checked, and why."""

    leftovers: tuple[Leftover, ...]
    problems: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Say whether everything could be checked and nothing is left to do."""
        return not self.problems and not any(leftover.is_open for leftover in self.leftovers)


def repository_called(name: str) -> RepoName | None:
    """Return `name` as that of a repository; None if none can have it."""
    try:
        return parse_repo_name(name)
    except InvalidName:
        return None


def foreign(where: str, why: str) -> Leftover:
    """Return the leftover for an object that is never touched: it is not, or not all, ours."""
    return Leftover("foreign", where, f"not touched: {why}", "look")
