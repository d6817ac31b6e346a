"""The names of the datasets of one repository, and of the properties on them: pure rules.

Everything that dsgmigd builds is below the area (PARENT/.dsgmigd by default) until it is verified:

    AREA/staging/REPO            the dataset that is being built
    AREA/views/REPO              a clone through which a snapshot is read, for a short time;
    AREA/views/REPO:N            the same, while something keeps those before it
    AREA/replaced/REPO-TIME      what was PARENT/REPO until it was replaced or extended at TIME

The properties below (in ZFS with the prefix `org.hrdag.dsgmigd:`) are the only record of how far
the work is, so that the record cannot disagree with the datasets.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from dsgmigd.errors import InvalidName
from dsgmigd.names import DatasetName, RepoName, SnapshotName

REQUEST = "request"
SOURCE_IDENTITY = "source_uuid"
SOURCE_VERSION = "source_ctransid"
VERIFIED = "verified"
# What the two say: see dsgmigd.target.marks.
DIFFERS = "differs"
SNAPSHOT_HASH = "snapshot_hash"
# The root hash of its evidence: see dsgmigd.custody.
EVIDENCE = "evidence"
# On a staging dataset: the name under which the target is kept, which made room for it.
ASIDE = "aside"
# On a kept dataset: "yes" if it was mounted by itself at a mountpoint of its own.
MOUNTS_ITSELF = "mounts_itself"
KEYS = (
    *(REQUEST, SOURCE_IDENTITY, SOURCE_VERSION, VERIFIED, DIFFERS, SNAPSHOT_HASH),
    *(EVIDENCE, ASIDE, MOUNTS_ITSELF),
)

_MOMENT_FORMAT = "%Y%m%dT%H%M%SZ"
_MOMENT = "[0-9]{8}T[0-9]{6}Z"
# ZFS allows it in a name, and no repository has it.
_BESIDE = ":"
_MOST_VIEWS = 99
_ANY_MOMENT = "20000101T000000Z"
# zfs(8): with the snapshot's name and "@", ZFS_MAX_DATASET_NAME_LEN without the closing NUL.
_LONGEST_NAME = 255
_REPLACED = re.compile(rf"(.+)-({_MOMENT})")


@dataclass(frozen=True)
class DatasetLayout:
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
        """The clone through which a snapshot is read, unless something keeps an older one."""
        return f"{self.area}/views/{self.repo}"

    def view_names(self) -> Iterator[str]:
        """Yield the names that a view may have, the usual one first."""
        yield self.view
        yield from (f"{self.view}{_BESIDE}{number}" for number in range(2, _MOST_VIEWS + 1))

    def replaced(self, moment: str) -> str:
        """Return the name under which a target that is replaced at `moment` is kept."""
        return f"{replaced_parent(self.area)}/{self.repo}-{moment}"

    def check_lengths(self, last: SnapshotName, kept: Iterable[str] | None = None) -> None:
        """Raise InvalidName if a name that is needed to publish @`last` is too long for ZFS.

        `kept` are the snapshots of a target that this publication replaces or extends; None if
        there is none.
        """
        names = [f"{self.staging}@{last}", f"{self.target}@{last}"]
        if kept is not None:
            names += [f"{self.replaced(_ANY_MOMENT)}@{name}" for name in (*kept, last)]
        longest = max(names, key=len)
        if len(longest) > _LONGEST_NAME:
            raise InvalidName(
                f"{longest} has {len(longest)} characters, and ZFS takes {_LONGEST_NAME}",
                hint="choose a [target] parent with a shorter name, or rename the repository",
            )

    def replaced_moment(self, dataset: str) -> str | None:
        """Return when `dataset` was replaced; None unless it is a kept target of this repository.

        Names of repositories may begin alike: `SV-2020-TIME` is a kept target of SV-2020 only.
        """
        parent, _, name = dataset.rpartition("/")
        owner, moment = split_replaced(name) or ("", "")
        is_ours = parent == replaced_parent(self.area) and owner == self.repo
        return moment if is_ours else None

    def is_replaced(self, dataset: str) -> bool:
        """Say whether `dataset` is the name of a kept target of this repository."""
        return self.replaced_moment(dataset) is not None


def view_owner(name: str) -> str:
    """Return which repository the view `name` below AREA/views belongs to."""
    owner, _, number = name.partition(_BESIDE)
    return owner if number.isdecimal() else name


def pool_of(name: str) -> str:
    """Return the pool of a dataset or snapshot."""
    return name.partition("/")[0].partition("@")[0]


def replaced_parent(area: str) -> str:
    """Return the dataset below which replaced targets are kept."""
    return f"{area}/replaced"


def split_replaced(name: str) -> tuple[str, str] | None:
    """Split `REPO-TIME` into both; None if `name` has another form."""
    match = _REPLACED.fullmatch(name)
    return (match[1], match[2]) if match else None


def moment(seconds: float) -> str:
    """Return `seconds` since the epoch in UTC as the names of replaced targets spell it."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_MOMENT_FORMAT)


def is_moment(text: str) -> bool:
    """Say whether `text` has the form that `moment` returns."""
    return re.fullmatch(_MOMENT, text) is not None


def free_moment(seconds: float, is_taken: Callable[[str], bool]) -> str:
    """Return the first moment at or after `seconds` that no kept target has in its name.

    A target can be replaced twice within one second, and a name has whole seconds only.
    """
    while is_taken(found := moment(seconds)):
        seconds += 1
    return found
