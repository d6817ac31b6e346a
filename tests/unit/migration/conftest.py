"""Fixtures of the tests of this room."""

from pathlib import Path

import pytest

from dsgmigd.host import command
from dsgmigd.migration import run
from dsgmigd.target.capabilities import Capabilities
from tests.unit.migration.migration_world import World


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target can hold everything, whoever runs the tests, and rsync takes no time."""
    monkeypatch.setattr(run, "probe_capabilities", lambda _: Capabilities())
    monkeypatch.setattr(command, "_POLL_SECONDS", 0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A repository, and a pool on a host with the zfs command only."""
    return World(tmp_path)


@pytest.fixture
def native_world(tmp_path: Path) -> World:
    """A repository, and a pool on a host with the kernel's ZFS."""
    return World(tmp_path, has_native=True)
