"""Names that may become paths or dataset names.

A name from a file, a request or the command line is parsed here before it becomes part of a path
or of a dataset name.

Raises: InvalidName.
"""

import re
import uuid
from dataclasses import dataclass
from typing import NewType, Self

from dsgmigd.errors import InvalidName

RepoName = NewType("RepoName", str)
DatasetName = NewType("DatasetName", str)

# The ending of the directory with the normalised copy of a repository.
NORMALISED = "-norm"

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_RESERVED_ENDINGS = (NORMALISED, ".request", ".claim", ".result")
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
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
    ending = _reserved_ending(text)
    if ending:
        raise InvalidName(
            f"{text!r} is not a repository name: it ends in {ending}",
            hint=f"write {_without_endings(text)}, not {text}",
        )
    return RepoName(text)


def _reserved_ending(text: str) -> str | None:
    return next((ending for ending in _RESERVED_ENDINGS if text.endswith(ending)), None)


def _without_endings(text: str) -> str:
    while ending := _reserved_ending(text):
        text = text.removesuffix(ending)
    return text


def is_request_id(value: object) -> bool:
    """Say whether `value` may be the id of a request: it becomes part of names on disk."""
    return isinstance(value, str) and _REQUEST_ID.fullmatch(value) is not None


def is_uuid(text: str) -> bool:
    """Say whether `text` is a UUID as dsgmigd writes it."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


@dataclass(frozen=True, order=True)
class SnapshotName:
    """The name sK of a snapshot; ordered by number, so s2 < s10."""

    number: int

    def __str__(self) -> str:
        return f"s{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return `text` as a snapshot name."""
        match = _SNAPSHOT.fullmatch(text)
        if not match:
            raise InvalidName(f"{text!r} is not a snapshot name", hint="write s1, s2, … s10, …")
        return cls(int(match[1]))

    @classmethod
    def is_valid(cls, text: str) -> bool:
        """Say whether `text` is a snapshot name."""
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
