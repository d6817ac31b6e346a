"""Pins: they keep the source unchanged while it is read.

A pin is a read-only snapshot of a source snapshot. Nothing else is ever written to the source. All
pins are in one directory below the source root, with one subdirectory for each request: see
`pin_names`.

Raises: SourceUnreadable, SourceUnsafe, SourceChanged, PinImpossible, HostExhausted.
"""

from collections.abc import Iterable
from dataclasses import replace

from dsgmigd.errors import PinImpossible, SourceChanged
from dsgmigd.host.file_errors import source_errors, status_of
from dsgmigd.names import SnapshotName
from dsgmigd.source.in_place import Places
from dsgmigd.source.pin_area import PinArea
from dsgmigd.source.pin_names import PINS_DIRECTORY, PinName, PinSet
from dsgmigd.source.repository import HeldSnapshot, Repository, SnapshotDirectory
from dsgmigd.source.subvolume import Subvolume, read_subvolume, sync_filesystem


class Pins:
    """The pins of one request."""

    def __init__(self, repository: Repository, request_id: str, spool_id: str) -> None:
        self._repository = repository
        self._spool_id = spool_id
        self._set = PinSet(repository.name, request_id, spool_id)
        # That of an earlier version, which may have begun the claim.
        self._unmarked_set = PinSet(repository.name, request_id)
        self._held: dict[str, tuple[SnapshotName, str]] = {}
        self._places = Places()

    def close(self) -> None:
        """Close what is read in place; a snapshot that is held is of no use then."""
        self._places.close()

    def existing(self, snapshot: SnapshotDirectory) -> Subvolume | None:
        """Return the pin of `snapshot` that this request created before it was interrupted."""
        with PinArea(self._repository.root) as area:
            found = self._find(area, snapshot)
        return found[1] if found else None

    def hold(self, snapshot: SnapshotDirectory) -> HeldSnapshot:
        """Pin `snapshot`, if possible and not done yet; else give the `unpinned_reason`."""
        through = replace(snapshot, path=self._places.path_to(snapshot.path))
        subvolume, now = snapshot.subvolume, read_subvolume(through.path)
        if (now and now.uuid) != (subvolume and subvolume.uuid):
            raise _replaced(snapshot)
        if subvolume is None:
            return self._unpinned(snapshot, through, "plain directory, not a subvolume")
        with PinArea(self._repository.root) as area:
            found = self._find(area, snapshot)
            if found is None:
                try:
                    area.create(self._set, _name_for(snapshot), through.path)
                except PinImpossible as error:
                    return self._unpinned(snapshot, through, error.message)
                found = self._find(area, snapshot)
            if found is None:
                raise _replaced(snapshot)
            path, pin = area.where(found[0]), found[1]
        self._held[path] = snapshot.name, pin.uuid
        return HeldSnapshot(
            name=snapshot.name,
            place=path,
            identity=snapshot.identity,
            version=pin.ctransid,
            created_at=snapshot.created_at,
            is_sendable=True,
            is_pinned=True,
            subvolume=subvolume,
        )

    def check_held(self) -> None:
        """Raise SourceChanged if somebody deleted or replaced a pin that is held."""
        for path, (name, uuid) in self._held.items():
            with source_errors(f"looking for {path}"):
                found = read_subvolume(path) if status_of(path) is not None else None
            if found is None or found.uuid != uuid:
                raise SourceChanged(
                    f"{path} was deleted while it was read: it is a pin of {name}",
                    hint=f"find out what deletes snapshots below {PINS_DIRECTORY}, then submit "
                    "again",
                )

    def describe_foreign(self) -> list[str]:
        """Return a warning if another spool has pins of this repository."""
        with PinArea(self._repository.root) as area:
            sets = [one for one in area.sets()[0] if one.repo == self._repository.name]
            found = [area.where(one.path) for one in sets if self._is_foreign(one)]
        if not found:
            return []
        where = f"another spool has pins of {self._repository.name}, which stay: {', '.join(found)}"
        return [f"{where}; all instances that work on this source should share one spool"]

    def _is_foreign(self, pin_set: PinSet) -> bool:
        """Say whether another spool's request made it; a claim may be moved from spool to spool."""
        is_own_request = pin_set.request_id == self._set.request_id
        return pin_set.is_foreign_to(self._spool_id) and not is_own_request

    def _find(self, area: PinArea, snapshot: SnapshotDirectory) -> tuple[str, Subvolume] | None:
        """Return the path below the source root of the pin that exists, and the pin."""
        if snapshot.subvolume is None:
            return None
        old_name = PinName(snapshot.name, None)
        for pin_set, name in ((self._set, _name_for(snapshot)), (self._unmarked_set, old_name)):
            pin = area.read(pin_set, name)
            if pin is not None and pin.parent_uuid == snapshot.subvolume.uuid:
                return f"{pin_set.path}/{name}", pin
        return None

    def _unpinned(
        self, snapshot: SnapshotDirectory, through: SnapshotDirectory, reason: str
    ) -> HeldSnapshot:
        subvolume = snapshot.subvolume
        return HeldSnapshot(
            name=snapshot.name,
            place=snapshot.path,
            identity=snapshot.identity,
            version=through.version,
            created_at=through.created_at,
            is_sendable=subvolume is not None and subvolume.is_read_only,
            is_pinned=False,
            subvolume=subvolume,
            unpinned_reason=reason,
            places=self._places,
        )

    def release_all(self) -> None:
        """Delete all pins of this repository, of earlier requests too; the caller holds its lock.

        Those of another spool stay: its instances have a lock of their own.

        A power cut after this returns does not bring them back.
        """
        with PinArea(self._repository.root) as area:
            sets, _ = area.sets()
            ours = {
                one
                for one in sets
                if one.repo == self._repository.name and not self._is_foreign(one)
            }
            own = {self._set, self._unmarked_set}
            found = [area.delete(one) for one in sorted(ours | own, key=lambda one: one.path)]
            area.remove_if_empty()
        if ours:
            sync_filesystem(self._repository.root)
        left = [f"{area.where(one.path)}: {one.why}" for each in found for one in each.strangers]
        if left:
            raise PinImpossible(
                f"not touched: {'; '.join(left)}",
                hint="look at what it is, and move it away from the pins",
            )


def _replaced(snapshot: SnapshotDirectory) -> SourceChanged:
    return SourceChanged(
        f"{snapshot.path} was replaced while it was being pinned",
        hint="submit again when the source is no longer being changed",
    )


def _name_for(snapshot: SnapshotDirectory) -> PinName:
    return PinName(snapshot.name, snapshot.subvolume.uuid if snapshot.subvolume else None)


def describe_unpinned(held: Iterable[HeldSnapshot]) -> list[str]:
    """Return warnings, one for each reason, that name the snapshots that are not pinned."""
    names: dict[tuple[str, bool], list[str]] = {}
    for one in held:
        if not one.is_pinned:
            names.setdefault((one.unpinned_reason, one.is_sendable), []).append(str(one.name))
    return [
        f"not pinned ({reason}): {', '.join(found)}; "
        f"read in place {'' if is_sendable else 'by rsync '}and checked for changes"
        for (reason, is_sendable), found in names.items()
    ]
