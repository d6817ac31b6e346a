"""Pins: what holds the source still while it is read.

A pin is a read-only snapshot of a source snapshot, and all that is ever written to the source. Pins
stand in one directory of their own below the source root, one directory there for each request.

Leaving errors: SourceUnreadable, SourceChanged, HostExhausted.
"""

import contextlib
import errno
import os

from dsgmigd.btrfs.subvolume import (
    Subvolume,
    create_pin,
    delete_pin,
    read_subvolume,
    sync_filesystem,
)
from dsgmigd.errors import PinImpossible, SourceChanged
from dsgmigd.file_errors import source_error, source_errors
from dsgmigd.plan import SourceSnapshot
from dsgmigd.source import HeldSnapshot, Repository, SnapshotDirectory, is_directory, names_in

PINS_DIRECTORY = ".dsgmigd-pins"

_MAKE_ATTEMPTS = 10


class Pins:
    """The pins of one request."""

    def __init__(self, repository: Repository, request_id: str) -> None:
        self._repository = repository
        self._area = os.path.join(repository.root, PINS_DIRECTORY)
        self._directory = os.path.join(self._area, f"{repository.name}.{request_id}")

    def existing(self, snapshot: SnapshotDirectory) -> Subvolume | None:
        """Return the pin that this request, before it was interrupted, made of `snapshot`."""
        path = os.path.join(self._directory, str(snapshot.name))
        pin = read_subvolume(path) if is_directory(path) else None
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
            identity=snapshot.identity,
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
            identity=snapshot.identity,
            version=snapshot.version,
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


def describe_source(
    repository: Repository, pins: Pins | None = None, *, may_send: bool = True
) -> list[SourceSnapshot]:
    """Return the snapshots as the plan sees them; a pin that this request has already counts."""
    described = []
    for snapshot in repository.snapshots:
        subvolume = snapshot.subvolume
        pin = pins.existing(snapshot) if pins else None
        described.append(
            SourceSnapshot(
                name=snapshot.name,
                identity=snapshot.identity,
                version=pin.ctransid if pin else snapshot.version,
                is_sendable=may_send and subvolume is not None,
            )
        )
    return described
