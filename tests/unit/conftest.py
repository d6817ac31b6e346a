"""What no unit test may touch: the host's turn to mount."""

from pathlib import Path

import pytest

from dsgmigd.zfs import mounting


@pytest.fixture(autouse=True)
def _own_turn_to_mount(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Path(tmp_path_factory.getbasetemp()) / "zfs-fuse.lock"
    monkeypatch.setattr(mounting, "_LOCK", str(lock))
