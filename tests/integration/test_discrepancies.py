"""All differences are in a file beside the result, as long as that result is the newest."""

import json
from pathlib import Path

from tests.integration.conftest import Bed
from tests.integration.trees import new_series, set_read_only, writing

COUNT = 150


def rewrite(tree: Path, content: str) -> None:
    """Give every file another content and put its time back."""
    set_read_only(tree, is_read_only=False)
    for path in sorted(tree.glob("f*")):
        path.write_text(content, encoding="utf-8")
    set_read_only(tree, is_read_only=True)


def test_a_source_that_changed_after_publication_is_told_file_by_file(fresh_bed: Bed) -> None:
    files = {f"f{number:03}": "good" for number in range(COUNT)}
    series = new_series(fresh_bed, "SV", writing(**files))
    beside = fresh_bed.spool / "SV.discrepancies.jsonl"
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    first = fresh_bed.wait_result("SV")
    assert (first["outcome"], first["discrepancies_file"]) == ("done", None)
    assert not beside.exists()

    rewrite(series.snapshot(1), "evil")
    fresh_bed.drop("SV")
    result = fresh_bed.wait_result("SV")
    assert result["error"]["code"] == "target_differs"
    assert result["discrepancies_file"] == beside.name
    (row,) = result["snapshots"]
    lines = [json.loads(line) for line in beside.read_text().splitlines()]
    assert len(lines) == row["verification"]["discrepancy_count"] >= COUNT
    assert lines[:100] == [
        {"snapshot": "s1", **found} for found in row["verification"]["discrepancies"]
    ]
    told = {(line["path"], line["attribute"]) for line in lines}
    assert {(name, "content") for name in files} <= told
    failed = {name: counts["failed"] for name, counts in result["checks"].items()}
    assert failed["file_contents"] == COUNT
    assert failed["entries_hash"] == 0

    all_of_them = fresh_bed.spool.parent / "all.jsonl"
    verified = fresh_bed.verified("SV", "--differences", str(all_of_them))
    assert verified["error"]["code"] == "target_differs"
    assert len(all_of_them.read_text().splitlines()) == len(lines)
    assert beside.exists(), "that of the queue stays with its result"


def test_a_result_without_differences_takes_the_old_file_away(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    (fresh_bed.spool / "SV.discrepancies.jsonl").write_text("old\n")
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    assert fresh_bed.wait_result("SV")["discrepancies_file"] is None
    assert not (fresh_bed.spool / "SV.discrepancies.jsonl").exists()
