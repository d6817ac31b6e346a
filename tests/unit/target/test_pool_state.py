"""What the kernel tells about a pool, in files like those of /proc/spl."""

from pathlib import Path

import pytest

from dsgmigd.target import pool_state
from dsgmigd.target.pool_state import read_pool_state


def test_the_state_is_what_the_kernel_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_state, "_STATES", str(tmp_path))
    (tmp_path / "zsd").mkdir()
    (tmp_path / "zsd/state").write_text("SUSPENDED\n")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/state").write_bytes(b"\xff")
    assert read_pool_state("zsd") == "SUSPENDED"
    assert read_pool_state("none") is None
    assert read_pool_state("odd") is None
