"""last-sync.json and sync-messages.json: bytes that orjson agrees with, and the chain of hashes."""

from typing import Any

import orjson
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.dsg.entry import file_entry, link_entry
from dsgmigd.dsg.metadata import (
    Metadata,
    Previous,
    make_metadata,
    render_manifest,
    render_messages,
    split_manifest,
    split_messages,
)
from dsgmigd.dsg.pushlog import Push
from dsgmigd.names import SnapshotName

PUSH = Push("pball", 1399483646.0, 'message | ünï \n"quoted"')
PATHS = st.lists(st.text(min_size=1, max_size=8), max_size=5, unique=True)


def entries_of(paths: list[str]) -> list[bytes]:
    return [
        file_entry(path.encode(), user="u", size=len(path), mtime=0, digest="0" * 16)
        if index % 2
        else link_entry(path.encode(), user=path, reference=path)
        for index, path in enumerate(paths)
    ]


def xxh3(text: bytes) -> str:
    return xxhash.xxh3_64_hexdigest(text)


def test_metadata_has_dsgs_keys_in_dsgs_order() -> None:
    entries = entries_of(["a", "b"])
    metadata = make_metadata(
        SnapshotName(10), entries, PUSH, Previous(SnapshotName(9), "feedfeedfeedfeed")
    )
    entries_hash = xxh3(entries[0] + entries[1])
    assert list(metadata.items()) == [
        ("manifest_version", "0.1.0"),
        ("snapshot_id", "s10"),
        ("created_at", "2014-05-07T10:27:26-07:00"),
        ("entry_count", 2),
        ("entries_hash", entries_hash),
        ("created_by", "pball"),
        ("snapshot_message", PUSH.message),
        ("snapshot_previous", "s9"),
        ("snapshot_hash", xxh3(f"{entries_hash}{PUSH.message}feedfeedfeedfeed".encode())),
        ("snapshot_notes", "btrsnap-migration"),
    ]


def test_the_first_snapshot_chains_to_nothing() -> None:
    metadata = make_metadata(SnapshotName(1), [], PUSH, None)
    assert metadata["snapshot_previous"] is None
    assert metadata["entries_hash"] == xxh3(b"")
    assert metadata["snapshot_hash"] == xxh3((xxh3(b"") + PUSH.message).encode())


@given(PATHS)
def test_a_manifest_is_json_that_says_what_went_in_and_comes_back_byte_for_byte(
    paths: list[str],
) -> None:
    entries = entries_of(paths)
    metadata = make_metadata(SnapshotName(1), entries, PUSH, None)
    content = render_manifest(entries, metadata)
    document = orjson.loads(content)
    assert list(document) == ["entries", "metadata"]
    assert list(document["entries"]) == paths
    assert [orjson.dumps(entry) for entry in document["entries"].values()] == entries
    assert document["metadata"] == metadata
    assert split_manifest(content) == (
        [(path.encode(), entry) for path, entry in zip(paths, entries, strict=True)],
        metadata,
    )


def test_a_manifest_has_one_entry_a_line() -> None:
    entries = entries_of(["a\nb", "c"])
    lines = render_manifest(entries, make_metadata(SnapshotName(1), entries, PUSH, None)).split(
        b"\n"
    )
    assert lines[0] == b'{"entries":{'
    assert lines[1].startswith(b'"a\\nb":{"type":"link"')
    assert lines[2].startswith(b'"c":{"type":"file"')
    assert lines[3].startswith(b'},"metadata":{"manifest_version"')
    assert len(lines) == 5


def chain(count: int) -> list[Metadata]:
    series: list[Metadata] = []
    for number in range(1, count + 1):
        previous = None
        if series:
            previous = Previous(SnapshotName(number - 1), series[-1]["snapshot_hash"])
        series.append(make_metadata(SnapshotName(number), [], PUSH, previous))
    return series


@pytest.mark.parametrize("count", [1, 2, 12])
def test_messages_hold_every_snapshot_in_order_and_come_back(count: int) -> None:
    series = chain(count)
    content = render_messages(series)
    document: dict[str, Any] = orjson.loads(content)
    assert list(document) == ["metadata_version", "snapshots"]
    assert document["metadata_version"] == "0.1.0"
    assert list(document["snapshots"].items()) == [(one["snapshot_id"], one) for one in series]
    assert split_messages(content) == series


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1"])
def test_what_is_not_json_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        split_manifest(content)
    with pytest.raises(ValueError, match=r"."):
        split_messages(content)


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{}", b"1", b'{"entries":[],"metadata":{}}', b'{"entries":{}}', b'{"snapshots":[]}'],
)
def test_json_of_another_shape_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        split_manifest(content)
    with pytest.raises(ValueError, match=r"."):
        split_messages(content)
