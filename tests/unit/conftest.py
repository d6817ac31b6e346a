"""What no unit test may touch, the host's mount lock, and what several rooms need."""

from pathlib import Path

import pytest

from dsgmigd.source import pin_area, pins
from dsgmigd.target import pool_state, zfs_fuse
from tests.unit.source.fake_btrfs import FakeBtrfs


@pytest.fixture(autouse=True)
def _own_mount_lock(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Path(tmp_path_factory.getbasetemp()) / "zfs-fuse.lock"
    monkeypatch.setattr(zfs_fuse, "_LOCK", str(lock))


@pytest.fixture(autouse=True)
def _no_pool_of_this_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pools of the tests are in memory, and one of this host may have their name."""
    monkeypatch.setattr(pool_state, "_STATES", str(tmp_path / "no pools"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    for repo in ("SV-norm/s1", "CO/s1", "empty"):
        (tmp_path / "source" / repo).mkdir(parents=True)
    path = tmp_path / "dsgmigd.toml"
    path.write_text(
        f'[spool]\ndirectory = "{tmp_path}/spool"\n[source]\nroot = "{tmp_path}/source"\n'
    )
    return path


@pytest.fixture
def btrfs(monkeypatch: pytest.MonkeyPatch) -> FakeBtrfs:
    """What stands for btrfs where pins are made, read and deleted."""
    fake = FakeBtrfs()
    for module in (pin_area, pins):
        monkeypatch.setattr(module, "read_subvolume", fake.read)
    monkeypatch.setattr(pin_area, "create_pin", fake.create)
    monkeypatch.setattr(pin_area, "delete_pin", fake.delete)
    return fake
