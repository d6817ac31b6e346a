"""How much of what there is to tell a result tells, and what it says of the rest."""

import json
from typing import Any

import pytest

from dsgmigd.migration import bounds
from dsgmigd.migration.bounds import LIST_ITEMS, TEXT_CHARACTERS, bounded


def test_a_result_of_a_usual_size_stays_as_it_is() -> None:
    document = {
        "error": None,
        "seconds": 1.5,
        "warnings": ["ä" * TEXT_CHARACTERS] * LIST_ITEMS,
        "snapshots": [{"name": "s1", "is_pinned": True, "excluded": ["HEAD"]}],
    }
    assert bounded(document) == document | {"left_out": {}}


def test_a_text_says_how_long_it_was() -> None:
    cut = bounded({"error": {"message": "x" * 1_000_000}})
    assert len(cut["error"]["message"]) == TEXT_CHARACTERS
    assert cut["error"]["message"].endswith("xxx… (1000000 characters in all)")


def test_of_a_long_list_the_first_and_the_last_stay_and_the_rest_is_counted() -> None:
    cut = bounded({"warnings": [str(number) for number in range(3000)]})
    assert len(cut["warnings"]) == LIST_ITEMS
    assert (cut["warnings"][0], cut["warnings"][-1]) == ("0", "2999")
    assert cut["left_out"] == {"warnings": 3000 - LIST_ITEMS}


@pytest.mark.parametrize("key", ["steps", "rechecks"])
def test_what_is_told_of_each_snapshot_stays_for_all(key: str) -> None:
    names = [f"s{number}" for number in range(1, 2001)]
    document = {"plan": {key: names}, "snapshots": [{"name": name} for name in names]}
    assert bounded(document) == document | {"left_out": {}}


def test_lists_in_rows_are_cut_and_counted_over_all_rows() -> None:
    row = {"verification": {"borders": ["b"] * 1000}}
    cut = bounded({"snapshots": [row] * 3})
    assert [len(one["verification"]["borders"]) for one in cut["snapshots"]] == [LIST_ITEMS] * 3
    assert cut["left_out"] == {"snapshots.verification.borders": 3 * (1000 - LIST_ITEMS)}


def test_all_rows_together_have_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ROWS_CHARACTERS", 100_000)
    difference = {"path": "p" * TEXT_CHARACTERS, "source": "is a file"}
    rows: list[dict[str, Any]] = [{"discrepancies": [difference] * 10} for _ in range(100)]
    cut = bounded({"snapshots": rows, "warnings": ["the end"]})
    assert len(json.dumps(cut)) < 110_000
    assert len(cut["snapshots"]) == 100
    kept = sum(len(row["discrepancies"]) for row in cut["snapshots"])
    assert kept > 10
    assert cut["left_out"] == {"snapshots.discrepancies": 1000 - kept}
    assert cut["warnings"] == ["the end"]
