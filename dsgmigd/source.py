"""A repository on the source side: its snapshots and their pins.

The source is never written, but for the pins: read-only snapshots of its snapshots, in one
directory of their own below the source root, one directory there for each request. A pin holds
still what is read, whatever happens to the snapshot meanwhile.

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
    create_pin,
    delete_pin,
    last_common_transaction,
    read_subvolume,
    sync_filesystem,
)
from dsgmigd.errors import (
    PinImpossible,
    SourceChanged,
    SourceConflict,
    SourceInvalid,
    SourceMissing,
)
from dsgmigd.exclusion import DSG_DIRECTORY, is_excluded_name
from dsgmigd.file_errors import has_failed, source_error, source_errors, status_of
from dsgmigd.names import RepoName, SnapshotName
from dsgmigd.plan import SourceSnapshot

PINS_DIRECTORY = ".dsgmigd-pins"

_NORMALISED = "-norm"
_LOOKS_LIKE_SNAPSHOT = re.compile(r"s[0-9]+")
_BLOCK_BYTES = 512
_MAKE_ATTEMPTS = 10


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
    return any(_is_directory(os.path.join(root, name + end, "s1")) for end in (_NORMALISED, ""))


def _is_directory(path: str) -> bool:
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
        if _is_directory(directory):
            sync_filesystem(directory)
            return Repository(name, root, directory, _read_snapshots(directory))
    raise SourceMissing(
        f"there is no repository {name} in {root}: neither {name}{_NORMALISED}/ nor {name}/",
        hint="check the spelling, and [source] root in the configuration",
    )


def check_root(root: str) -> None:
    """Raise SourceMissing if the source root is not there, another error if nobody can say."""
    try:
        is_directory = stat.S_ISDIR(os.stat(root).st_mode)
    except OSError as error:
        if has_failed(error):
            raise source_error(error, f"looking at the source root {root}") from error
        raise _no_root(root, error) from error
    if not is_directory:
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


def describe_source(
    repository: Repository, pins: "Pins | None" = None, *, may_send: bool = True
) -> list[SourceSnapshot]:
    """Return the snapshots as the plan sees them; a pin that this request has already counts."""
    described = []
    for snapshot in repository.snapshots:
        subvolume = snapshot.subvolume
        pin = pins.existing(snapshot) if pins else None
        described.append(
            SourceSnapshot(
                name=snapshot.name,
                identity=_identity(snapshot),
                version=(pin or subvolume).ctransid if subvolume else _directory_version(snapshot),
                is_sendable=may_send and subvolume is not None,
            )
        )
    return described


def _identity(snapshot: SnapshotDirectory) -> str:
    return snapshot.subvolume.uuid if snapshot.subvolume else f"directory:{snapshot.name}"


def _directory_version(snapshot: SnapshotDirectory) -> int:
    """Return what tells versions of a plain directory: no more than its own inode and ctime."""
    status = _status(snapshot.path)
    return status.st_ctime_ns ^ status.st_ino


class Pins:
    """The pins of one request."""

    def __init__(self, repository: Repository, request_id: str) -> None:
        self._repository = repository
        self._area = os.path.join(repository.root, PINS_DIRECTORY)
        self._directory = os.path.join(self._area, f"{repository.name}.{request_id}")

    def existing(self, snapshot: SnapshotDirectory) -> Subvolume | None:
        """Return the pin that this request, before it was interrupted, made of `snapshot`."""
        path = os.path.join(self._directory, str(snapshot.name))
        pin = read_subvolume(path) if _is_directory(path) else None
        if pin is None or snapshot.subvolume is None or not pin.is_read_only:
            return None
        return pin if pin.parent_uuid == snapshot.subvolume.uuid else None

    def hold(self, snapshot: SnapshotDirectory) -> HeldSnapshot:
        """Pin `snapshot`, unless it is pinned or cannot be."""
        if snapshot.subvolume is None:
            return self._unpinned(snapshot)
        pin = self.existing(snapshot)
        path = os.path.join(self._directory, str(snapshot.name))
        if pin is None:
            try:
                self._make_directory()
                delete_pin(path)
                create_pin(snapshot.path, path)
            except PinImpossible:
                return self._unpinned(snapshot)
            pin = read_subvolume(path)
            if pin is None or pin.parent_uuid != snapshot.subvolume.uuid:
                raise SourceChanged(
                    f"{snapshot.path} was replaced by another subvolume while it was pinned",
                    hint="submit again when nobody changes the source",
                )
        return HeldSnapshot(
            name=snapshot.name,
            path=path,
            identity=snapshot.subvolume.uuid,
            version=pin.ctransid,
            created_at=snapshot.created_at,
            is_sendable=True,
            is_pinned=True,
            subvolume=snapshot.subvolume,
        )

    def _make_directory(self) -> None:
        for _ in range(_MAKE_ATTEMPTS):
            try:
                os.makedirs(self._directory, 0o700, exist_ok=True)
            except FileNotFoundError:
                continue  # another instance removed the empty area at this very moment
            except OSError as error:
                raise PinImpossible(f"cannot make {self._directory}: {error}", hint="") from error
            return

    def _unpinned(self, snapshot: SnapshotDirectory) -> HeldSnapshot:
        subvolume = snapshot.subvolume
        return HeldSnapshot(
            name=snapshot.name,
            path=snapshot.path,
            identity=_identity(snapshot),
            version=subvolume.ctransid if subvolume else _directory_version(snapshot),
            created_at=snapshot.created_at,
            is_sendable=subvolume is not None and subvolume.is_read_only,
            is_pinned=False,
            subvolume=subvolume,
        )

    def release_all(self) -> None:
        """Delete the pins of this repository, those of dead requests too; its lock is ours.

        They are gone for good when this returns: a power cut brings none back.
        """
        prefix, has_found = f"{self._repository.name}.", False
        with source_errors(f"listing {self._area}"), contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._area):
                request_id = name.removeprefix(prefix)
                if name.startswith(prefix) and "." not in request_id:
                    _release(os.path.join(self._area, name))
                    has_found = True
        with contextlib.suppress(OSError):  # other requests have pins there
            os.rmdir(self._area)
        if has_found:
            sync_filesystem(self._repository.root)


def _release(directory: str) -> None:
    for name in names_in(directory):
        delete_pin(os.path.join(directory, name))
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # whatever else is there is not ours
            raise source_error(error, f"removing {directory}") from error


def check_unchanged(held: HeldSnapshot, snapshot: SnapshotDirectory) -> None:
    """Raise SourceChanged if an unpinned snapshot is not what it was when it was held."""
    if held.is_pinned:
        return
    sync_filesystem(os.path.dirname(snapshot.path))
    if not _is_directory(snapshot.path):
        raise SourceChanged(
            f"{snapshot.path} vanished while it was read", hint="restore it and submit again"
        )
    subvolume = read_subvolume(snapshot.path)
    version = subvolume.ctransid if subvolume else _directory_version(snapshot)
    if version != held.version:
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
