"""A world in which nothing happened, and one in which a request was interrupted."""

from pathlib import Path

import pytest

from tests.unit.maintenance.doctor.world import World, interrupt, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def interrupted(world: World) -> World:
    return interrupt(world)
