"""last-sync.json and sync-messages.json: bytes that orjson agrees with, and the chain of hashes."""

from typing import Any

import orjson
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.dsg.entry import file_entry, link_entry
from dsgmigd.dsg.lines import line_of
from dsgmigd.dsg.metadata import (
    Metadata,
    Previous,
    make_metadata,
    render_manifest,
    render_messages,
    split_manifest,
    split_messages,
)
from dsgmigd.dsg.push_line import Push
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


def entries_hash_of(entries: list[bytes]) -> str:
    return xxh3(b"".join(entries))


def describe(count: int, entries_hash: str) -> Metadata:
    return make_metadata(SnapshotName(1), count, entries_hash, PUSH, None)


def line_of_entry(entry: bytes) -> bytes:
    return line_of(orjson.loads(entry)["path"].encode(), entry)


def rendered(entries: list[bytes]) -> bytes:
    return b"".join(render_manifest(map(line_of_entry, entries), describe))


def lines_of(content: bytes) -> list[bytes]:
    return content.splitlines(keepends=True)


def test_metadata_has_dsgs_keys_in_dsgs_order() -> None:
    entries_hash = "0123456789abcdef"
    metadata = make_metadata(
        SnapshotName(10), 2, entries_hash, PUSH, Previous(SnapshotName(9), "feedfeedfeedfeed")
    )
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
    metadata = describe(0, xxh3(b""))
    assert metadata["snapshot_previous"] is None
    assert metadata["snapshot_hash"] == xxh3((xxh3(b"") + PUSH.message).encode())


@given(PATHS)
def test_a_manifest_is_json_with_the_given_entries_and_is_read_back_byte_for_byte(
    paths: list[str],
) -> None:
    entries = entries_of(paths)
    content = rendered(entries)
    document = orjson.loads(content)
    assert list(document) == ["entries", "metadata"]
    assert list(document["entries"]) == paths
    assert [orjson.dumps(entry) for entry in document["entries"].values()] == entries
    assert document["metadata"] == describe(len(entries), entries_hash_of(entries))
    assert list(split_manifest(lines_of(content))) == [
        (path.encode(), entry) for path, entry in zip(paths, entries, strict=True)
    ]


@pytest.mark.parametrize("count", [1023, 1024, 1025, 5000])
def test_a_manifest_of_many_pieces_is_one_document(count: int) -> None:
    entries = entries_of([f"d/{number}" for number in range(count)])
    content = rendered(entries)
    document = orjson.loads(content)
    assert [orjson.dumps(entry) for entry in document["entries"].values()] == entries
    assert document["metadata"] == describe(count, entries_hash_of(entries))
    assert [entry for _, entry in split_manifest(lines_of(content))] == entries
    assert content.count(b"\n") == count + 2


def spoiled(*changes: tuple[bytes, bytes]) -> bytes:
    content = rendered(entries_of(["a", "b", "c"]))
    for old, new in changes:
        assert old in content
        content = content.replace(old, new, 1)
    return content


@pytest.mark.parametrize(
    "content",
    [
        spoiled((b'"user":"u"', b'"user":"v"')),
        spoiled((b'"entry_count":3', b'"entry_count":2')),
        spoiled((b'"entries_hash":"', b'"entries_hash":"0')),
        spoiled((b'"b":{', b'"B":{')),
        spoiled((b'"path":"b"', b'"path":"B"')),
        spoiled((b'"b":{', b'"b": {')),
        spoiled((b'"path":"b",', b"")),
        spoiled((b'{"entries":{\n', b'{"entries":{')),
        spoiled((b'\n},"metadata"', b'},"metadata"')),
        b"\n".join(spoiled().split(b"\n")[:3]),
        rendered(entries_of(["a"])) * 2,
    ],
)
def test_a_manifest_that_was_changed_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(split_manifest(lines_of(content)))


def test_a_manifest_has_one_entry_a_line() -> None:
    lines = rendered(entries_of(["a\nb", "c"])).split(b"\n")
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
        series.append(make_metadata(SnapshotName(number), 0, xxh3(b""), PUSH, previous))
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
        list(split_manifest(lines_of(content)))
    with pytest.raises(ValueError, match=r"."):
        split_messages(content)


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{}", b"1", b'{"entries":[],"metadata":{}}', b'{"entries":{}}', b'{"snapshots":[]}'],
)
def test_json_of_another_shape_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(split_manifest(lines_of(content)))
    with pytest.raises(ValueError, match=r"."):
        split_messages(content)
