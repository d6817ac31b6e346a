"""Whether a host needs the zfs command for everything."""

import pytest

from dsgmigd.target import native
from dsgmigd.target.libzfs_core import LibzfsCore
from dsgmigd.target.native import find_native
from dsgmigd.target.snapshot_mounts import SnapshotMounts
from tests.unit.fake_libraries import FakeLibzfsCore, FakeNvpair


def test_with_the_library_snapshots_are_changed_and_mounted_without_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nvpair = FakeNvpair()
    core = LibzfsCore(FakeLibzfsCore(nvpair), nvpair)
    monkeypatch.setattr(native, "open_libzfs_core", lambda: core)
    found = find_native()
    assert found is not None
    assert found.core is core
    assert isinstance(found.mounts, SnapshotMounts)


def test_without_it_everything_is_done_by_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "open_libzfs_core", lambda: None)
    assert find_native() is None
