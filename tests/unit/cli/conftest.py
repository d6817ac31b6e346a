"""The pool zsd in memory, for the commands that read or change datasets."""

from pathlib import Path

import pytest

from dsgmigd.cli import context
from tests.unit.dsg_series import write_series
from tests.unit.fake_zfs import FakeZfs


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeZfs:
    commands = FakeZfs(tmp_path)
    monkeypatch.setattr(context, "Commands", lambda **_: commands)
    return commands


@pytest.fixture
def published(pool: FakeZfs) -> Path:
    """The dataset SV with the snapshot s3 and the documents of s1 to s3; return its root."""
    pool.output("zfs", "create", "zsd/SV")
    root = pool.mountpoint("zsd/SV")
    write_series(root, {"a": "1", "b": "b"}, {"a": "2", "b": "b"}, {"moved": "2"})
    pool.output("zfs", "snapshot", "zsd/SV@s3")
    return root
