"""The shape of entries, and how many of a wrong shape are named."""

from typing import Any

import pytest

from dsgmigd.verification.metadata.manifest_content import blocks_of, can_be_found, check_shape

LINK = {"type": "link", "path": "a", "user": "ana", "reference": "b"}


@pytest.mark.parametrize(
    "entry",
    [7, None, {}, LINK | {"path": "b"}, LINK | {"type": "file"}, LINK | {"more": 1}, [LINK]],
)
def test_an_entry_of_another_shape_is_noted(entry: Any) -> None:
    misshapen: list[tuple[str, Any]] = []
    check_shape("a", LINK, misshapen)
    check_shape("a", entry, misshapen)
    assert misshapen == [("a", entry)]


def test_too_many_entries_of_a_wrong_shape_are_no_manifest() -> None:
    misshapen: list[tuple[str, Any]] = []
    for _ in range(1000):
        check_shape("a", 7, misshapen)
    with pytest.raises(ValueError, match="more than 1000 entries"):
        check_shape("a", 7, misshapen)


def test_only_an_object_with_keys_can_be_looked_up() -> None:
    assert [can_be_found(entry) for entry in (LINK, {}, 7, None)] == [True, False, False, False]


def test_blocks_hold_all_lines_in_order() -> None:
    lines = [(f"{number:03}", b'{"type":1}') for number in range(130)]
    blocks = list(blocks_of(lines))
    assert [block.count for block in blocks] == [64, 64, 2]
    assert [path for block in blocks for path, _ in block.lines()] == [path for path, _ in lines]
