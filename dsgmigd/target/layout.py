"""The names of the datasets of one repository: pure rules.

Everything that dsgmigd builds stands below PARENT/STAGING until it is verified:

    PARENT/STAGING/staging/REPO          the dataset that is being built
    PARENT/STAGING/views/REPO            a clone through which a snapshot is read, for a moment
    PARENT/STAGING/replaced/REPO-TIME    what stood at PARENT/REPO before it was replaced
"""

from dataclasses import dataclass

from dsgmigd.names import DatasetName, RepoName


@dataclass(frozen=True)
class Places:
    """The dataset names of one repository."""

    parent: DatasetName
    area: str
    repo: RepoName

    @property
    def target(self) -> str:
        """The dataset that users see."""
        return f"{self.parent}/{self.repo}"

    @property
    def staging(self) -> str:
        """The dataset that is being built."""
        return f"{self.area}/staging/{self.repo}"

    @property
    def view(self) -> str:
        """The clone through which a snapshot is read."""
        return f"{self.area}/views/{self.repo}"

    def replaced(self, moment: str) -> str:
        """Return where the target goes when it is replaced."""
        return f"{self.area}/replaced/{self.repo}-{moment}"
