"""Fixtures of the tests of this room."""

from pathlib import Path

import pytest

from tests.unit.verification.snapshot_pair import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
