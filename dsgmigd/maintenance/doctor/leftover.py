"""What was found lying about, and what may be done about it: pure data and rules."""

from dataclasses import dataclass
from typing import Literal

from dsgmigd.names import RepoName

Kind = Literal["pins", "view", "staging", "replaced", "probe", "temporary", "foreign"]

# What a removal may be asked to do. "remove": useless, and ours. "discard": ours, but a migration
# would go on with it. "keep": meant to stay. "look": a person has to decide.
Treatment = Literal["remove", "discard", "keep", "look"]


@dataclass(frozen=True)
class Leftover:
    """One thing that belongs to no living and no waiting work; `where` is a path or a dataset."""

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
        """Say whether somebody still has to do something about it."""
        return self.treatment != "keep" and not self.is_removed


@dataclass(frozen=True)
class Findings:
    """All that was found; `problems` names what could not be looked at."""

    leftovers: tuple[Leftover, ...]
    problems: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Say whether everything could be looked at and nothing is left to do."""
        return not self.problems and not any(leftover.is_open for leftover in self.leftovers)


def foreign(where: str, why: str) -> Leftover:
    """Return what stands for something that dsgmigd did not make: it is never touched."""
    return Leftover("foreign", where, f"not ours: {why}", "look")
