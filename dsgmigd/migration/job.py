"""One job of a migration, and the settings that hold for all jobs."""

from dataclasses import dataclass

from dsgmigd.names import DatasetName, RepoName
from dsgmigd.request import Evidence, Loss, Request, VerifyLevel
from dsgmigd.source.btrfs_send import SendProtocol
from dsgmigd.target.layout import DatasetLayout


@dataclass(frozen=True)
class Settings:
    """Settings for every request, unless the request says otherwise."""

    source_root: str
    target_parent: DatasetName
    area: str
    engine: str = "auto"
    send_protocol: SendProtocol | None = None
    replace_existing: bool = False
    verify_level: VerifyLevel = "complete"
    allow_loss: tuple[Loss, ...] = ()
    hash_threads: int = 2
    evidence: Evidence = "none"
    signing_key: str | None = None

    def layout(self, repo: RepoName) -> DatasetLayout:
        """Return the dataset names of `repo`."""
        return DatasetLayout(self.target_parent, self.area, repo)


@dataclass(frozen=True)
class Job:
    """One request for one repository, to be executed under the repository's lock.

    `spool_id` is the UUID of the spool that has the lock.
    """

    repo: RepoName
    request: Request
    request_id: str
    spool_id: str
