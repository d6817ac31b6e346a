"""The area below the target's parent in which everything is built, and whether it can be used.

Guarantees: only root can enter the area; nothing in it can be run, and no device in it opened.
Raises: TargetUnavailable, TargetMissing, TargetChanged, MountsHidden, and those of
dsgmigd.target.zfs and dsgmigd.host.file_errors.
"""

import os

from dsgmigd.errors import (
    CommandFailed,
    MountsHidden,
    TargetChanged,
    TargetMissing,
    TargetUnavailable,
)
from dsgmigd.host.file_errors import target_errors
from dsgmigd.host.mount_namespace import is_hidden_from_host
from dsgmigd.target.dataset import Dataset, Found
from dsgmigd.target.layout import DatasetLayout, pool_of, replaced_parent
from dsgmigd.target.mounts import mountpoint_of
from dsgmigd.target.pool_state import read_pool_state
from dsgmigd.target.zfs import RunsCommands, Zfs
from dsgmigd.target.zfs_fuse import has_kernel_zfs, wake_zfs_fuse

_ANSWER_SECONDS = 20
_WRITABLE = frozenset({"ONLINE", "DEGRADED"})

# What is built is data: no user may run it, and no device in it may be opened. Verification reads
# from the disks what was written, and not from memory. A root that is compared with its source has
# no directory .zfs; what is published inherits snapdir from the parent. Tools that make snapshots
# by a timetable leave alone what is on its way.
_OPTIONS = {
    "devices": "off",
    "setuid": "off",
    "exec": "off",
    "atime": "off",
    "primarycache": "metadata",
    "snapdir": "hidden",
    "com.sun:auto-snapshot": "false",
}
_MODE = 0o700


def check_target(commands: RunsCommands, parent: str, *, is_for_writing: bool = True) -> None:
    """Raise unless datasets can be read, and made if `is_for_writing`, below `parent`.

    Raises TargetUnavailable if the pool or the mount may come back by itself, MountsHidden if the
    host would not see what is published, else TargetMissing.
    """
    check_pool(commands, parent)
    zfs = Zfs(commands)
    dataset = zfs.read(parent, (), with_snapshots=False)
    if dataset is None:
        # In a user namespace the kernel tells the state of a pool that ZFS does not show there.
        _ask_pool(commands, pool_of(parent))
        raise TargetMissing(
            f"the target parent {parent} does not exist",
            hint=f"create it (zfs create {parent}), or correct [target] parent",
        )
    _check_mounted(zfs, dataset)
    check_namespace(dataset.mountpoint)
    if is_for_writing and dataset.is_read_only:
        raise TargetMissing(
            f"the target parent {parent} is read-only",
            hint=f"make it writable (zfs set readonly=off {parent}), or import the pool without "
            "readonly=on",
        )


def check_namespace(path: str = "/") -> None:
    """Raise MountsHidden if the host would not see a dataset that is mounted below `path`.

    zfs-fuse mounts datasets itself, wherever it was started.
    """
    if not has_kernel_zfs():
        return
    with target_errors("reading what is mounted"):
        is_hidden = is_hidden_from_host(path)
    if is_hidden:
        raise MountsHidden(
            "this process has a mount namespace of its own: the host would not see what it "
            f"mounts below {path}",
            hint="remove PrivateTmp=, ProtectSystem= and the like from the unit, see: "
            "systemctl cat dsgmigd@1.service; from a shell: nsenter --target 1 --mount dsgmigd …",
        )


def check_pool(commands: RunsCommands, dataset: str) -> None:
    """Raise TargetUnavailable unless the pool of `dataset` takes writes.

    `zpool list` answers at once even if the pool is suspended and every access to a file in it
    hangs.
    """
    wake_zfs_fuse()
    pool = pool_of(dataset)
    if read_pool_state(pool) not in _WRITABLE:
        _ask_pool(commands, pool)


def _ask_pool(commands: RunsCommands, pool: str) -> None:
    try:
        health = commands.output(
            "zpool", "list", "-H", "-o", "health", pool, timeout_seconds=_ANSWER_SECONDS
        ).strip()
    except CommandFailed as error:
        is_gone = "no such pool" in error.stderr
        raise TargetUnavailable(
            f"the pool {pool} is not available: {error.stderr.strip()}",
            hint=f"import it with: zpool import {pool}" if is_gone else "start ZFS: zpool list",
        ) from error
    if health not in _WRITABLE:
        raise TargetUnavailable(
            f"the pool {pool} is {health}", hint=f"see what it needs: zpool status -v {pool}"
        )


def _check_mounted(zfs: Zfs, parent: Dataset) -> None:
    """Raise unless the parent is mounted, which it is not for a while after a pool's import."""
    name = parent.name
    if not parent.mountpoint.startswith("/"):
        raise TargetMissing(
            f"the target parent {name} has mountpoint={parent.mountpoint}",
            hint=f"set one with: zfs set mountpoint=/PATH {name}",
        )
    if not parent.is_mounted:
        mount = f"zfs mount {name}"
        raise TargetUnavailable(
            f"the target parent {name} is not mounted",
            hint=f"it has canmount=off: zfs set canmount=on {name}, then: {mount}"
            if zfs.option(name, "canmount") == "off"
            else f"mount it with: {mount} (an encrypted one after: zfs load-key {name})",
        )


class Area:
    """The datasets in which everything is built."""

    def __init__(self, zfs: Zfs, layout: DatasetLayout) -> None:
        self._zfs = zfs
        self._layout = layout
        self._of_parent: dict[str, Found] | None = None

    def prepare(self) -> None:
        """Create what is missing of the area, and make it accessible to root only."""
        if self._is_complete():
            self._close()
        else:
            self._complete()

    def _is_complete(self) -> bool:
        """Say whether every part of the area is mounted, and has the options that it must have."""
        area, parent = self._layout.area, self._layout.parent
        names = (area, *self._parts())
        try:
            found = self._zfs.look_at((parent, *names), ("mounted", *_OPTIONS))
        except TargetMissing:
            return False
        self._of_parent = found[parent]
        is_mounted = all(found[name]["mounted"].value == "yes" for name in names)
        return is_mounted and all(found[area][key].source == "local" for key in _OPTIONS)

    def _parts(self) -> tuple[str, ...]:
        area = self._layout.area
        return (f"{area}/staging", f"{area}/views", replaced_parent(area))

    def _complete(self) -> None:
        area = self._layout.area
        self._zfs.ensure_mounted(area, _OPTIONS)
        # An older version set fewer options, or a power cut came before they were set.
        sources = self._zfs.sources(area, tuple(_OPTIONS))
        for key, value in _OPTIONS.items():
            if sources[key] != "local":
                self._zfs.set_option(area, key, value)
        self._close()
        for part in self._parts():
            self._zfs.ensure_mounted(part, {})

    def _close(self) -> None:
        area = self._layout.area
        with target_errors(f"closing {area} to other users"):
            os.chmod(find_mountpoint(self._zfs, area), _MODE)

    def defaults_of_parent(self, keys: tuple[str, ...]) -> list[str]:
        """Return which of the native properties `keys` are set neither on the parent nor above."""
        known = self._of_parent  # since `prepare`
        if known is not None and known.keys() >= set(keys):
            sources = {key: known[key].source for key in keys}
        else:
            sources = self._zfs.sources(self._layout.parent, keys)
        return [key for key in keys if sources[key] == "default"]

    def staging_mountpoint(self) -> str:
        """Return where the parent of all staging datasets is mounted."""
        return find_mountpoint(self._zfs, f"{self._layout.area}/staging")

    def replaced_mountpoint(self) -> str:
        """Return where the parent of all replaced datasets is mounted; only root can enter it."""
        return find_mountpoint(self._zfs, replaced_parent(self._layout.area))

    def available_bytes(self) -> int:
        """Return how many bytes still fit below the target's parent."""
        return self._zfs.available_bytes(self._layout.parent)


def find_mountpoint(zfs: Zfs, name: str) -> str:
    """Return where the dataset `name` is mounted; raise TargetChanged if it is not."""
    with target_errors("reading what is mounted"):
        found = mountpoint_of(name)  # ten times quicker than asking ZFS
    if found is not None:
        return found
    dataset = zfs.read(name, (), with_snapshots=False)
    if dataset is None or not dataset.is_mounted:
        raise TargetChanged(
            f"{name} is " + ("gone" if dataset is None else "not mounted"),
            hint="only dsgmigd may change datasets below the staging area; look at: zfs list -r",
        )
    return dataset.mountpoint
