"""A long document of another layout says the same as if it were decoded at once."""

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.verification.metadata import manifest_reader, other_layouts
from dsgmigd.verification.metadata.manifest_reader import Known, read_document
from dsgmigd.verification.metadata.other_layouts import read_streamed, read_whole

TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('/"\\:{},\n'), min_size=1, max_size=9)


def entry_of(path: str) -> dict[str, Any]:
    return {"type": "link", "path": path, "user": "ana", "reference": path}


def pieces_of(content: bytes, size: int = 50) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


@given(st.lists(TEXT, unique=True, max_size=200), st.integers(1, 99), st.sampled_from([None, 2]))
def test_entries_in_any_order_and_layout_are_read_alike(
    paths: list[str], size: int, indent: int | None
) -> None:
    entries = {path: entry_of(path) if len(path) < 9 else {} for path in paths}
    document = {"metadata": {"a": [1]}, "entries": entries, "other": None}
    content = json.dumps(document, indent=indent, ensure_ascii=False).encode()
    streamed, whole = read_streamed(pieces_of(content, size)), read_whole(content)
    assert list(streamed.listing.lines()) == list(whole.listing.lines())
    for one in ("metadata", "entry_count", "entries_hash", "digest", "misshapen"):
        assert getattr(streamed, one) == getattr(whole, one)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 66, 128, 129, 1000])
@pytest.mark.parametrize("is_sorted", [True, False])
def test_no_entry_is_lost_between_blocks(count: int, *, is_sorted: bool) -> None:
    paths = [f"{number:04}" for number in range(count)]
    document = {"entries": {path: entry_of(path) for path in paths}, "metadata": {}}
    if not is_sorted:
        document["entries"] = dict(reversed(document["entries"].items()))
    found = read_streamed(pieces_of(orjson.dumps(document)))
    assert [path for path, _ in found.listing.lines()] == paths


@pytest.mark.parametrize(
    "content",
    [
        b'{"metadata":{}}',
        b'{"entries":{}}',
        b'{"entries":{},"entries":{},"metadata":{}}',
        b'{"entries":{"a":{"b":1},"a":{"b":1}},"metadata":{}}',
        b'{"entries":{},"metadata":{}}x',
        b'{"entries":[],"metadata":{}}',
    ],
)
def test_what_is_no_manifest_is_an_error(content: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        read_streamed(pieces_of(content))


def test_only_a_long_document_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    content = orjson.dumps({"entries": {"a": entry_of("a")}, "metadata": {}})
    monkeypatch.setattr(manifest_reader, "_WHOLE_LIMIT_BYTES", len(content) - 1)
    monkeypatch.setattr(manifest_reader, "read_whole", None)
    found = read_document(lambda: pieces_of(content), Known(), Known())
    assert found.entry_count == 1


def test_more_entries_than_can_be_sorted_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_layouts, "UNSORTED_LIMIT_BYTES", 100)
    entries = {path: entry_of(path) for path in ("b", "a", "c")}
    with pytest.raises(ValueError, match="too many to be sorted"):
        read_streamed(pieces_of(orjson.dumps({"entries": entries, "metadata": {}})))
