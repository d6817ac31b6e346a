"""A repository in the source: finds its snapshots, and checks that they did not change.

Raises: SourceMissing, SourceUnavailable, SourceInvalid, SourceUnreadable, SourceChanged,
SourceConflict, NoSnapshots, HostExhausted.
"""

import contextlib
import os
import re
import stat
from dataclasses import dataclass, field, replace
from functools import cached_property

from dsgmigd.errors import (
    NoSnapshots,
    SourceChanged,
    SourceConflict,
    SourceInvalid,
    SourceMissing,
)
from dsgmigd.exclusion import DSG_DIRECTORY, is_excluded_name
from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import source_errors
from dsgmigd.names import NORMALISED, RepoName, SnapshotName
from dsgmigd.source.in_place import Places
from dsgmigd.source.root import check_present, is_directory, kind_unless_directory, names_in
from dsgmigd.source.subvolume import (
    Subvolume,
    last_common_transaction,
    read_subvolume,
    sync_filesystem,
)

_LOOKS_LIKE_SNAPSHOT = re.compile(r"s[0-9]+")
_BLOCK_BYTES = 512
_SHOWN_NAMES = 5


@dataclass(frozen=True)
class SnapshotDirectory:
    """One directory sK; `subvolume` is None for a plain directory."""

    name: SnapshotName
    path: str
    subvolume: Subvolume | None

    @property
    def created_at(self) -> float:
        """When the snapshot was created, as far as known, in seconds since the epoch."""
        return self.subvolume.created_at if self.subvolume else _status(self.path).st_ctime

    @property
    def identity(self) -> str:
        """Stable unique id: the subvolume's UUID, or `directory:sK`."""
        return self.subvolume.uuid if self.subvolume else f"directory:{self.name}"

    @property
    def version(self) -> int:
        """A number that changes with the content; for a plain directory, only with its root."""
        if self.subvolume:
            return self.subvolume.ctransid
        status = _status(self.path)
        return status.st_ctime_ns ^ status.st_ino


@dataclass(frozen=True)
class Repository:
    """The directories of one repository; `directory` holds the snapshots that are migrated."""

    name: RepoName
    root: str
    directory: str
    snapshots: tuple[SnapshotDirectory, ...]

    def snapshot(self, name: SnapshotName) -> SnapshotDirectory:
        """Return the directory of snapshot `name`; raise KeyError if there is none."""
        return self._by_name[name]

    def has_snapshot(self, name: SnapshotName) -> bool:
        """Return whether there is a snapshot `name`."""
        return name in self._by_name

    @cached_property
    def _by_name(self) -> dict[SnapshotName, SnapshotDirectory]:
        return {snapshot.name: snapshot for snapshot in self.snapshots}

    def original(self) -> "Repository | None":
        """Return the original of this normalised copy, if it is one and the original exists."""
        return self._original

    @cached_property
    def _original(self) -> "Repository | None":
        directory = os.path.join(self.root, self.name)
        if self.directory == directory or not is_directory(directory):
            return None
        return replace(self, directory=directory, snapshots=_read_snapshots(directory))

    def check_has_snapshots(self) -> None:
        """Raise NoSnapshots, with what the directory contains instead, if there is no snapshot."""
        if self.snapshots:
            return
        original = self.original()
        if original and original.snapshots:
            names = [str(snapshot.name) for snapshot in original.snapshots]
            raise NoSnapshots(
                f"{self.directory} has no snapshots; {original.directory} has {shorten(names)}",
                hint=f"finish the normalisation, or move {self.directory} away to migrate "
                f"{original.directory} itself",
            )
        found = shorten(sorted(names_in(self.directory)))
        raise NoSnapshots(
            f"{self.directory} has no s1; it {f'has {found}' if found else 'is empty'}",
            hint="snapshots are directories or subvolumes with the names s1, s2, …",
        )


@dataclass(frozen=True)
class HeldSnapshot:
    """A source snapshot while it is read; `place` is its pin, or the snapshot itself without one.

    `unpinned_reason` says why there is no pin. `places` leads to what is read in place; without it,
    nobody but root can exchange `place`.
    """

    name: SnapshotName
    place: str
    identity: str
    version: int
    created_at: float
    is_sendable: bool
    is_pinned: bool
    subvolume: Subvolume | None = None
    unpinned_reason: str = ""
    places: Places | None = field(default=None, compare=False)

    @property
    def path(self) -> str:
        """The path by which it is read; ask for it again for each use."""
        return self.places.path_to(self.place) if self.places else self.place

    def open(self) -> Directories:
        """Open the snapshot; the caller closes it."""
        with source_errors(f"opening {self.place}"):
            return Directories(self.path)

    def changed_since(self, before: "HeldSnapshot | None") -> int | None:
        """Return the transaction since which this one may differ from `before`; None if unknown."""
        if before is None or before.subvolume is None or self.subvolume is None:
            return None
        if before.version != before.subvolume.ctransid or self.version != self.subvolume.ctransid:
            return None
        return last_common_transaction(before.subvolume, self.subvolume)


def _status(path: str) -> os.stat_result:
    with source_errors(f"looking at {path}"):
        return os.lstat(path)


def find_repository(root: str, name: RepoName) -> Repository:
    """Return the repository `name`: its normalised copy if there is one, else the original.

    What has the name of the copy and is no directory never leads to the original.
    """
    check_present(root, name)
    _check_copy(os.path.join(root, name + NORMALISED))
    for directory in (os.path.join(root, name + NORMALISED), os.path.join(root, name)):
        if is_directory(directory):
            sync_filesystem(directory)
            return Repository(name, root, directory, _read_snapshots(directory))
    raise _no_repository(root, name)


def _check_copy(path: str) -> None:
    kind = kind_unless_directory(path)
    if kind is not None:
        raise SourceInvalid(
            f"{path} is {kind}, not a directory with the normalised snapshots",
            hint="put the directory itself there: symbolic links are not followed; or move it "
            f"away to migrate {path.removesuffix(NORMALISED)} as it is",
        )


def _no_repository(root: str, name: RepoName) -> SourceMissing:
    path = os.path.join(root, name)
    kind = kind_unless_directory(path)
    if kind is not None:
        return SourceMissing(
            f"{path} is {kind}, not a directory",
            hint="request the directory by its own name: symbolic links are not followed"
            if kind == "a symbolic link"
            else "move the file away, and check the spelling",
        )
    return SourceMissing(
        f"there is no repository {name} in {root}: neither {name}{NORMALISED}/ nor {name}/",
        hint="check the spelling, and [source] root in the configuration",
    )


def _read_snapshots(directory: str) -> tuple[SnapshotDirectory, ...]:
    snapshots = []
    for name in names_in(directory):
        if not _LOOKS_LIKE_SNAPSHOT.fullmatch(name):
            continue
        path = os.path.join(directory, name)
        if not SnapshotName.is_valid(name) or not stat.S_ISDIR(_status(path).st_mode):
            raise SourceInvalid(
                f"{path} looks like a snapshot, but is not a directory with a name s1, s2, …",
                hint="rename it or remove it",
            )
        snapshots.append(SnapshotDirectory(SnapshotName.parse(name), path, read_subvolume(path)))
    return tuple(sorted(snapshots, key=lambda snapshot: snapshot.name))


def check_unchanged(held: HeldSnapshot, snapshot: SnapshotDirectory) -> None:
    """Raise SourceChanged if an unpinned snapshot changed since it was held."""
    if held.is_pinned:
        return
    sync_filesystem(os.path.dirname(snapshot.path))
    if not is_directory(snapshot.path):
        raise SourceChanged(
            f"{snapshot.path} was removed while it was read", hint="restore it and submit again"
        )
    now = SnapshotDirectory(snapshot.name, snapshot.path, read_subvolume(snapshot.path))
    if (now.identity, now.version) != (held.identity, held.version):
        raise SourceChanged(
            f"{snapshot.path} changed while it was read",
            hint="submit again when the source is no longer being changed",
        )


def excluded_names(held: HeldSnapshot) -> list[str]:
    """Return the names at the root of a snapshot that are excluded from the dataset.

    Raises SourceConflict if the source already has a `.dsg`.
    """
    with source_errors(f"listing {held.place}"):
        names = os.listdir(os.fsencode(held.path))
    if DSG_DIRECTORY in names:
        raise SourceConflict(
            f"{held.name} already has a .dsg at its root, where dsgmigd writes DSG's metadata",
            hint="move it away in the source: dsgmigd neither omits nor overwrites it",
        )
    return sorted(os.fsdecode(name) for name in names if is_excluded_name(name))


def allocated_bytes(path: str) -> int:
    """Return how many bytes the files below `path` occupy."""
    total = 0
    for directory, _, names in os.walk(os.fsencode(path)):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_blocks * _BLOCK_BYTES
    return total


def shorten(names: list[str]) -> str:
    """Return the names as a list for a message; of many, the first ones and the last."""
    if len(names) > _SHOWN_NAMES:
        return f"{', '.join(names[: _SHOWN_NAMES - 1])} … {names[-1]}"
    return ", ".join(names)
