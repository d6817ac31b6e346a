"""The calls of libzfs_core, with libraries that record them.

tests/integration/test_zfs.py makes them on a real pool, if the kernel has ZFS.
"""

import ctypes
import errno
from collections.abc import Callable
from typing import Any

import pytest

from dsgmigd.errors import (
    CommandFailed,
    DsgmigdError,
    TargetBusy,
    TargetExists,
    TargetFull,
    TargetMissing,
    TargetUnavailable,
    TargetUnwritable,
)
from dsgmigd.target import libzfs_core
from dsgmigd.target.libzfs_core import LibzfsCore, open_libzfs_core
from tests.unit.fake_libraries import FakeLibzfsCore, FakeNvpair


@pytest.fixture
def library() -> FakeLibzfsCore:
    return FakeLibzfsCore(FakeNvpair())


@pytest.fixture
def core(library: FakeLibzfsCore) -> LibzfsCore:
    return LibzfsCore(library, library._nvpair)


def test_a_snapshot_is_made_with_its_properties(library: FakeLibzfsCore, core: LibzfsCore) -> None:
    core.snapshot("zsd/SV@s1", {"a:b": "1", "a:c": "2"})
    assert library.calls == [("snapshot", {"zsd/SV@s1": True}, {"a:b": "1", "a:c": "2"})]
    assert (library.opened, library._nvpair.lists) == (0, {})


def test_snapshots_are_destroyed_together(library: FakeLibzfsCore, core: LibzfsCore) -> None:
    core.destroy_snapshots(["zsd/SV@s2", "zsd/SV@s1"])
    assert library.calls == [("destroy_snaps", {"zsd/SV@s2": True, "zsd/SV@s1": True}, 0)]
    assert (library.opened, library._nvpair.lists) == (0, {})


def test_properties_are_set_by_a_channel_program(library: FakeLibzfsCore, core: LibzfsCore) -> None:
    core.set_properties("zsd/SV@s1", {"a:b": "1"})
    ((name, pool, program, arguments),) = library.calls
    assert (name, pool, b"zfs.sync.set_prop" in program) == ("channel_program", b"zsd", True)
    assert arguments == {"argv": ["zsd/SV@s1", "a:b", "1"]}
    core.set_properties("zsd@s1", {"a:b": "1"})
    assert library.calls[1][1] == b"zsd"
    assert (library.opened, library._nvpair.lists) == (0, {})


def test_a_mark_and_the_next_snapshot_are_one_call(
    library: FakeLibzfsCore, core: LibzfsCore
) -> None:
    assert core.mark_and_snapshot("zsd/SV@s1", ("a:v", "yes"), "zsd/SV@s2", {"a:b": "1"})
    ((_, pool, program, arguments),) = library.calls
    assert (pool, b"zfs.sync.snapshot" in program) == (b"zsd", True)
    assert arguments == {"argv": ["zsd/SV@s1", "a:v", "yes", "zsd/SV@s2", "a:b", "1"]}


@pytest.mark.parametrize(("answer", "returned"), [(errno.EEXIST, 0), (0, errno.EEXIST), (0, None)])
def test_changes_that_cannot_be_one_are_reported_and_not_raised(
    library: FakeLibzfsCore, core: LibzfsCore, answer: int, returned: int | None
) -> None:
    library.answers["channel_program"], library.returned = answer, returned
    assert not core.mark_and_snapshot("zsd/SV@s1", ("a:v", "yes"), "zsd/SV@s2", {})


KINDS: dict[int, type[DsgmigdError]] = {
    errno.ENOENT: TargetMissing,
    errno.EEXIST: TargetExists,
    errno.EBUSY: TargetBusy,
    errno.ENOSPC: TargetFull,
    errno.EDQUOT: TargetFull,
    errno.EAGAIN: TargetUnavailable,
    errno.EIO: TargetUnwritable,
    errno.EROFS: TargetUnwritable,
    errno.EINVAL: CommandFailed,
    errno.EPERM: CommandFailed,
}


CALLS: dict[str, Callable[[LibzfsCore], None]] = {
    "snapshot": lambda core: core.snapshot("zsd/SV@s1", {}),
    "destroy_snaps": lambda core: core.destroy_snapshots(["zsd/SV@s1"]),
    "channel_program": lambda core: core.set_properties("zsd/SV@s1", {"a:b": "1"}),
}


@pytest.mark.parametrize("number", KINDS)
@pytest.mark.parametrize("call", CALLS)
def test_the_number_of_an_error_becomes_its_kind(
    library: FakeLibzfsCore, core: LibzfsCore, call: str, number: int
) -> None:
    library.answers[call] = number
    with pytest.raises(DsgmigdError) as caught:
        CALLS[call](core)
    assert type(caught.value) is KINDS[number]
    assert "zsd/SV@s1" in caught.value.message
    if type(caught.value) is CommandFailed:
        assert f"errno {number}" in caught.value.message
    assert (library.opened, library._nvpair.lists) == (0, {})


def test_without_the_kernels_module_the_target_is_unavailable(
    library: FakeLibzfsCore, core: LibzfsCore
) -> None:
    library.answers["init"] = errno.ENOENT
    with pytest.raises(TargetUnavailable, match="/dev/zfs cannot be opened") as caught:
        core.snapshot("zsd/SV@s1", {})
    assert "modprobe zfs" in caught.value.hint
    assert library.opened == 0


def test_what_a_channel_program_returns_is_an_error_too(
    library: FakeLibzfsCore, core: LibzfsCore
) -> None:
    library.returned = errno.ENOENT
    with pytest.raises(TargetMissing):
        core.set_properties("zsd/SV@s1", {"a:b": "1"})


def test_what_exists_is_known_only_if_the_kernel_says_so(
    library: FakeLibzfsCore, core: LibzfsCore
) -> None:
    library.there = {"zsd/SV"}
    assert (core.exists("zsd/SV"), core.exists("zsd/none")) == (True, False)
    library.lookup_errno = errno.EIO
    assert core.exists("zsd/none") is None
    library.answers["init"] = errno.EMFILE
    assert core.exists("zsd/SV") is None


def test_without_the_library_or_the_kernels_zfs_there_are_no_calls(
    library: FakeLibzfsCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, **_: Any) -> object:
        if name not in there:
            raise OSError(f"{name}: cannot open shared object file")
        return there[name]

    there: dict[str, object] = {"libnvpair.so.3": library._nvpair}
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert libzfs_core.open_libzfs_core() is None
    there["libzfs_core.so.3"] = library
    library.answers["init"] = errno.ENOENT
    assert open_libzfs_core() is None, "/dev/zfs does not exist"
    library.answers.clear()
    assert open_libzfs_core() is not None
    assert library.opened == 0
