"""The health of a pool, before anything is written to it."""

from pathlib import Path

import pytest

from dsgmigd.errors import TargetUnavailable
from dsgmigd.zfs.pool import check_pool
from tests.unit.fake_zfs import FakeZfs


@pytest.fixture
def commands(tmp_path: Path) -> FakeZfs:
    return FakeZfs(tmp_path)


@pytest.mark.parametrize("health", ["ONLINE", "DEGRADED"])
def test_a_pool_that_takes_writes_passes(commands: FakeZfs, health: str) -> None:
    commands.health = health
    check_pool(commands, "zsd/a/b")
    assert commands.calls == [("zpool", "list", "-H", "-o", "health", "zsd")]


@pytest.mark.parametrize("health", ["SUSPENDED", "FAULTED", "OFFLINE", "UNAVAIL", ""])
def test_a_pool_that_takes_none_is_named_with_its_state(commands: FakeZfs, health: str) -> None:
    commands.health = health
    with pytest.raises(TargetUnavailable, match=f"the pool zsd is {health}"):
        check_pool(commands, "zsd")


def test_a_pool_that_is_not_there_is_to_be_imported(commands: FakeZfs) -> None:
    with pytest.raises(TargetUnavailable, match="no such pool") as caught:
        check_pool(commands, "tank/a")
    assert caught.value.hint == "import it with: zpool import tank"
