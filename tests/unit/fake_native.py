"""What a host with the kernel's ZFS has besides the command, for the pool in memory of `fake_zfs`.

`changes` counts the transactions that were waited for.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dsgmigd.errors import CommandFailed, DsgmigdError, TargetBusy, TargetMissing
from dsgmigd.target.native import Native
from dsgmigd.target.zfs_errors import typed_error

if TYPE_CHECKING:
    from tests.unit.fake_zfs import FakeZfs


class FakeCore:
    """Stands for `dsgmigd.target.libzfs_core.LibzfsCore`; `fails` is how many calls will fail."""

    def __init__(self, zfs: "FakeZfs") -> None:
        self._zfs = zfs
        self.changes: list[tuple[str, ...]] = []
        self.fails = 0

    def exists(self, name: str) -> bool | None:
        return name in self._zfs.names()

    def snapshot(self, name: str, properties: Mapping[str, str]) -> None:
        self._change("snapshot", name)
        self._run("snapshot", *_options(properties), name)

    def set_properties(self, name: str, properties: Mapping[str, str]) -> None:
        self._change("set", name)
        for key, value in properties.items():
            self._run("set", f"{key}={value}", name)

    def mark_and_snapshot(
        self, marked: str, mark: tuple[str, str], name: str, properties: Mapping[str, str]
    ) -> bool:
        try:
            self._change("mark and snapshot", marked, name)
            self._run("set", "=".join(mark), marked)
            self._run("snapshot", *_options(properties), name)
        except DsgmigdError:
            return False
        return True

    def destroy_snapshots(self, names: Sequence[str]) -> None:
        self._change("destroy", *names)
        there = [name for name in names if self.exists(name)]
        for name in there:
            self._zfs.check_destroyable(name)
        for name in there:
            self._run("destroy", name)

    def _change(self, *words: str) -> None:
        self.changes.append(words)
        if self.fails:
            self.fails -= 1
            raise CommandFailed(words, status=5, stderr="made up")

    def _run(self, *arguments: str) -> None:
        try:
            self._zfs.perform("zfs", *arguments)
        except CommandFailed as error:
            raise typed_error(error) from error


class FakeMounts:
    """Stands for `dsgmigd.target.snapshot_mounts.SnapshotMounts`.

    `busy` are the directories in which somebody stands.
    """

    def __init__(self, zfs: "FakeZfs") -> None:
        self._zfs = zfs
        self.mounted: dict[str, str] = {}
        self.busy: set[str] = set()
        self.before_mounting: Callable[[], object] = int

    def mount(self, snapshot: str, directory: str) -> None:
        self.before_mounting()
        found = self._zfs.find(snapshot)
        if found is None:
            raise TargetMissing(f"mounting {snapshot}: No such file or directory", hint="look")
        Path(directory).mkdir(exist_ok=True)
        shutil.copytree(found.files, directory, symlinks=True, dirs_exist_ok=True)
        self.mounted[directory] = snapshot

    def unmount(self, directory: str) -> None:
        if directory in self.busy:
            raise TargetBusy(f"unmounting {directory}: Device or resource busy", hint="look")
        del self.mounted[directory]
        shutil.rmtree(directory)
        Path(directory).mkdir()

    def mounted_in(self, directory: str) -> dict[str, str]:
        datasets = {
            str(one.mountpoint): one.name for one in self._zfs.datasets.values() if one.is_mounted
        }
        places = {**datasets, **self.mounted}
        return {
            place: what for place, what in places.items() if Path(place).parent == Path(directory)
        }


class FakeNative:
    """Both, with the pool that they change."""

    def __init__(self, zfs: "FakeZfs") -> None:
        self.core = FakeCore(zfs)
        self.mounts = FakeMounts(zfs)

    def real(self) -> Native:
        """Return what stands for `find_native`."""
        return Native(self.core, self.mounts)


def _options(properties: Mapping[str, str]) -> list[str]:
    return [word for key, value in properties.items() for word in ("-o", f"{key}={value}")]
