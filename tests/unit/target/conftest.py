"""A pool in memory, and the prepared staging area of SV on it."""

from pathlib import Path

import pytest

from dsgmigd.target.staging import Staging
from tests.unit.fake_zfs import FakeZfs
from tests.unit.staged_series import staging_of


@pytest.fixture(params=["command", "native"])
def commands(tmp_path: Path, request: pytest.FixtureRequest) -> FakeZfs:
    """A pool, on a host with zfs-fuse and on one with the kernel's ZFS."""
    return FakeZfs(tmp_path, has_native=request.param == "native")


@pytest.fixture
def staging(commands: FakeZfs) -> Staging:
    staging = staging_of(commands, "r1")
    staging.area.prepare()
    return staging
