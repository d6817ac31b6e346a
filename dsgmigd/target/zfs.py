"""ZFS datasets and their snapshots, by the zfs command, or without it where `native` can.

Only `-Hp` output is parsed, and only options that OpenZFS 2.1 and zfs-fuse 0.7 both know are used:
one property for each `zfs set`, no `zfs list -p`. dsgmigd records its state in user properties
with the prefix `org.hrdag.dsgmigd:`.

Raises: the errors of `zfs_errors`, and CommandTimedOut.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from dsgmigd.errors import (
    CommandFailed,
    DsgmigdError,
    TargetBusy,
    TargetExists,
    TargetMissing,
)
from dsgmigd.target.dataset import (
    COLUMNS,
    PROPERTY_PREFIX,
    Dataset,
    Found,
    parse_dataset,
    rows_of,
    wanted,
)
from dsgmigd.target.native import Native
from dsgmigd.target.zfs_errors import held, is_lasting, typed_error
from dsgmigd.target.zfs_fuse import mounting

# 10 ms, doubled each time: 20 s in all. A close reaches zfs-fuse some milliseconds late.
_BUSY_ATTEMPTS = 12
_BUSY_SECONDS = 0.01

Answer = TypeVar("Answer")


class RunsCommands(Protocol):
    """The part of `dsgmigd.host.command.Commands` that this module uses."""

    def output(
        self, *argv: str, timeout_seconds: float = ..., keep_descriptors: tuple[int, ...] = ...
    ) -> str:
        """Run a program to its end and return what it printed."""


class Zfs:
    """The zfs command, with typed errors. `properties` are given without dsgmigd's prefix."""

    def __init__(
        self,
        commands: RunsCommands,
        *,
        native: Native | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._commands = commands
        self._core = native.core if native else None
        self.mounts = native.mounts if native else None
        self._sleep = sleep

    def read(
        self, name: str, keys: tuple[str, ...], *, with_snapshots: bool = True
    ) -> Dataset | None:
        """Return the dataset with the user properties `keys`; None if it does not exist."""
        if self._core and self._core.exists(name) is False:
            return None
        columns, properties = ",".join(COLUMNS), ",".join(wanted(keys))
        depth = ("-r", "-d", "1") if with_snapshots else ()
        try:
            output = self._zfs("get", "-Hp", *depth, "-o", columns, properties, name)
        except TargetMissing:
            return None
        return parse_dataset(name, output, keys)

    @property
    def joins_changes(self) -> bool:
        """Say whether several changes may be one transaction."""
        return self._core is not None

    def exists(self, name: str) -> bool:
        """Say whether there is a dataset of this name."""
        found = self._core.exists(name) if self._core else None
        return self.read(name, (), with_snapshots=False) is not None if found is None else found

    def look_at(self, names: Sequence[str], keys: tuple[str, ...]) -> dict[str, dict[str, Found]]:
        """Return these properties of several datasets; raise TargetMissing if one is missing."""
        columns = ",".join(COLUMNS)
        output = self._zfs("get", "-Hp", "-o", columns, ",".join(keys), *names)
        found: dict[str, dict[str, Found]] = {name: {} for name in names}
        for name, key, source, value in rows_of(output, keys):
            found[name][key] = Found(value, source)
        return found

    def local_values(self, name: str, key: str) -> dict[str, str]:
        """Return a user property of everything from `name` down on which it is set itself."""
        columns = ("-s", "local,received", "-o", "name,value")
        output = self._zfs("get", "-Hpr", *columns, PROPERTY_PREFIX + key, name)
        return dict(line.split("\t", 1) for line in output.splitlines())

    def children(self, name: str) -> tuple[str, ...]:
        """Return the names of the file systems directly below `name`."""
        output = self._zfs("list", "-H", "-r", "-d", "1", "-t", "filesystem", "-o", "name", name)
        return tuple(line for line in output.splitlines() if line != name)

    def has_children(self, name: str) -> bool:
        """Say whether there is a file system or a volume below `name`."""
        return len(self.rows_of(name, "name")) > 1

    def rows_of(self, name: str, *columns: str) -> list[list[str]]:
        """Return these properties of `name`, and of each file system and volume directly below."""
        below = ("-r", "-d", "1", "-t", "filesystem,volume", "-o", ",".join(columns))
        return [line.split("\t") for line in self._zfs("list", "-H", *below, name).splitlines()]

    def option(self, name: str, key: str) -> str:
        """Return the value of a native property."""
        return self._zfs("get", "-Hp", "-o", "value", key, name).strip()

    def used_bytes(self, name: str) -> int:
        """Return how many bytes become free when the dataset `name` is destroyed."""
        return int(self.option(name, "used"))

    def available_bytes(self, name: str) -> int:
        """Return how many bytes can still be written below the dataset `name`."""
        return int(self.option(name, "available"))

    def create(self, name: str, options: Mapping[str, str], properties: Mapping[str, str]) -> None:
        """Create and mount the file system `name`; its parent must exist."""
        with mounting() as turn:
            self._zfs("create", *_options(options, properties), name, keep_descriptors=turn)

    def sources(self, name: str, keys: tuple[str, ...]) -> dict[str, str]:
        """Return the source of each of the native properties `keys` of `name`.

        "local": it is set on the dataset itself; "default": neither there nor on a parent.
        """
        output = self._zfs("get", "-Hp", "-o", "property,source", ",".join(keys), name)
        rows = (line.partition("\t") for line in output.splitlines())
        return {key: source for key, _, source in rows}

    def set_option(self, name: str, key: str, value: str) -> None:
        """Set a native property."""
        self._zfs("set", f"{key}={value}", name)

    def ensure_mounted(self, name: str, options: Mapping[str, str]) -> None:
        """Create and mount the file system `name` unless it is mounted.

        Another instance may do the same at the same time.
        """
        for attempt in range(_BUSY_ATTEMPTS):
            dataset = self.read(name, (), with_snapshots=False)
            if dataset is not None and dataset.is_mounted:
                return
            # A dataset that another instance has just created is busy until it is mounted.
            with contextlib.suppress(TargetExists, TargetBusy):
                if dataset is None:
                    self.create(name, options, {})
                else:
                    self.mount(name)
                return
            self._sleep(_BUSY_SECONDS * 2**attempt)
        raise TargetBusy(f"{name} cannot be mounted", hint=f"try: zfs mount {name}")

    def clone(
        self, snapshot: str, name: str, options: Mapping[str, str], properties: Mapping[str, str]
    ) -> None:
        """Create the file system `name` as a clone of `snapshot`, and mount it."""
        with mounting() as turn:
            arguments = (*_options(options, properties), snapshot, name)
            self._zfs("clone", *arguments, keep_descriptors=turn)

    def snapshot(self, name: str, properties: Mapping[str, str]) -> None:
        """Create the snapshot `name` ("dataset@snapshot") and its properties in one transaction."""
        if self._core:
            self._core.snapshot(name, _prefixed(properties))
        else:
            self._zfs("snapshot", *_options({}, properties), name)

    def mark_and_snapshot(
        self, marked: str, mark: tuple[str, str], name: str, properties: Mapping[str, str]
    ) -> None:
        """Set the user property `mark` of a snapshot, then create the next one.

        Both in one transaction, where that is possible.
        """
        key, value = mark
        if self._core:
            prefixed = (PROPERTY_PREFIX + key, value)
            if self._core.mark_and_snapshot(marked, prefixed, name, _prefixed(properties)):
                return
        self.set_property(marked, key, value)
        self.snapshot(name, properties)

    def set_property(self, name: str, key: str, value: str) -> None:
        """Set a user property; `key` has no prefix."""
        if self._core:
            self._core.set_properties(name, _prefixed({key: value}))
        else:
            self._zfs("set", f"{PROPERTY_PREFIX}{key}={value}", name)

    def rollback(self, snapshot: str) -> None:
        """Roll a file system back to its newest snapshot."""

        def roll_back() -> None:
            try:
                self._zfs("rollback", snapshot)
            except CommandFailed as error:
                # zfs-fuse reports this for a short time after an unmount; a real one stays.
                if "I/O error" not in error.stderr:
                    raise
                raise TargetBusy(
                    error.stderr.strip(), hint="check the pool: zpool status -v"
                ) from error

        self.while_busy(roll_back)

    def destroy(self, name: str) -> None:
        """Destroy one file system or snapshot that nothing depends on."""

        def destroy() -> None:
            try:
                self._zfs("destroy", name)
            except TargetBusy as error:
                if "@" not in name or not self._has_hold(name):
                    raise
                raise held(name) from error

        self.while_busy(destroy)

    def destroy_snapshots(self, names: Sequence[str]) -> None:
        """Destroy snapshots of one file system, in one transaction where that is possible."""
        if self._core and names:
            with contextlib.suppress(DsgmigdError):  # the command says what is wrong with which
                self._core.destroy_snapshots(names)
                return
        for name in names:
            self.destroy(name)

    def _has_hold(self, snapshot: str) -> bool:
        """Say whether a hold keeps a snapshot; the command `zfs holds` fails on zfs-fuse."""
        with contextlib.suppress(DsgmigdError):
            return self.option(snapshot, "userrefs") not in {"0", "-"}
        return False

    def promote(self, name: str) -> None:
        """Move the snapshots up to its origin from the original dataset to the clone `name`."""
        self._zfs("promote", name)

    def rename(self, old: str, new: str) -> None:
        """Rename an unmounted file system."""
        self.while_busy(lambda: self._zfs("rename", old, new))

    def mount(self, name: str) -> None:
        """Mount a file system at its mountpoint; it is no error if it is mounted already."""
        try:
            with mounting() as turn:
                self._zfs("mount", name, keep_descriptors=turn)
        except CommandFailed as error:
            if "already mounted" not in error.stderr:
                raise

    def unmount(self, name: str) -> None:
        """Unmount a file system; it is no error if it is not mounted."""
        try:
            self.while_busy(lambda: self._zfs("unmount", name))
        except CommandFailed as error:
            if "not currently mounted" not in error.stderr:
                raise

    def _zfs(self, *arguments: str, keep_descriptors: tuple[int, ...] = ()) -> str:
        try:
            return self._commands.output("zfs", *arguments, keep_descriptors=keep_descriptors)
        except CommandFailed as error:
            raise typed_error(error) from error

    def while_busy(self, action: Callable[[], Answer]) -> Answer:
        """Repeat `action` while ZFS reports busy, as it does for a short time after an unmount."""
        for attempt in range(_BUSY_ATTEMPTS - 1):
            try:
                return action()
            except TargetBusy as error:
                if is_lasting(error):
                    raise
                self._sleep(_BUSY_SECONDS * 2**attempt)
        return action()


def _prefixed(properties: Mapping[str, str]) -> dict[str, str]:
    return {PROPERTY_PREFIX + key: value for key, value in properties.items()}


def _options(options: Mapping[str, str], properties: Mapping[str, str]) -> list[str]:
    pairs = {**options, **_prefixed(properties)}
    return [word for key, value in pairs.items() for word in ("-o", f"{key}={value}")]
