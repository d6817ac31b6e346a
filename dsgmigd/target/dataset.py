"""ZFS datasets as `zfs get -Hp` describes them: pure rules.

A snapshot inherits the user properties of its dataset, so a value counts only if its source is the
object itself.

Raises: nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

PROPERTY_PREFIX = "org.hrdag.dsgmigd:"
COLUMNS = ("name", "property", "source", "value")  # the last may be any text
_NATIVE = ("type", "guid", "creation", "origin", "mounted", "mountpoint", "readonly")
_OWN_SOURCES = frozenset({"local", "received"})


@dataclass(frozen=True)
class Snapshot:
    """A snapshot; `properties` are those of dsgmigd, without the prefix.

    `created_at` is in whole seconds since the epoch. `guid` stays the same through every rename.
    """

    name: str
    created_at: int
    properties: Mapping[str, str]
    guid: str


@dataclass(frozen=True)
class Dataset:
    """A file system or volume with its snapshots in the order in which they were made.

    `guid` stays the same through every rename, and no other file system ever has it.
    """

    name: str
    guid: str
    origin: str | None
    mountpoint: str
    is_volume: bool
    is_mounted: bool
    is_read_only: bool
    properties: Mapping[str, str]
    snapshots: tuple[Snapshot, ...]


class Found(NamedTuple):
    """The value of a property, and its source: "local" if it is set on the dataset itself."""

    value: str
    source: str


def wanted(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return all properties to ask for: those of a Dataset, and dsgmigd's own `keys`."""
    return (*_NATIVE, *(PROPERTY_PREFIX + key for key in keys))


def rows_of(output: str, keys: tuple[str, ...]) -> list[list[str]]:
    """Return the columns of each of the properties `keys`; a value may be any text."""
    rows: list[list[str]] = []
    for line in output.removesuffix("\n").split("\n"):
        row = line.split("\t", len(COLUMNS) - 1)
        if len(row) == len(COLUMNS) and row[1] in keys:
            rows.append(row)
        else:
            rows[-1][-1] += f"\n{line}"
    return rows


def parse_dataset(name: str, output: str, keys: tuple[str, ...]) -> Dataset:
    """Return the dataset `name` with its snapshots; `zfs get` was asked for `wanted(keys)`."""
    return _dataset_of(name, rows_of(output, wanted(keys)))


def _dataset_of(name: str, rows: list[list[str]]) -> Dataset:
    values: dict[str, dict[str, str]] = {}
    own: dict[str, dict[str, str]] = {}
    for subject, key, source, value in rows:
        if key.startswith(PROPERTY_PREFIX):
            if source in _OWN_SOURCES:
                own.setdefault(subject, {})[key.removeprefix(PROPERTY_PREFIX)] = value
        else:
            values.setdefault(subject, {})[key] = value
    snapshots = tuple(
        Snapshot(
            *(subject.partition("@")[2], int(native["creation"]), own.get(subject, {})),
            guid=native["guid"],
        )
        for subject, native in values.items()
        if subject.startswith(f"{name}@")
    )
    native = values[name]
    return Dataset(
        name=name,
        guid=native["guid"],
        origin=None if native["origin"] in {"-", ""} else native["origin"],
        mountpoint=native["mountpoint"],
        is_volume=native["type"] == "volume",
        is_mounted=native["mounted"] == "yes",
        is_read_only=native["readonly"] == "on",
        properties=own.get(name, {}),
        snapshots=snapshots,
    )
