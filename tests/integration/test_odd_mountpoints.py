"""Mountpoints of the target's parent that are not plain ASCII words."""

from pathlib import Path

import bed
import pytest

from tests.integration.conftest import Bed
from tests.integration.trees import new_series, writing

NAMES = ["a - b", "back\\slash\\040", "umläut-é", "new\nline", "tab\there", "line\u2028separator"]


@pytest.mark.parametrize("name", NAMES)
def test_a_parent_may_be_mounted_anywhere(fresh_bed: Bed, tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    bed.run("zfs", "set", f"mountpoint={place}", fresh_bed.parent)
    new_series(fresh_bed, "SV", *[writing(a=f"{one}") for one in range(2)])
    for limit in ("1", "2"):
        result = fresh_bed.migrate("SV", "--limit", limit)
        assert result["outcome"] == "done", result["error"]
        assert result["target"]["mountpoint"] == f"{place}/SV"
    assert (place / "SV/a").read_text() == "1"
