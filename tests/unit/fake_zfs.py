"""A zfs command that keeps its pool in dictionaries, and its files in plain directories.

It knows what dsgmigd uses and nothing else: an option, property or subcommand that it does not know
fails, as the real one would. Its error texts are those of OpenZFS 2.1 and zfs-fuse 0.7. Files are
copied, so it is for small trees.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dsgmigd.errors import CommandFailed, TargetBusy
from tests.unit.fake_native import FakeNative

FIRST_CREATION = 1_400_000_000
_NATIVE_OPTIONS = frozenset(
    {
        *("atime", "canmount", "compression", "devices", "exec", "mountpoint", "primarycache"),
        *("readonly", "setuid", "snapdir"),
    }
)
_SWITCHES = {
    "atime": "on",
    "devices": "on",
    "exec": "on",
    "primarycache": "all",
    "readonly": "off",
    "setuid": "on",
    "snapdir": "hidden",
}
_LONGEST_NAME = 255
_COLUMNS = frozenset({"name", "property", "value", "source"})


@dataclass
class FakeSnapshot:
    """A snapshot, with a copy of the files as they were."""

    name: str
    creation: int
    files: Path
    properties: dict[str, str] = field(default_factory=dict)
    holds: list[str] = field(default_factory=list)


@dataclass
class FakeDataset:
    """A file system; `files` is where its content lies while it is not mounted."""

    name: str
    creation: int
    files: Path
    mountpoint: Path
    is_mounted: bool = False
    origin: str | None = None
    properties: dict[str, str] = field(default_factory=dict)
    snapshots: list[FakeSnapshot] = field(default_factory=list)

    @property
    def place(self) -> Path:
        """Where the files are now."""
        return self.mountpoint if self.is_mounted else self.files


class FakeZfs:
    """Takes the place of `dsgmigd.host.command.Commands` for zfs and zpool.

    `busy` counts, for a dataset or snapshot, how often it still says that it is busy; `full` holds
    the datasets below which nothing can be created; `before_destroying` names the snapshots that
    somebody makes of a dataset, one just before each attempt to destroy it, and `before_renaming`
    those that he makes of it just before it is renamed. `calls` is what was run so far. With
    `has_native` there is more than the command, as on a host with the kernel's ZFS.
    """

    def __init__(self, directory: Path, *, pool: str = "zsd", has_native: bool = False) -> None:
        self._store = directory / "store"
        self._store.mkdir()
        self._clock = FIRST_CREATION
        self._files = 0
        self._mounts = directory / "mnt"
        self.health = "ONLINE"
        self.available = 1_000_000_000
        self.datasets: dict[str, FakeDataset] = {}
        self.busy: dict[str, int] = {}
        self.full: set[str] = set()
        self.before_destroying: dict[str, list[str]] = {}
        self.before_renaming: dict[str, list[str]] = {}
        self.calls: list[tuple[str, ...]] = []
        self._commands: dict[str, Callable[[list[str]], str]] = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "clone": self._clone,
            "snapshot": self._snapshot,
            "set": self._set,
            "rollback": self._rollback,
            "destroy": self._destroy,
            "hold": self._hold,
            "promote": self._promote,
            "rename": self._rename,
            "mount": self._mount,
            "unmount": self._unmount,
        }
        self._add(pool, {})
        self.fake_native = FakeNative(self)
        self.native = self.fake_native.real() if has_native else None

    def output(
        self,
        *argv: str,
        timeout_seconds: float = 120,
        keep_descriptors: tuple[int, ...] = (),
    ) -> str:
        """Run `argv` as the real command would."""
        assert timeout_seconds > 0
        assert all(os.fstat(descriptor) for descriptor in keep_descriptors), "open when it starts"
        self.calls.append(argv)
        return self.perform(*argv)

    def perform(self, *argv: str) -> str:
        """Do what `argv` would do, without a program."""
        program, subcommand, *arguments = argv
        try:
            if program == "zpool":
                return self._zpool(subcommand, arguments)
            assert program == "zfs", f"the fake knows no program {program}"
            return self._commands.get(subcommand, self._unknown)(arguments)
        except _Failure as failure:
            raise CommandFailed(argv, status=failure.status, stderr=str(failure) + "\n") from None

    # For tests: what a user would do, or see.

    def names(self) -> list[str]:
        """Return the names of all file systems and snapshots."""
        found = list(self.datasets)
        for dataset in self.datasets.values():
            found += [f"{dataset.name}@{snapshot.name}" for snapshot in dataset.snapshots]
        return sorted(found)

    def mountpoint(self, name: str) -> Path:
        """Return where the file system `name` is mounted."""
        assert self.datasets[name].is_mounted
        return self.datasets[name].mountpoint

    def properties(self, name: str) -> dict[str, str]:
        """Return what was set on a file system or a snapshot."""
        return self._subject(name, "open").properties

    def find(self, snapshot: str) -> FakeSnapshot | None:
        """Return a snapshot; None if it does not exist."""
        try:
            return self._find_snapshot(snapshot, "open")
        except _Failure:
            return None

    def check_destroyable(self, snapshot: str) -> None:
        """Raise TargetBusy if something keeps a snapshot."""
        found = self.find(snapshot)
        is_origin = any(dataset.origin == snapshot for dataset in self.datasets.values())
        if found and (found.holds or is_origin or self._is_mounted(snapshot)):
            raise TargetBusy(f"destroying snapshot {snapshot}: made up", hint="look")

    def _is_mounted(self, snapshot: str) -> bool:
        return snapshot in self.fake_native.mounts.mounted.values()

    # Subcommands.

    def _unknown(self, arguments: list[str]) -> str:
        raise _Failure(f"unrecognized command; its arguments are {arguments}", status=2)

    def _zpool(self, subcommand: str, arguments: list[str]) -> str:
        options, names = _parse(arguments, flags="H", values="o")
        if subcommand != "list" or options.get("o") != ["health"]:
            raise _Failure(f"bad property list: invalid property '{subcommand}'", status=2)
        if names[0] not in self.datasets:
            raise _Failure(f"cannot open '{names[0]}': no such pool")
        return self.health + "\n"

    def _get(self, arguments: list[str]) -> str:
        options, (keys, *names) = _parse(arguments, flags="Hpr", values="ods", pairs="Hp")
        columns = options["o"][0].split(",")
        if not set(columns) <= _COLUMNS:
            raise _Failure(f"invalid column name '{columns}'", status=2)
        return "".join(self._get_one(options, columns, keys, name) for name in names)

    def _get_one(
        self, options: dict[str, list[str]], columns: list[str], keys: str, name: str
    ) -> str:
        subjects: list[FakeDataset | FakeSnapshot] = [self._subject(name, "open")]
        dataset = subjects[0]
        if "r" in options and isinstance(dataset, FakeDataset):
            subjects += dataset.snapshots
            below = self._below(name, is_deep=options.get("d") != ["1"])
            subjects += below if "d" in options else self._with_snapshots(below)
        lines = []
        for subject in subjects:
            full = self._full_name(subject, dataset)
            for key in keys.split(","):
                value, source = self._value(subject, key)
                if source not in options.get("s", [source])[0].split(","):
                    continue
                row = {"name": full, "property": key, "value": value, "source": source}
                lines.append("\t".join(row[column] for column in columns) + "\n")
        return "".join(lines)

    def _list(self, arguments: list[str]) -> str:
        options, (name,) = _parse(arguments, flags="Hr", values="dto")
        if options["o"] == ["name,written"]:
            raise _Failure("bad property list: invalid property 'written'", status=2)
        expected = {"H": [], "r": [], "d": ["1"], "o": ["name"]}
        kinds = options.pop("t")
        if options != expected or kinds not in (["filesystem"], ["filesystem,volume"]):
            raise _Failure(f"the fake lists children only, not {options}", status=2)
        self._dataset(name, "open")
        return "".join(f"{one}\n" for one in (name, *self._children(name)))

    def _create(self, arguments: list[str]) -> str:
        options, (name,) = _parse(arguments, values="o")
        self._check_new(name, "create")
        dataset = self._add(name, _properties(options))
        self._mount([dataset.name])
        return ""

    def _clone(self, arguments: list[str]) -> str:
        options, (origin, name) = _parse(arguments, values="o")
        snapshot = self._find_snapshot(origin, "open")
        self._check_new(name, "create")
        dataset = self._add(name, _properties(options))
        dataset.origin = origin
        _replace(dataset.files, snapshot.files)
        self._mount([name])
        return ""

    def _snapshot(self, arguments: list[str]) -> str:
        options, (full,) = _parse(arguments, values="o")
        name, _, short = full.partition("@")
        dataset = self._dataset(name, "open")
        if any(one.name == short for one in dataset.snapshots):
            raise _Failure(f"cannot create snapshot '{full}': dataset already exists")
        if name in self.full:
            raise _Failure(f"cannot create snapshot '{full}': out of space")
        files = self._new_files()
        _replace(files, dataset.place, without=self._mounted_below(dataset))
        dataset.snapshots.append(FakeSnapshot(short, self._tick(), files, _properties(options)))
        return ""

    def _set(self, arguments: list[str]) -> str:
        _, (pair, name) = _parse(arguments)  # zfs-fuse takes one property only
        self._subject(name, "open").properties.update(_properties({"o": [pair]}))
        return ""

    def _rollback(self, arguments: list[str]) -> str:
        _, (full,) = _parse(arguments)
        snapshot = self._find_snapshot(full, "open")
        dataset = self.datasets[full.partition("@")[0]]
        self._check_idle(full, "rollback")
        if dataset.snapshots[-1] is not snapshot:
            raise _Failure(
                f"cannot rollback to '{full}': more recent snapshots exist\n"
                f"use '-r' to force deletion of the following snapshots:\n"
                f"{dataset.name}@{dataset.snapshots[-1].name}"
            )
        _replace(dataset.place, snapshot.files)
        return ""

    def _destroy(self, arguments: list[str]) -> str:
        _, (name,) = _parse(arguments)
        subject = self._subject(name, "open")
        self._check_idle(name, "destroy")
        if self.before_destroying.get(name):
            self._snapshot([f"{name}@{self.before_destroying[name].pop(0)}"])
        if isinstance(subject, FakeSnapshot):
            if any(dataset.origin == name for dataset in self.datasets.values()):
                raise _Failure(f"cannot destroy '{name}': snapshot has dependent clones")
            if subject.holds or self._is_mounted(name):
                raise _Failure(f"cannot destroy snapshot {name}: dataset is busy")
            self.datasets[name.partition("@")[0]].snapshots.remove(subject)
        else:
            if subject.snapshots or self._children(name):
                raise _Failure(
                    f"cannot destroy '{name}': filesystem has children\n"
                    "use '-r' to destroy the following datasets:"
                )
            if subject.is_mounted:
                self._unmount([name])
            del self.datasets[name]
        shutil.rmtree(subject.files)
        return ""

    def _hold(self, arguments: list[str]) -> str:
        _, (tag, name) = _parse(arguments)
        self._find_snapshot(name, "hold").holds.append(tag)
        return ""

    def _promote(self, arguments: list[str]) -> str:
        _, (name,) = _parse(arguments)
        clone = self._dataset(name, "open")
        if clone.origin is None:
            raise _Failure(f"cannot promote '{name}': not a cloned filesystem")
        old_name, _, last = clone.origin.partition("@")
        old = self.datasets[old_name]
        count = [snapshot.name for snapshot in old.snapshots].index(last) + 1
        moving, old.snapshots = old.snapshots[:count], old.snapshots[count:]
        clone.snapshots = [*moving, *clone.snapshots]
        moved = {f"{old_name}@{one.name}": f"{name}@{one.name}" for one in moving}
        clone.origin, old.origin = old.origin, f"{name}@{last}"
        for dataset in self.datasets.values():
            if dataset is not old:
                dataset.origin = moved.get(dataset.origin or "", dataset.origin)
        return ""

    def _rename(self, arguments: list[str]) -> str:
        _, (old, new) = _parse(arguments)
        dataset = self._dataset(old, "open")
        for name in self.before_renaming.pop(old, []):
            self._snapshot([f"{old}@{name}"])
        self._check_idle(old, "rename")
        self._check_new(new, "rename")
        if dataset.is_mounted or self._children(old):
            raise _Failure(f"cannot rename '{old}': the fake renames unmounted leaves only")
        self.datasets[new] = self.datasets.pop(old)
        dataset.name, dataset.mountpoint = new, self._mounts / new
        for other in self.datasets.values():
            if other.origin and other.origin.startswith(f"{old}@"):
                other.origin = new + other.origin[len(old) :]
        return ""

    def _mount(self, arguments: list[str]) -> str:
        _, (name,) = _parse(arguments)
        dataset = self._dataset(name, "open")
        if dataset.is_mounted:
            raise _Failure(f"cannot mount '{name}': filesystem already mounted")
        if dataset.properties.get("mountpoint") in {"none", "legacy"}:
            kind = dataset.properties["mountpoint"]
            raise _Failure(f"cannot mount '{name}': {kind} mountpoint")
        if dataset.properties.get("canmount") == "off":
            raise _Failure(f"cannot mount '{name}': 'canmount' property is set to 'off'")
        dataset.mountpoint.mkdir(parents=True, exist_ok=True)
        dataset.mountpoint.rmdir()
        dataset.files.rename(dataset.mountpoint)
        dataset.is_mounted = True
        return ""

    def _unmount(self, arguments: list[str]) -> str:
        _, (name,) = _parse(arguments)
        dataset = self._dataset(name, "open")
        if not dataset.is_mounted:
            raise _Failure(f"cannot unmount '{name}': not currently mounted")
        self._check_idle(name, "unmount")
        if self._mounted_below(dataset):
            raise _Failure(f"cannot unmount '{dataset.mountpoint}': Device or resource busy")
        dataset.mountpoint.rename(dataset.files)
        dataset.mountpoint.mkdir()
        dataset.is_mounted = False
        return ""

    # The pool.

    def _add(self, name: str, properties: dict[str, str]) -> FakeDataset:
        files = self._new_files()
        files.mkdir()
        dataset = FakeDataset(name, self._tick(), files, self._mounts / name, properties=properties)
        self.datasets[name] = dataset
        if "/" not in name:
            self._mount([name])
        return dataset

    def _new_files(self) -> Path:
        self._files += 1
        return self._store / str(self._files)

    def _tick(self) -> int:
        self._clock += 1
        return self._clock

    def _below(self, name: str, *, is_deep: bool) -> list["FakeDataset"]:
        below = sorted(one for one in self.datasets if one.startswith(f"{name}/"))
        names = below if is_deep else self._children(name)
        return [self.datasets[one] for one in names]

    @staticmethod
    def _with_snapshots(datasets: list["FakeDataset"]) -> list["FakeDataset | FakeSnapshot"]:
        found: list[FakeDataset | FakeSnapshot] = []
        for one in datasets:
            found += [one, *one.snapshots]
        return found

    def _children(self, name: str) -> list[str]:
        return sorted(one for one in self.datasets if one.rpartition("/")[0] == name)

    def _mounted_below(self, dataset: FakeDataset) -> set[str]:
        children = (self.datasets[name] for name in self._children(dataset.name))
        return {child.mountpoint.name for child in children if child.is_mounted}

    def _dataset(self, name: str, action: str) -> FakeDataset:
        if len(name) > _LONGEST_NAME:
            raise _Failure(f"cannot {action} '{name}': invalid dataset name")
        if name not in self.datasets:
            raise _Failure(f"cannot {action} '{name}': dataset does not exist")
        return self.datasets[name]

    def _find_snapshot(self, full: str, action: str) -> FakeSnapshot:
        name, _, short = full.partition("@")
        dataset = self._dataset(name, action)
        for snapshot in dataset.snapshots:
            if snapshot.name == short:
                return snapshot
        raise _Failure(f"cannot {action} '{full}': dataset does not exist")

    def _subject(self, name: str, action: str) -> FakeDataset | FakeSnapshot:
        return self._find_snapshot(name, action) if "@" in name else self._dataset(name, action)

    def _full_name(self, subject: FakeDataset | FakeSnapshot, asked: object) -> str:
        if isinstance(subject, FakeDataset):
            return subject.name
        for dataset in self.datasets.values():
            if subject in dataset.snapshots:
                return f"{dataset.name}@{subject.name}"
        raise AssertionError(asked)

    def _check_new(self, name: str, action: str) -> None:
        if name in self.datasets:
            raise _Failure(f"cannot {action} '{name}': dataset already exists")
        parent = name.rpartition("/")[0]
        if parent not in self.datasets:
            raise _Failure(f"cannot {action} '{name}': parent does not exist")
        if parent in self.full:
            raise _Failure(f"cannot {action} '{name}': out of space")

    def _check_idle(self, name: str, action: str) -> None:
        if self.busy.get(name, 0) > 0:
            self.busy[name] -= 1
            raise _Failure(f"cannot {action} '{name}': dataset is busy")

    def _value(self, subject: FakeDataset | FakeSnapshot, key: str) -> tuple[str, str]:
        """Return a property's value and source."""
        if ":" in key:
            return self._user_value(subject, key)
        is_snapshot = isinstance(subject, FakeSnapshot)
        values = {
            "available": str(self.available),
            "used": str(
                _size(subject.place if isinstance(subject, FakeDataset) else subject.files)
            ),
            "creation": str(subject.creation),
            "guid": f"{subject.creation}000",
            "objsetid": f"{subject.creation}",
            "type": "snapshot" if is_snapshot else subject.properties.get("type", "filesystem"),
            "origin": "-",
            "mounted": "-",
            "mountpoint": "-",
        }
        if isinstance(subject, FakeSnapshot):
            values["userrefs"] = str(len(subject.holds))
        else:
            mountpoint = str(subject.mountpoint)
            values["origin"] = subject.origin or "-"
            values["written"] = self._written(subject)
            values["mounted"] = "yes" if subject.is_mounted else "no"
            values["mountpoint"] = subject.properties.get("mountpoint", mountpoint)
            values["canmount"] = subject.properties.get("canmount", "on")
            if key in {"mountpoint", "canmount"}:
                return values[key], "local" if key in subject.properties else "default"
        if key in _SWITCHES:
            value, source = self._user_value(subject, key)
            return (_SWITCHES[key], "default") if source == "-" else (value, source)
        if key not in values:
            raise _Failure(f"bad property list: invalid property '{key}'", status=2)
        return values[key], "-"

    def _written(self, dataset: FakeDataset) -> str:
        before = self._find_snapshot(dataset.origin, "open").files if dataset.origin else None
        return str(_size(dataset.place) - (_size(before) if before else 0))

    def _user_value(self, subject: FakeDataset | FakeSnapshot, key: str) -> tuple[str, str]:
        if key in subject.properties:
            return subject.properties[key], "local"
        for ancestor in self._ancestors(subject):
            if key in ancestor.properties:
                return ancestor.properties[key], f"inherited from {ancestor.name}"
        return "-", "-"

    def _ancestors(self, subject: FakeDataset | FakeSnapshot) -> Iterator[FakeDataset]:
        name = self._full_name(subject, subject)
        name = name.partition("@")[0] if "@" in name else name.rpartition("/")[0]
        while name:
            yield self.datasets[name]
            name = name.rpartition("/")[0]


class _Failure(Exception):
    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def _parse(
    arguments: list[str], *, flags: str = "", values: str = "", pairs: str = ""
) -> tuple[dict[str, list[str]], list[str]]:
    """Split options from operands; an option that is not in `flags` or `values` fails."""
    options: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        letters = rest.pop(0)[1:]
        if letters in values and len(letters) == 1:
            options.setdefault(letters, []).append(rest.pop(0))
            continue
        for letter in letters:
            if letter not in flags and letter not in pairs:
                raise _Failure(f"invalid option '{letter}'", status=2)
            options[letter] = []
    return options, rest


def _properties(options: dict[str, list[str]]) -> dict[str, str]:
    properties = {}
    for pair in options.get("o", []):
        key, equals, value = pair.partition("=")
        if not equals:
            raise _Failure("missing '=' for property=value argument", status=2)
        if ":" not in key and key not in _NATIVE_OPTIONS:
            raise _Failure(f"bad property list: invalid property '{key}'", status=2)
        properties[key] = value
    return properties


def _size(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())


def _replace(target: Path, source: Path, *, without: set[str] | None = None) -> None:
    """Make `target` a copy of `source`: its content, its mode and its times."""
    if target.exists():
        for entry in os.scandir(target):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    shutil.copytree(
        source,
        target,
        symlinks=True,
        dirs_exist_ok=True,
        ignore=lambda directory, _: (without or set()) if directory == str(source) else set(),
    )


class RefusingZfs:
    """A zfs of which every command fails with one message."""

    def __init__(self, stderr: str) -> None:
        self._stderr = stderr

    def output(
        self,
        *argv: str,
        timeout_seconds: float = 120,
        keep_descriptors: tuple[int, ...] = (),
    ) -> str:
        assert timeout_seconds
        assert not keep_descriptors
        raise CommandFailed(argv, status=1, stderr=self._stderr + "\n")


class FailingZfs(FakeZfs):
    """A zfs of which one command fails before it does anything."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._left: int | None = None

    def fail_after(self, count: int | None) -> None:
        self._left = count

    def output(
        self,
        *argv: str,
        timeout_seconds: float = 120,
        keep_descriptors: tuple[int, ...] = (),
    ) -> str:
        if self._left == 0:
            raise CommandFailed(argv, status=1, stderr="cut off")
        if self._left is not None:
            self._left -= 1
        return super().output(
            *argv, timeout_seconds=timeout_seconds, keep_descriptors=keep_descriptors
        )
