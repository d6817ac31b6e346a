"""Snapshots that look like what an interrupted `btrfs receive` leaves.

`btrfs receive` makes a writable subvolume, and sets its received UUID and the read-only flag when
the stream has ended. Nothing else tells a snapshot that was received in part.

Raises: SourceUnreadable, HostExhausted.
"""

import contextlib

from dsgmigd.errors import SourceInvalid
from dsgmigd.source.repository import Repository, shorten


def describe_half_received(repository: Repository, limit: int | None = None) -> list[str]:
    """Return a warning if a series was received, but for some snapshots that are still writable.

    The original of a normalised copy is looked at too: what was copied from it is as incomplete.
    """
    places = [repository]
    with contextlib.suppress(SourceInvalid):  # that it cannot be looked at is told elsewhere
        original = repository.original()
        places += [original] if original else []
    return [warning for place in places for warning in _describe(place, limit)]


def _describe(place: Repository, limit: int | None) -> list[str]:
    found = [
        (str(one.name), one.subvolume)
        for one in place.snapshots
        if one.subvolume and (limit is None or one.name.number <= limit)
    ]
    whole = [name for name, subvolume in found if subvolume.received_uuid]
    half = [
        name
        for name, subvolume in found
        if not subvolume.received_uuid and not subvolume.is_read_only
    ]
    if not whole or not half:
        return []
    verbs = "are writable and have" if len(half) > 1 else "is writable and has"
    what = f"{shorten(half)} in {place.directory} {verbs} no received UUID, unlike {shorten(whole)}"
    why = "an interrupted `btrfs receive` leaves such a snapshot; compare it with its origin"
    return [f"{what}: {why}"]
