"""ZFS datasets and their snapshots, by the zfs command.

Only `-Hp` output is parsed, and only options that OpenZFS 2.1 and zfs-fuse 0.7 both know are used:
one property for each `zfs set`, no `zfs list -p`. dsgmigd's own state stands in user properties
with the prefix `org.hrdag.dsgmigd:`; a snapshot inherits those of its dataset, so only values
whose source is the object itself are taken.

Leaving errors: TargetMissing, TargetUnavailable, TargetExists, TargetFull, TargetBusy,
CommandFailed, CommandTimedOut.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dsgmigd.errors import (
    CommandFailed,
    DsgmigdError,
    TargetBusy,
    TargetExists,
    TargetFull,
    TargetMissing,
    TargetUnavailable,
)
from dsgmigd.zfs.mounting import mounting

PROPERTY_PREFIX = "org.hrdag.dsgmigd:"

_NATIVE = ("type", "guid", "creation", "origin", "mounted", "mountpoint", "readonly")
# 10 ms, doubled each time: 20 s in all. A close reaches zfs-fuse a few ms late.
_BUSY_ATTEMPTS = 12
_BUSY_SECONDS = 0.01
_OWN_SOURCES = frozenset({"local", "received"})

Answer = TypeVar("Answer")


class RunsCommands(Protocol):
    """What this adapter needs of `dsgmigd.command.Commands`."""

    def output(
        self, *argv: str, timeout_seconds: float = ..., keep_descriptors: tuple[int, ...] = ...
    ) -> str:
        """Run a program to its end and return what it printed."""


@dataclass(frozen=True)
class Snapshot:
    """A snapshot; `properties` are dsgmigd's own, without the prefix."""

    name: str
    created_at: int
    properties: Mapping[str, str]


@dataclass(frozen=True)
class Dataset:
    """A file system with its snapshots in the order in which they were made.

    No other one ever has its `guid`, whatever it is called.
    """

    name: str
    guid: str
    origin: str | None
    mountpoint: str
    is_mounted: bool
    is_read_only: bool
    properties: Mapping[str, str]
    snapshots: tuple[Snapshot, ...]


class Zfs:
    """The zfs command, with typed errors. `properties` are given without dsgmigd's prefix."""

    def __init__(
        self, commands: RunsCommands, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._commands = commands
        self._sleep = sleep

    def read(self, name: str, keys: tuple[str, ...]) -> Dataset | None:
        """Return the dataset with the user properties `keys`; None if there is none."""
        wanted = ",".join((*_NATIVE, *(PROPERTY_PREFIX + key for key in keys)))
        columns = "name,property,value,source"
        try:
            output = self._zfs("get", "-Hp", "-r", "-d", "1", "-o", columns, wanted, name)
        except TargetMissing:
            return None
        return _parse_dataset(name, output)

    def children(self, name: str) -> tuple[str, ...]:
        """Return the names of the file systems directly below `name`."""
        output = self._zfs("list", "-H", "-r", "-d", "1", "-t", "filesystem", "-o", "name", name)
        return tuple(line for line in output.splitlines() if line != name)

    def available_bytes(self, name: str) -> int:
        """Return how many bytes can still be written below the dataset `name`."""
        return int(self._zfs("get", "-Hp", "-o", "value", "available", name))

    def used_bytes(self, name: str) -> int:
        """Return how many bytes become free when the dataset `name` is destroyed."""
        return int(self._zfs("get", "-Hp", "-o", "value", "used", name))

    def written_bytes(self, name: str) -> int:
        """Return how much was written to `name` since its last snapshot, or since it was cloned.

        Raises CommandFailed on zfs-fuse, which does not know.
        """
        return int(self._zfs("get", "-Hp", "-o", "value", "written", name))

    def create(self, name: str, options: Mapping[str, str], properties: Mapping[str, str]) -> None:
        """Create and mount the file system `name`; its parent must exist."""
        with mounting() as turn:
            self._zfs("create", *_options(options, properties), name, keep_descriptors=turn)

    def sources(self, name: str, keys: tuple[str, ...]) -> dict[str, str]:
        """Return where each of the native properties `keys` of `name` has its value from.

        "local" is the dataset itself; "default" says that nobody set it there or above.
        """
        output = self._zfs("get", "-Hp", "-o", "property,source", ",".join(keys), name)
        rows = (line.partition("\t") for line in output.splitlines())
        return {key: source for key, _, source in rows}

    def set_option(self, name: str, key: str, value: str) -> None:
        """Set a native property."""
        self._zfs("set", f"{key}={value}", name)

    def provide(self, name: str, options: Mapping[str, str]) -> None:
        """Create and mount the file system `name` unless it is there; others may do so as well."""
        for attempt in range(_BUSY_ATTEMPTS):
            dataset = self.read(name, ())
            if dataset is not None and dataset.is_mounted:
                return
            # What another instance created a moment ago is not mounted yet, and busy.
            with contextlib.suppress(TargetExists, TargetBusy):
                if dataset is None:
                    self.create(name, options, {})
                else:
                    self.mount(name)
                return
            self._sleep(_BUSY_SECONDS * 2**attempt)
        raise TargetBusy(f"{name} does not get mounted", hint=f"try: zfs mount {name}")

    def clone(
        self, snapshot: str, name: str, options: Mapping[str, str], properties: Mapping[str, str]
    ) -> None:
        """Make the file system `name` from `snapshot`, and mount it."""
        with mounting() as turn:
            arguments = (*_options(options, properties), snapshot, name)
            self._zfs("clone", *arguments, keep_descriptors=turn)

    def snapshot(self, name: str, properties: Mapping[str, str]) -> None:
        """Make the snapshot `name` ("dataset@snapshot") with its properties in one go."""
        self._zfs("snapshot", *_options({}, properties), name)

    def set_property(self, name: str, key: str, value: str) -> None:
        """Set one of dsgmigd's own properties."""
        self._zfs("set", f"{PROPERTY_PREFIX}{key}={value}", name)

    def rollback(self, snapshot: str) -> None:
        """Bring a file system back to its newest snapshot."""

        def roll_back() -> None:
            try:
                self._zfs("rollback", snapshot)
            except CommandFailed as error:
                # What zfs-fuse says for a moment after an unmount; a real one stays.
                if "I/O error" not in error.stderr:
                    raise
                raise TargetBusy(
                    error.stderr.strip(), hint="check the pool: zpool status -v"
                ) from error

        self._while_busy(roll_back)

    def destroy(self, name: str) -> None:
        """Destroy one file system or snapshot that nothing depends on."""
        self._while_busy(lambda: self._zfs("destroy", name))

    def promote(self, name: str) -> None:
        """Let the clone `name` own the snapshots up to its origin."""
        self._zfs("promote", name)

    def rename(self, old: str, new: str) -> None:
        """Rename an unmounted file system."""
        self._while_busy(lambda: self._zfs("rename", old, new))

    def mount(self, name: str) -> None:
        """Mount a file system at its mountpoint; mounted already is no error."""
        try:
            with mounting() as turn:
                self._zfs("mount", name, keep_descriptors=turn)
        except CommandFailed as error:
            if "already mounted" not in error.stderr:
                raise

    def unmount(self, name: str) -> None:
        """Unmount a file system; not mounted is no error."""
        try:
            self._while_busy(lambda: self._zfs("unmount", name))
        except CommandFailed as error:
            if "not currently mounted" not in error.stderr:
                raise

    def _zfs(self, *arguments: str, keep_descriptors: tuple[int, ...] = ()) -> str:
        try:
            return self._commands.output("zfs", *arguments, keep_descriptors=keep_descriptors)
        except CommandFailed as error:
            raise _typed(error) from error

    def _while_busy(self, action: Callable[[], Answer]) -> Answer:
        """Repeat `action` while ZFS says busy: it does so for a moment after an unmount."""
        for attempt in range(_BUSY_ATTEMPTS - 1):
            try:
                return action()
            except TargetBusy:
                self._sleep(_BUSY_SECONDS * 2**attempt)
        return action()


def _options(options: Mapping[str, str], properties: Mapping[str, str]) -> list[str]:
    pairs = [f"{key}={value}" for key, value in options.items()]
    pairs += [f"{PROPERTY_PREFIX}{key}={value}" for key, value in properties.items()]
    return [word for pair in pairs for word in ("-o", pair)]


# What zfs(8) says, by its own words; the integration tests provoke each of them.
_KINDS: tuple[tuple[str, type[DsgmigdError], str], ...] = (
    ("does not exist", TargetMissing, "check the name with: zfs list"),
    ("no such pool", TargetUnavailable, "import the pool with: zpool import"),
    ("currently suspended", TargetUnavailable, "see what the pool needs: zpool status -v"),
    ("already exists", TargetExists, "look at it with: zfs list -t all -r"),
    ("out of space", TargetFull, "free space in the pool or raise the quota"),
    ("No space left", TargetFull, "free space in the pool or raise the quota"),
    ("quota exceeded", TargetFull, "raise the quota"),
    ("is busy", TargetBusy, "see who holds it with: fuser -vm MOUNTPOINT"),
    ("resource busy", TargetBusy, "see who holds it with: fuser -vm MOUNTPOINT"),
    # zfs-fuse went away, drops a connection when a client dies, or was never started; then the
    # words of OpenZFS without its kernel modules.
    ("Connection reset by peer", TargetUnavailable, "see whether zfs-fuse runs: zpool list"),
    ("initialize ZFS library", TargetUnavailable, "start ZFS; zpool list says what it misses"),
    ("ZFS modules", TargetUnavailable, "load the kernel module: modprobe zfs"),
    # Another instance mounts the same new dataset at the same moment.
    ("create mountpoint: File exists", TargetBusy, "see what stands at the mountpoint"),
)


def _typed(error: CommandFailed) -> DsgmigdError:
    for words, kind, hint in _KINDS:
        if words in error.stderr:
            return kind(error.stderr.strip(), hint=hint)
    return error


def _parse_dataset(name: str, output: str) -> Dataset:
    values: dict[str, dict[str, str]] = {}
    own: dict[str, dict[str, str]] = {}
    for line in output.splitlines():
        subject, key, value, source = line.split("\t")
        if key.startswith(PROPERTY_PREFIX):
            if source in _OWN_SOURCES:
                own.setdefault(subject, {})[key.removeprefix(PROPERTY_PREFIX)] = value
        else:
            values.setdefault(subject, {})[key] = value
    snapshots = tuple(
        Snapshot(subject.partition("@")[2], int(native["creation"]), own.get(subject, {}))
        for subject, native in values.items()
        if subject.startswith(f"{name}@")
    )
    native = values[name]
    return Dataset(
        name=name,
        guid=native["guid"],
        origin=None if native["origin"] in {"-", ""} else native["origin"],
        mountpoint=native["mountpoint"],
        is_mounted=native["mounted"] == "yes",
        is_read_only=native["readonly"] == "on",
        properties=own.get(name, {}),
        snapshots=snapshots,
    )
