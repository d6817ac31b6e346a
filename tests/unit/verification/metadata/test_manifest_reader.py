"""A manifest read line by line says what the same manifest says when it is read as a whole."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.verification.metadata import manifest_reader as document_module
from dsgmigd.verification.metadata import other_layouts
from dsgmigd.verification.metadata.manifest_content import Document, digest_of
from dsgmigd.verification.metadata.manifest_reader import Known, read_document
from tests.unit.verification.metadata.dsg_documents import render

METADATA = {"entry_count": 1, "entries_hash": "0", "snapshot_message": 'new\nline "},"metadata":{'}
TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('/"\\:{},\n'), min_size=1, max_size=9)


def entry_of(path: str, user: str = "ana") -> dict[str, Any]:
    return {"type": "link", "path": path, "user": user, "reference": path}


def pieces_of(content: bytes, size: int = 7) -> Callable[[], Iterator[bytes]]:
    return lambda: (content[start : start + size] for start in range(0, len(content), size))


def read(content: bytes, known: Known | None = None) -> tuple[Document, list[tuple[str, bytes]]]:
    """Return the document and what it lists."""
    found = read_document(pieces_of(content), known or Known(), Known())
    paths = list(found.listing.untaken())
    return found, [(path, found.listing.take(path) or b"") for path in paths]


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what had to be read as a whole, as it comes."""
    asked: list[bytes] = []
    read_whole = other_layouts.read_whole

    def note(content: bytes) -> Document:
        asked.append(content)
        return read_whole(content)

    monkeypatch.setattr(document_module, "read_whole", note)
    return asked


@given(st.dictionaries(TEXT, TEXT, min_size=1, max_size=8), st.integers(1, 40))
def test_both_ways_to_read_give_the_content_of_the_document(
    users: dict[str, str], size: int
) -> None:
    entries = {path: entry_of(path, users[path]) for path in sorted(users)}
    content = render({"entries": entries, "metadata": METADATA})
    by_line = document_module._InParts(Known(), Known()).read(pieces_of(content, size)())
    as_whole = other_layouts.read_whole(content)
    for found in (by_line, as_whole):
        listed = [(path, found.listing.take(path)) for path in list(found.listing.untaken())]
        assert listed == [(path, orjson.dumps(entry)) for path, entry in entries.items()]
        assert found.metadata == METADATA
        assert found.entry_count == len(entries)
        joined = b"".join(map(orjson.dumps, entries.values()))
        assert found.entries_hash == xxhash.xxh3_64_hexdigest(joined)
        assert found.digest == digest_of([content])
        assert found.misshapen == []


def test_what_dsgmigd_writes_is_not_read_as_a_whole(whole: list[bytes]) -> None:
    entries = {path: entry_of(path) for path in ("a", "a.b", "a/b", "ä\n")}
    _, listed = read(render({"entries": entries, "metadata": METADATA}))
    assert [path for path, _ in listed] == list(entries)
    assert whole == []


def lines(*members: str, behind: str = '"metadata":{}') -> bytes:
    return ('{"entries":{\n' + ",\n".join(members) + "\n}," + behind + "}\n").encode()


def member(path: str, user: str = "ana") -> str:
    return json.dumps(path) + ":" + orjson.dumps(entry_of(path, user)).decode()


@pytest.mark.parametrize(
    ("content", "users"),
    [
        (lines(member("b"), member("a")), {"b": "ana", "a": "ana"}),
        (lines(member("a", "ana"), member("a", "ben")), {"a": "ben"}),
        (lines(member("a").replace(':"', ': "')), {"a": "ana"}),
        (lines(member("a").replace("ana", "\\u0061na")), {"a": "ana"}),
        (lines(member("a").replace('"user"', '"user":"ben","user"')), {"a": "ana"}),
        (lines(member("a") + "," + member("b")), {"a": "ana", "b": "ana"}),
        (lines(member("a"), '"b":7'), {"a": "ana"}),
        (lines(member("a"), '"b":{}'), {"a": "ana"}),
        (lines(member("a"), behind='"metadata":{},"entries":{}'), {}),
        (lines(member("a"), behind=f'"entries":{{{member("b")}}},"metadata":{{}}'), {"b": "ana"}),
        (b'{"metadata":{},' + lines(member("a"), behind='"x":1')[1:], {"a": "ana"}),
        (b'{"entries":{},"metadata":{}}\n', {}),
    ],
)
def test_a_different_layout_is_read_as_a_json_parser_does(
    content: bytes, users: dict[str, str | None], whole: list[bytes]
) -> None:
    found, listed = read(content)
    assert whole == [content]
    assert {path: json.loads(entry).get("user") for path, entry in listed} == users
    entries = orjson.loads(content)["entries"]
    joined = b"".join(map(orjson.dumps, entries.values()))
    assert found.entries_hash == xxhash.xxh3_64_hexdigest(joined)
    assert found.entry_count == len(entries)
    assert [path for path, _ in found.misshapen] == [path for path in entries if path not in users]


def test_an_entry_that_goes_on_in_the_next_line_is_one_entry(whole: list[bytes]) -> None:
    content = lines('"a":{"type":"link","user":{"x":"1"}', '"b":{"y":"2"}}')
    _, listed = read(content)
    assert [path for path, _ in listed] == ["a"]
    assert whole == [content]


@pytest.mark.parametrize(
    "content",
    [
        lines(member("a"))[:-3],
        lines(member("a")).replace(b"\n}", b",\n}"),
        lines(member("a"), member("b")).replace(b",\n", b"\n"),
        lines(member("a"), member("b") + ","),
        lines(member("a")) + b"x",
        lines(member("a").replace("ana", "\\ud800")),
        lines(member("a")).replace(b"ana", b"\xff"),
        lines(member("a"), behind='"other":{}'),
    ],
)
def test_what_is_no_manifest_is_an_error(content: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        read(content)


def test_a_large_document_of_one_line_is_read_at_most_once_before_it_is_read_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, whole: list[bytes]
) -> None:
    monkeypatch.setattr(document_module, "LONGEST_LINE", 100)
    entries = {f"{number:04}": entry_of(f"{number:04}") for number in range(1000)}
    content = orjson.dumps({"entries": entries, "metadata": METADATA})
    taken: list[int] = []

    def pieces() -> Iterator[bytes]:
        for piece in pieces_of(content)():
            taken[-1] += 1
            yield piece

    def start() -> Iterator[bytes]:
        taken.append(0)
        return pieces()

    assert read_document(start, Known(), Known()).entry_count == 1000
    assert taken[0] < 20
    assert whole == [content]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: one.replace('"path":"b"', '"path":"c"'),
        lambda one: one.replace('"link"', '"file"'),
        lambda one: one.replace('"link"', '"other"'),
        lambda one: one.replace('"link"', "[]"),
        lambda one: one.replace('"user":"ana",', ""),
        lambda one: one.replace("}", ',"more":1}'),
    ],
)
def test_an_entry_of_another_shape_is_named_each_time(
    spoil: Callable[[str], str], whole: list[bytes]
) -> None:
    content = lines(member("a"), spoil(member("b")))
    known = Known()
    found = Known()
    for _ in range(2):
        document = read_document(pieces_of(content), known, found)
        assert [path for path, _ in document.misshapen] == ["b"]
        known, found = found, Known()
    assert whole == []
    assert [path for path, _ in other_layouts.read_whole(content).misshapen] == ["b"]


@given(st.dictionaries(TEXT, TEXT, min_size=1, max_size=40), st.data())
def test_the_result_does_not_depend_on_the_parts_that_are_known(
    users: dict[str, str], data: st.DataObject
) -> None:
    others = users | data.draw(st.dictionaries(st.sampled_from(sorted(users)) | TEXT, TEXT))
    for path in data.draw(st.sets(st.sampled_from(sorted(others)), max_size=len(others) - 1)):
        del others[path]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document_module, "_PART_END", b'"},\n')
        patch.setattr(document_module, "_SHORTEST_PART", data.draw(st.integers(0, 300)))
        patch.setattr(document_module, "_LONGEST_PART", data.draw(st.integers(1, 300)))
        known = Known()
        for one in (users, others):
            entries = {path: entry_of(path, one[path]) for path in sorted(one)}
            content = render({"entries": entries, "metadata": METADATA})
            found = Known()
            document = document_module._InParts(known, found).read(pieces_of(content)())
            expected = other_layouts.read_whole(content)
            assert list(document.listing.lines()) == list(expected.listing.lines())
            assert document.entries_hash == expected.entries_hash
            assert (document.digest, document.metadata) == (expected.digest, expected.metadata)
            assert document.entry_count == expected.entry_count == len(entries)
            known = found


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what was decoded, as it comes."""
    decode, texts = document_module._decode, list[str]()

    def note(text: str) -> Any:
        texts.append(text)
        return decode(text)

    monkeypatch.setattr(document_module, "_decode", note)
    return texts


def file_of(number: int, user: str = "ana") -> dict[str, Any]:
    digest = xxhash.xxh3_64_hexdigest(str(number))
    path = f"{number:06}"
    return {
        "type": "file",
        "path": path,
        "user": user,
        "filesize": 7,
        "mtime": "2014-05-07T10:27:26-07:00",
        "hash": digest,
    }


def test_parts_that_are_known_are_not_looked_into_again(decoded: list[str]) -> None:
    entries = {f"{number:06}": file_of(number) for number in range(20_000)}
    known = Known()
    read_document(
        pieces_of(render({"entries": entries, "metadata": METADATA}), 100_000), Known(), known
    )
    decoded.clear()
    entries["000700x"] = file_of(1, "ben") | {"path": "000700x"}  # all others move
    entries["012000"] = file_of(12_000, "ben")
    del entries["015000"]
    entries = dict(sorted(entries.items()))
    found = read_document(
        pieces_of(render({"entries": entries, "metadata": METADATA}), 90_000), known, Known()
    )
    assert found.entry_count == 20_000
    assert 0 < len(decoded) < 100


def test_a_document_that_was_right_is_not_looked_into_again(decoded: list[str]) -> None:
    entries = {f"{number:06}": file_of(number) for number in range(2000)}
    content = render({"entries": entries, "metadata": METADATA})
    read = pieces_of(content, 10_000)
    expected = read_document(read, Known(), Known())
    decoded.clear()
    known = Known()
    found = read_document(read, Known(), known, right=digest_of([content]))
    assert list(found.listing.lines()) == list(expected.listing.lines())
    assert (found.entry_count, found.entries_hash) == (2000, expected.entries_hash)
    assert (found.metadata, found.misshapen, found.digest) == (METADATA, [], expected.digest)
    entries["001000"] = file_of(1000, "ben")
    read_document(pieces_of(render({"entries": entries, "metadata": METADATA})), known, Known())
    assert len(decoded) == 1


@pytest.mark.parametrize("right", [b"", digest_of([b"another"]), None])
def test_a_document_other_than_the_right_one_is_checked_line_by_line(right: bytes | None) -> None:
    content = lines(member("a"), member("b").replace('"path":"b"', '"path":"c"'))
    known, found = Known(), Known()
    for _ in range(2):
        document = read_document(pieces_of(content), known, found, right=right)
        assert [path for path, _ in document.misshapen] == ["b"]
        known, found = found, Known()


def test_a_right_document_in_another_layout_is_read_as_any_other(whole: list[bytes]) -> None:
    content = orjson.dumps({"entries": {"a": entry_of("a")}, "metadata": METADATA})
    found = read_document(pieces_of(content), Known(), Known(), right=digest_of([content]))
    assert (found.entry_count, whole) == (1, [content])


def test_parts_of_known_lines_in_another_order_are_found_out(whole: list[bytes]) -> None:
    parts = [[file_of(number) for number in range(start, start + 99)] for start in (0, 100)]
    first, second = (
        ["%s:%s" % (json.dumps(one["path"]), orjson.dumps(one).decode()) for one in part]  # noqa: UP031
        for part in parts
    )
    first[-1] = first[-1].replace('"hash":"', '"hash":"0')[:-3] + '0"}'
    second[-1] = second[-1].replace('"hash":"', '"hash":"0')[:-3] + '0"}'
    known = Known()
    read_document(pieces_of(lines(*first, *second, member("x"))), Known(), known)
    assert whole == []
    read_document(pieces_of(lines(*second, *first, member("x"))), known, Known())
    assert len(whole) == 1


@pytest.mark.parametrize("count", [255, 256, 257, 600])
def test_many_entries_are_checked_some_at_a_time(count: int, whole: list[bytes]) -> None:
    entries = {f"{number:04}": entry_of(f"{number:04}") for number in range(count)}
    entries[f"{count - 1:04}"]["type"] = "file"
    found = read_document(
        pieces_of(render({"entries": entries, "metadata": METADATA}), 1000), Known(), Known()
    )
    assert found.entry_count == count
    assert [path for path, _ in found.misshapen] == [f"{count - 1:04}"]
    assert whole == []
