"""The attributes of a send stream's command as values: paths, numbers, times, snapshots.

Raises: KeyError, with the `Field` that a command lacks; ValueError; UnexpectedCommand.
"""

import struct

from dsgmigd.source.send_stream import Attributes, Field

_NANOSECONDS = 1_000_000_000
_NO_NAMES = frozenset({b"", b".", b".."})
_TIME = struct.Struct("<qI")

SnapshotId = tuple[bytes, int]
"""UUID and last transaction of a snapshot, as streams name it."""


class UnexpectedCommand(Exception):
    """A command that the kernel does not write into a stream as dsgmigd requests it."""


def checked_path(path: bytes) -> bytes:
    """Return `path` if it is the path of something below the root of the snapshot."""
    if b"\0" in path or not _NO_NAMES.isdisjoint(path.split(b"/")):
        raise UnexpectedCommand(f"has the path {path!r}, which is not below the snapshot")
    return path


def path_in(attributes: Attributes, field: Field) -> bytes:
    """Return the path in an attribute, which must be below the root of the snapshot."""
    return checked_path(bytes(attributes[field]))


def snapshot_in(attributes: Attributes, uuid: Field, transaction: Field) -> SnapshotId:
    """Return the snapshot that two attributes name."""
    return bytes(attributes[uuid]), number_in(attributes, transaction)


def number_in(attributes: Attributes, field: Field) -> int:
    """Return the number in an attribute."""
    return int.from_bytes(attributes[field], "little")


def optional_number_in(attributes: Attributes, field: Field) -> int:
    """Return the number in an attribute; 0 if the command lacks it."""
    return int.from_bytes(attributes.get(field, b""), "little")


def nanoseconds_in(attributes: Attributes, field: Field) -> int:
    """Return the time in an attribute, in nanoseconds since the epoch."""
    data = attributes[field]
    if len(data) != _TIME.size:
        raise ValueError(f"a time of {len(data)} bytes")
    seconds, fraction = _TIME.unpack(data)
    if fraction >= _NANOSECONDS:
        raise ValueError(f"{fraction} nanoseconds are more than one second")
    return int(seconds) * _NANOSECONDS + int(fraction)
