"""Names that may become paths or dataset names: parse or raise `InvalidName`.

Nothing that came from a file name, a request or the command line reaches a path or a dataset name
without passing here.
"""

import re
from dataclasses import dataclass
from typing import NewType, Self

from dsgmigd.errors import InvalidName

RepoName = NewType("RepoName", str)
DatasetName = NewType("DatasetName", str)

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_RESERVED_ENDINGS = ("-norm", ".request", ".claim", ".result")
_SNAPSHOT = re.compile(r"s([1-9][0-9]{0,8})")
# zfs(8), "naming requirements", without the blank and without leading punctuation in the pool.
_DATASET = re.compile(r"[A-Za-z][A-Za-z0-9._:-]*(/[A-Za-z0-9._:-]+)*")
_DATASET_BYTES = 255


def parse_repo_name(text: str) -> RepoName:
    """Return `text` as a repository name."""
    if not _REPO.fullmatch(text):
        raise InvalidName(
            f"{text!r} is not a repository name",
            hint="a name has 1 to 200 of A-Z a-z 0-9 . _ - and starts with a letter or a digit",
        )
    ending = next((ending for ending in _RESERVED_ENDINGS if text.endswith(ending)), None)
    if ending:
        raise InvalidName(
            f"{text!r} is not a repository name: it ends in {ending}",
            hint="name the repository itself; dsgmigd finds its normalised copy by itself",
        )
    return RepoName(text)


@dataclass(frozen=True, order=True)
class SnapshotName:
    """The name sK of a snapshot; ordered by number, so s2 < s10."""

    number: int

    def __str__(self) -> str:
        return f"s{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the snapshot name that `text` spells."""
        match = _SNAPSHOT.fullmatch(text)
        if not match:
            raise InvalidName(
                f"{text!r} is not a snapshot name", hint="snapshots are called s1, s2, … s10, …"
            )
        return cls(int(match[1]))

    @classmethod
    def is_valid(cls, text: str) -> bool:
        """Say whether `text` spells a snapshot name."""
        return _SNAPSHOT.fullmatch(text) is not None


def parse_dataset_name(text: str) -> DatasetName:
    """Return `text` as the name of a ZFS file system, pool included."""
    parts = text.split("/")
    if (
        not _DATASET.fullmatch(text)
        or len(text.encode()) > _DATASET_BYTES
        or any(part in {".", ".."} for part in parts)
    ):
        raise InvalidName(
            f"{text!r} is not the name of a ZFS file system",
            hint="write POOL or POOL/PATH with letters, digits and . _ : - only",
        )
    return DatasetName(text)
