"""A pool in memory, and the prepared staging area of SV on it."""

from pathlib import Path

import pytest

from dsgmigd.target.staging import Staging
from tests.unit.fake_zfs import FakeZfs
from tests.unit.staged_series import staging_of


@pytest.fixture
def commands(tmp_path: Path) -> FakeZfs:
    return FakeZfs(tmp_path)


@pytest.fixture
def staging(commands: FakeZfs) -> Staging:
    staging = staging_of(commands, "r1")
    staging.area.prepare()
    return staging
