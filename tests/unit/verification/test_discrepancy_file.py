"""The file of all differences: there only if there are any, and never through a link."""

import json
from pathlib import Path

from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.discrepancy_file import DiscrepancyFile


def test_all_differences_of_all_snapshots_stand_in_it_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    file = DiscrepancyFile(str(path))
    file.add("s1", [Discrepancy("a\\xff\n", "mode", "1", "2")] * 150)
    file.add("s2", [Discrepancy("b", "mode", "1", "2")])
    file.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 151
    assert lines[0] == {
        "snapshot": "s1",
        "path": "a\\xff\n",
        "attribute": "mode",
        "source": "1",
        "target": "2",
    }
    assert lines[-1]["snapshot"] == "s2"


def test_without_a_difference_there_is_no_file(tmp_path: Path) -> None:
    file = DiscrepancyFile(str(tmp_path / "all.jsonl"))
    file.add("s1", [])
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "all.jsonl").symlink_to("kept")
    file = DiscrepancyFile(str(tmp_path / "all.jsonl"))
    for _ in range(2):
        file.add("s1", [Discrepancy("a", "b", "", "")])
    file.close()
    assert file.problem is not None
    assert "symbolic link" in file.problem
    assert (tmp_path / "kept").read_text() == "kept"
