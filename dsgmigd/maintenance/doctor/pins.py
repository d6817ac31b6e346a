"""Pins that interrupted requests left below the source root.

What a pin is, `source.pin_names` says. Nothing else there is touched.

Raises: SourceMissing, SourceUnavailable, SourceUnsafe, SourceUnreadable, HostExhausted,
PinImpossible.
"""

from dsgmigd.errors import SourceUnsafe
from dsgmigd.maintenance.doctor.leftover import Leftover, foreign
from dsgmigd.names import RepoName
from dsgmigd.source.pin_area import PinArea
from dsgmigd.source.pin_names import PINS_DIRECTORY, PinSet
from dsgmigd.source.root import check_root


class PinPlace:
    """The pins of all requests below one source root, as a spool with this UUID sees them."""

    def __init__(self, root: str, spool_id: str) -> None:
        self._root = root
        self._spool_id = spool_id

    def repositories(self) -> set[RepoName]:
        """Return the repositories that have pins, in use or not."""
        with self._area() as area:
            try:
                return {one.repo for one in self._own_sets(area)}
            except SourceUnsafe:
                return set()

    def unowned(self) -> list[Leftover]:
        """Return what cannot belong to a repository."""
        with self._area() as area:
            try:
                sets, strangers = area.sets()
            except SourceUnsafe as error:
                return [foreign(area.where(PINS_DIRECTORY), error.message)]
            found = [foreign(area.where(one.path), one.why) for one in strangers]
            for one in sets:
                if one.is_foreign_to(self._spool_id):
                    why = (
                        f"it has pins of {one.repo} that another spool made, {one.spool_id}; "
                        f"this spool is {self._spool_id}"
                    )
                    found.append(foreign(area.where(one.path), why))
            return found

    def find(self, repo: RepoName) -> list[Leftover]:
        """Return the pins of `repo`, and foreign objects among them."""
        with self._area() as area:
            of_repo = [one for one in self._own_sets(area) if one.repo == repo]
            return [leftover for one in of_repo for leftover in _look_into(area, one)]

    def remove(self, leftover: Leftover) -> None:
        """Delete the pins in one directory, then the directory unless something else is in it."""
        with self._area() as area:
            for one in self._own_sets(area):
                if area.where(one.path) == leftover.where:
                    area.delete(one)
            area.remove_if_empty()

    def _own_sets(self, area: PinArea) -> list[PinSet]:
        return [one for one in area.sets()[0] if not one.is_foreign_to(self._spool_id)]

    def _area(self) -> PinArea:
        check_root(self._root)
        return PinArea(self._root)


def _look_into(area: PinArea, pin_set: PinSet) -> list[Leftover]:
    found = area.look_into(pin_set)
    unowned = [foreign(area.where(one.path), one.why) for one in found.strangers]
    if unowned and not found.pins:
        return unowned
    what = ", ".join(str(pin.snapshot) for pin in found.pins) or "an empty directory"
    why = f"pins of a request that no longer exists: {what}"
    where = area.where(pin_set.path)
    return [Leftover("pins", where, why, "remove", pin_set.repo, pin_set.request_id), *unowned]
