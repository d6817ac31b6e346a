"""Snapshots by libzfs_core, the stable library of OpenZFS, instead of the zfs command.

The command costs 10 ms and 700 system calls beside the transaction of the pool for which it waits;
a call costs 1 ms and 30. Several changes in one transaction need no second wait, and a power cut
finds all of them or none. /dev/zfs is open during a call only, so that an idle instance does not
keep the kernel's module from being replaced.

The process itself holds the repository's lock. If it is killed, the kernel ends it, and frees the
lock, when the call is done.

Raises: the errors of `zfs_errors.error_of`; TargetUnavailable without /dev/zfs.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dsgmigd.errors import DsgmigdError, TargetUnavailable
from dsgmigd.target.layout import pool_of
from dsgmigd.target.nvlist import NvLists, check
from dsgmigd.target.zfs_errors import error_of

_CORE, _NVPAIR = "libzfs_core.so.3", "libnvpair.so.3"
# The first snapshot gets a property, the second is made and gets its own; see zfs-program(8). It
# returns the number of the first error. It is short, because the pool's history has it each time.
_MARK_AND_SNAPSHOT = b"""a=(...)['argv']
e=zfs.sync.set_prop(a[1],a[2],a[3])
if e==0 then e=zfs.sync.snapshot(a[4]) end
if e~=0 then return e end
for i=5,#a,2 do
e=zfs.sync.set_prop(a[4],a[i],a[i+1])
if e~=0 then zfs.sync.destroy(a[4]) return e end
end
return 0"""
_SET_PROPERTIES = b"""a=(...)['argv']
for i=2,#a,2 do
e=zfs.sync.set_prop(a[1],a[i],a[i+1])
if e~=0 then return e end
end
return 0"""
# The defaults of zfs-program(8).
_INSTRUCTIONS = 10_000_000
_MEMORY_BYTES = 10 << 20


class LibzfsCore:
    """The calls; `core` and `nvpair` are the libraries. Properties are whole, with their prefix."""

    def __init__(self, core: Any, nvpair: Any) -> None:
        core.libzfs_core_fini.restype = None
        self._core = core
        self._lists = NvLists(nvpair)

    def exists(self, name: str) -> bool | None:
        """Say whether a dataset or snapshot exists; None if that could not be found out."""
        with contextlib.suppress(DsgmigdError), self._opened(f"looking for {name}"):
            ctypes.set_errno(0)
            if self._core.lzc_exists(os.fsencode(name)):
                return True
            return False if ctypes.get_errno() == errno.ENOENT else None
        return None

    def snapshot(self, name: str, properties: Mapping[str, str]) -> None:
        """Make a snapshot with its properties in one transaction."""
        lists = self._lists
        with (
            self._opened(f"creating snapshot {name}"),
            lists.of_names([name]) as names,
            lists.of_texts(properties) as texts,
            lists.answer() as errors,
        ):
            check(self._core.lzc_snapshot(names, texts, ctypes.byref(errors)))

    def set_properties(self, name: str, properties: Mapping[str, str]) -> None:
        """Set user properties of a dataset or snapshot in one transaction."""
        with self._opened(f"setting properties of {name}"):
            check(self._run(_SET_PROPERTIES, name, _words(properties)))

    def mark_and_snapshot(
        self, marked: str, mark: tuple[str, str], name: str, properties: Mapping[str, str]
    ) -> bool:
        """Set a property of the snapshot `marked` and make the snapshot `name`, in one transaction.

        Returns False if that is not possible: then nothing was done, or only the property was set.
        What is wrong, each of the two changes says by itself.
        """
        try:
            with self._opened(f"creating snapshot {name}"):
                words = [*mark, name, *_words(properties)]
                return self._run(_MARK_AND_SNAPSHOT, marked, words) == 0
        except DsgmigdError:
            return False

    def destroy_snapshots(self, names: Sequence[str]) -> None:
        """Destroy all of these snapshots in one transaction, or none; some may be gone already."""
        lists = self._lists
        what = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        with (
            self._opened(f"destroying snapshot {what}"),
            lists.of_names(names) as wanted,
            lists.answer() as errors,
        ):
            check(self._core.lzc_destroy_snaps(wanted, 0, ctypes.byref(errors)))

    def _run(self, program: bytes, name: str, words: Sequence[str]) -> int:
        """Run a channel program on `name`; return the number of its error, 0 if there is none."""
        pool, lists = pool_of(name), self._lists
        with lists.of_array("argv", [name, *words]) as arguments, lists.answer() as answer:
            limits = (ctypes.c_uint64(_INSTRUCTIONS), ctypes.c_uint64(_MEMORY_BYTES))
            check(
                self._core.lzc_channel_program(
                    os.fsencode(pool), program, *limits, arguments, ctypes.byref(answer)
                )
            )
            found = lists.number(answer, "return")
            return errno.EINVAL if found is None else found

    @contextlib.contextmanager
    def _opened(self, action: str) -> Iterator[None]:
        """Keep /dev/zfs open during the block, and explain what fails in it."""
        number = self._core.libzfs_core_init()
        if number:
            raise TargetUnavailable(
                f"{action}: /dev/zfs cannot be opened: {os.strerror(number)}",
                hint="load the kernel module: modprobe zfs",
            )
        try:
            yield
        except OSError as error:
            raise error_of(error, action) from error
        finally:
            self._core.libzfs_core_fini()


def _words(properties: Mapping[str, str]) -> list[str]:
    return [word for pair in properties.items() for word in pair]


def open_libzfs_core() -> LibzfsCore | None:
    """Return the library; None if this host has neither it nor the kernel's ZFS."""
    try:
        core = ctypes.CDLL(_CORE, use_errno=True)
        opened = LibzfsCore(core, ctypes.CDLL(_NVPAIR))
    except (OSError, AttributeError):
        return None
    if core.libzfs_core_init():  # there is no /dev/zfs, or it may not be opened
        return None
    core.libzfs_core_fini()
    return opened
