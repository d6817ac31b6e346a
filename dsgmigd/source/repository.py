"""A repository on the source side: its snapshots, and what they are while they are read.

Leaving errors: SourceMissing, SourceInvalid, SourceUnreadable, SourceChanged, SourceConflict,
HostExhausted.
"""

import contextlib
import errno
import os
import re
import stat
from dataclasses import dataclass

from dsgmigd.btrfs.subvolume import (
    Subvolume,
    last_common_transaction,
    read_subvolume,
    sync_filesystem,
)
from dsgmigd.errors import (
    SourceChanged,
    SourceConflict,
    SourceInvalid,
    SourceMissing,
)
from dsgmigd.exclusion import DSG_DIRECTORY, is_excluded_name
from dsgmigd.file_errors import has_failed, source_error, source_errors, status_of
from dsgmigd.names import RepoName, SnapshotName

_NORMALISED = "-norm"
_LOOKS_LIKE_SNAPSHOT = re.compile(r"s[0-9]+")
_BLOCK_BYTES = 512


@dataclass(frozen=True)
class SnapshotDirectory:
    """One directory sK; `subvolume` is None for a plain directory."""

    name: SnapshotName
    path: str
    subvolume: Subvolume | None

    @property
    def created_at(self) -> float:
        """When the snapshot was made, as well as the file system knows, since the epoch."""
        return self.subvolume.created_at if self.subvolume else _status(self.path).st_ctime

    @property
    def identity(self) -> str:
        """What no other snapshot is called, and this one always is."""
        return self.subvolume.uuid if self.subvolume else f"directory:{self.name}"

    @property
    def version(self) -> int:
        """What changes with the snapshot; of a plain directory no more than its inode and ctime."""
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
        """Return the directory of snapshot `name`."""
        return next(snapshot for snapshot in self.snapshots if snapshot.name == name)


@dataclass(frozen=True)
class HeldSnapshot:
    """A source snapshot while it is read; `path` is its pin, or itself if it has none."""

    name: SnapshotName
    path: str
    identity: str
    version: int
    created_at: float
    is_sendable: bool
    is_pinned: bool
    subvolume: Subvolume | None = None

    def changed_since(self, before: "HeldSnapshot | None") -> int | None:
        """Return the transaction since which it may differ from `before`; None if unknown."""
        if before is None or before.subvolume is None or self.subvolume is None:
            return None
        if before.version != before.subvolume.ctransid or self.version != self.subvolume.ctransid:
            return None
        return last_common_transaction(before.subvolume, self.subvolume)


def list_repositories(root: str) -> list[str]:
    """Return the names of all directories below `root` that hold a repository."""
    try:
        with os.scandir(root) as entries:
            names = {
                entry.name.removesuffix(_NORMALISED)
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            }
    except OSError as error:
        raise _no_root(root, error) from error
    return sorted(name for name in names if _has_snapshot(root, name))


def _has_snapshot(root: str, name: str) -> bool:
    return any(is_directory(os.path.join(root, name + end, "s1")) for end in (_NORMALISED, ""))


def is_directory(path: str) -> bool:
    """Say whether `path` is a directory, and no link to one."""
    with source_errors(f"looking for {path}"):
        status = status_of(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _status(path: str) -> os.stat_result:
    with source_errors(f"looking at {path}"):
        return os.lstat(path)


def find_repository(root: str, name: RepoName) -> Repository:
    """Return the repository `name`: its normalised copy if there is one, else itself."""
    check_root(root)
    for directory in (os.path.join(root, name + _NORMALISED), os.path.join(root, name)):
        if is_directory(directory):
            sync_filesystem(directory)
            return Repository(name, root, directory, _read_snapshots(directory))
    raise SourceMissing(
        f"there is no repository {name} in {root}: neither {name}{_NORMALISED}/ nor {name}/",
        hint="check the spelling, and [source] root in the configuration",
    )


def check_root(root: str) -> None:
    """Raise SourceMissing if the source root is not there, another error if nobody can say."""
    try:
        is_usable = stat.S_ISDIR(os.stat(root).st_mode)
    except OSError as error:
        if has_failed(error):
            raise source_error(error, f"looking at the source root {root}") from error
        raise _no_root(root, error) from error
    if not is_usable:
        raise _no_root(root, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))


def _no_root(root: str, error: OSError) -> SourceMissing:
    return SourceMissing(
        f"the source root {root} is not there: {error.strerror}",
        hint="mount the source, or mend [source] root in the configuration",
    )


def _read_snapshots(directory: str) -> tuple[SnapshotDirectory, ...]:
    snapshots = []
    for name in names_in(directory):
        if not _LOOKS_LIKE_SNAPSHOT.fullmatch(name):
            continue
        path = os.path.join(directory, name)
        if not SnapshotName.is_valid(name) or not stat.S_ISDIR(_status(path).st_mode):
            raise SourceInvalid(
                f"{path} looks like a snapshot but is not a directory called s1, s2, …",
                hint="rename or remove it: dsgmigd does not guess what it is",
            )
        snapshots.append(SnapshotDirectory(SnapshotName.parse(name), path, read_subvolume(path)))
    return tuple(sorted(snapshots, key=lambda snapshot: snapshot.name))


def names_in(directory: str) -> list[str]:
    """Return what stands in a directory of the source."""
    with source_errors(f"listing {directory}"):
        return os.listdir(directory)


def check_unchanged(held: HeldSnapshot, snapshot: SnapshotDirectory) -> None:
    """Raise SourceChanged if an unpinned snapshot is not what it was when it was held."""
    if held.is_pinned:
        return
    sync_filesystem(os.path.dirname(snapshot.path))
    if not is_directory(snapshot.path):
        raise SourceChanged(
            f"{snapshot.path} vanished while it was read", hint="restore it and submit again"
        )
    now = SnapshotDirectory(snapshot.name, snapshot.path, read_subvolume(snapshot.path))
    if (now.identity, now.version) != (held.identity, held.version):
        raise SourceChanged(
            f"{snapshot.path} changed while it was read",
            hint="submit again when nobody changes the source",
        )


def excluded_names(held: HeldSnapshot) -> list[str]:
    """Return the names at a snapshot's root that stay out of the dataset.

    Raises SourceConflict if the source has a `.dsg` of its own.
    """
    with source_errors(f"listing {held.path}"):
        names = os.listdir(os.fsencode(held.path))
    if DSG_DIRECTORY in names:
        raise SourceConflict(
            f"{held.name} has a .dsg of its own at its root, where dsgmigd writes DSG's metadata",
            hint="move it away in the source: dsgmigd neither drops nor overwrites it",
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
