"""What the names among the pins mean, and what is a pin: pure rules.

    .dsgmigd-pins/SPOOL/REPO.REQUEST/sK.UUID   a pin of the subvolume UUID, made for a request
                                               in the spool with the UUID SPOOL
    .dsgmigd-pins/REPO.REQUEST/sK              a pin that an earlier version made

Raises: nothing.
"""

from dataclasses import dataclass

from dsgmigd.errors import InvalidName
from dsgmigd.names import RepoName, SnapshotName, is_uuid, parse_repo_name
from dsgmigd.source.subvolume import Subvolume

PINS_DIRECTORY = ".dsgmigd-pins"


@dataclass(frozen=True)
class PinSet:
    """The directory with the pins of one request for one repository.

    `spool_id` is the UUID of its spool; None if an earlier version made it.
    """

    repo: RepoName
    request_id: str
    spool_id: str | None = None

    @property
    def above(self) -> str:
        """The directory with all pins of the spool, relative to the source root."""
        return f"{PINS_DIRECTORY}/{self.spool_id}" if self.spool_id else PINS_DIRECTORY

    @property
    def path(self) -> str:
        """The directory, relative to the source root."""
        return f"{self.above}/{self.repo}.{self.request_id}"

    def is_foreign_to(self, spool_id: str) -> bool:
        """Say whether another spool made it."""
        return self.spool_id not in {None, spool_id}


@dataclass(frozen=True)
class PinName:
    """What the name of a pin says; `source_uuid` is that of the subvolume that it is a pin of."""

    snapshot: SnapshotName
    source_uuid: str | None

    def __str__(self) -> str:
        return f"{self.snapshot}.{self.source_uuid}" if self.source_uuid else str(self.snapshot)


def parse_set_name(name: str, spool_id: str | None = None) -> PinSet | None:
    """Return what the name of a directory of pins says; None for any other name."""
    repo, _, request_id = name.rpartition(".")
    if not is_uuid(request_id):
        return None
    try:
        return PinSet(parse_repo_name(repo), request_id, spool_id)
    except InvalidName:
        return None


def parse_pin_name(name: str) -> PinName | None:
    """Return what the name of a pin says; None for any other name."""
    snapshot, dot, source_uuid = name.partition(".")
    if not SnapshotName.is_valid(snapshot) or (dot and not is_uuid(source_uuid)):
        return None
    return PinName(SnapshotName.parse(snapshot), source_uuid or None)


def reason_against(name: PinName | None, found: Subvolume | None) -> str | None:
    """Return why the subvolume `found` with this name is not a pin; None if it is one."""
    if name is None:
        return "its name is not that of a pin"
    if found is None or found.parent_uuid is None:
        return "it is not a snapshot"
    if not found.is_read_only:
        return "it is writable, and a pin is not"
    if name.source_uuid not in {None, found.parent_uuid}:
        return "it is a snapshot of another subvolume than its name says"
    return None
