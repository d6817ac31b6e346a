"""What a migration of a repository leaves out, in words for the plan and the result.

Raises: SourceUnreadable, HostExhausted.
"""

import os
import re

from dsgmigd.errors import SourceInvalid
from dsgmigd.names import SnapshotName
from dsgmigd.source.repository import Repository, SnapshotDirectory, shorten
from dsgmigd.source.root import kind_unless_directory, names_in

# Names that people and half-finished transfers give to snapshots: S3, "s3 ", s3.incomplete, s-4.
_LOOKS_LIKE_SNAPSHOT = re.compile(r"\s*s(nap(shot)?)?[\s._-]*\d.*", re.IGNORECASE | re.DOTALL)


def describe_left_out(repository: Repository, limit: int | None = None) -> list[str]:
    """Return a warning for each kind of thing that is not migrated, though one may expect it.

    With a `limit`, only its snapshots are compared with those of the original.
    """
    return [*_describe_lookalikes(repository.directory), *_describe_original(repository, limit)]


def _describe_lookalikes(directory: str) -> list[str]:
    """Name what is nearly called like a snapshot; links are tags, or warned of with them."""
    found = [
        name
        for name in sorted(names_in(directory))
        if _LOOKS_LIKE_SNAPSHOT.fullmatch(name)
        and not SnapshotName.is_valid(name)
        and kind_unless_directory(os.path.join(directory, name)) != "a symbolic link"
    ]
    if not found:
        return []
    names = shorten([ascii(name) for name in found])
    return [f"not called s1, s2, … and so not migrated: {names} in {directory}"]


def _describe_original(repository: Repository, limit: int | None) -> list[str]:
    """Compare the snapshots of a normalised copy with those of its original."""
    try:
        original = repository.original()
    except SourceInvalid as error:
        return [f"not compared with the original: {error.message}"]
    if original is None:
        return []
    copies = {one.name: one for one in repository.snapshots}
    originals = {one.name: one for one in original.snapshots}
    wanted = sorted(name for name in {*copies, *originals} if limit is None or name.number <= limit)
    behind = [str(name) for name in wanted if name not in copies]
    ahead = [str(name) for name in wanted if name not in originals]
    both = [name for name in wanted if name in copies and name in originals]
    foreign = [str(name) for name in both if not _may_be_copy(copies[name], originals[name])]
    copy, source = repository.directory, original.directory
    warnings = {
        f"{copy} does not have {shorten(behind)} of {source}: not migrated": behind,
        f"{source} does not have {shorten(ahead)} of {copy}": ahead,
        f"{shorten(foreign)} in {copy} was not made from the snapshot of that name in {source}, "
        "which is newer: is it a copy of another series?": foreign,
    }
    return [words for words, names in warnings.items() if names]


def _may_be_copy(copy: SnapshotDirectory, original: SnapshotDirectory) -> bool:
    """Say whether one snapshot may be made from the other; plain directories do not tell."""
    if copy.subvolume is None or original.subvolume is None:
        return True
    if copy.subvolume.parent_uuid == original.subvolume.uuid:
        return True
    return copy.created_at >= original.created_at
