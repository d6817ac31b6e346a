"""Published snapshots in which a verification found differences.

Raises: those of dsgmigd.target.
"""

from dsgmigd.maintenance.doctor.leftover import Leftover, repository_called
from dsgmigd.names import DatasetName, RepoName, SnapshotName
from dsgmigd.target.area import check_target
from dsgmigd.target.layout import DIFFERS
from dsgmigd.target.marks import differs_mark
from dsgmigd.target.zfs import RunsCommands, Zfs


class DifferingPlace:
    """The datasets directly below one target parent."""

    def __init__(self, commands: RunsCommands, parent: DatasetName) -> None:
        self._commands = commands
        self._zfs = Zfs(commands)
        self._parent = parent

    def repositories(self) -> set[RepoName]:
        """Return none: no lock is needed to read marks."""
        check_target(self._commands, self._parent, is_for_writing=False)
        return set()

    def unowned(self) -> list[Leftover]:
        """Return the marked snapshots, in the order of their names."""
        marked = self._zfs.local_values(self._parent, DIFFERS)
        found = [self._describe(name, text) for name, text in marked.items()]
        return [one for one in found if one]

    def find(self, _repo: RepoName) -> list[Leftover]:
        """Return nothing: all are unowned."""
        return []

    def remove(self, leftover: Leftover) -> None:
        """Refuse: nothing here is ever removed."""
        raise NotImplementedError(leftover.where)

    def _describe(self, name: str, text: str) -> Leftover | None:
        dataset, _, snapshot = name.partition("@")
        mark = differs_mark({DIFFERS: text})
        parent, _, last = dataset.rpartition("/")
        if mark is None or parent != self._parent or not SnapshotName.is_valid(snapshot):
            return None  # those below replaced/ are kept to be examined
        repo = repository_called(last)
        if repo is None:
            return None
        why = f"{mark.describe()}: `dsgmigd rebuild {repo} --from {snapshot}` builds it again"
        return Leftover("differs", name, why, "look", repo, mark.request_id)
