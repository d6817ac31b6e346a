"""What the configuration makes of an instance, as the classes below it take it."""

from dataclasses import dataclass, field

from dsgmigd.deferral import Retries
from dsgmigd.names import DatasetName, RepoName
from dsgmigd.places import Places
from dsgmigd.request import Loss, VerifyLevel


@dataclass(frozen=True)
class Settings:
    """What holds for every request of this daemon unless the request says otherwise."""

    source_root: str
    target_parent: DatasetName
    area: str
    engine: str = "auto"
    send_protocol: int | None = None
    replace_existing: bool = False
    verify_level: VerifyLevel = "complete"
    allow_loss: tuple[Loss, ...] = ()
    hash_threads: int = 2

    def places(self, repo: RepoName) -> Places:
        """Return the dataset names of `repo`."""
        return Places(self.target_parent, self.area, repo)


@dataclass(frozen=True)
class Habits:
    """How one instance behaves, whatever it works on."""

    rescan_seconds: float = 30
    stop_seconds: float = 8
    maximum_attempts: int = 3
    stall_seconds: float = 900
    retries: Retries = field(default_factory=Retries)
