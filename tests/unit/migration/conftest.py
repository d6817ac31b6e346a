"""Fixtures of the tests of this room."""

from pathlib import Path

import pytest

from dsgmigd.host import command
from dsgmigd.migration import run
from dsgmigd.target.capabilities import Capabilities
from tests.unit.migration.migration_world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A repository and a pool; the target can hold everything, whoever runs the tests."""
    monkeypatch.setattr(run, "probe_capabilities", lambda _: Capabilities())
    monkeypatch.setattr(command, "_POLL_SECONDS", 0.01)  # rsync of a few files takes no longer
    return World(tmp_path)
