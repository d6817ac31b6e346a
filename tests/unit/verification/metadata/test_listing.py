"""Entries by path, against a dictionary; more of them than are open at a time."""

import orjson
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.verification.metadata import listing as listing_module
from dsgmigd.verification.metadata.listing import (
    BETWEEN_LINES,
    Block,
    Listing,
    block_of,
    entries_in,
    split_line,
)

PATHS = st.text(st.characters(codec="utf-8") | st.sampled_from('/"\\:{\n'), min_size=1, max_size=8)


def entry_of(path: str) -> bytes:
    return orjson.dumps({"type": "link", "path": path, "reference": path})


def line_of(path: str) -> bytes:
    return orjson.dumps(path) + b":" + entry_of(path)


def listing_of(paths: set[str], at_once: int = 30) -> Listing:
    some = sorted(paths)
    return Listing(
        a_block_of(some[start : start + at_once]) for start in range(0, len(some), at_once)
    )


def a_block_of(paths: list[str]) -> Block:
    return block_of(BETWEEN_LINES.join(map(line_of, paths)), paths)


@pytest.mark.parametrize("path", [":{", 'a":{', 'd/x":{', '":{"type":', '":{"t', 'a"', "a\\"])
@pytest.mark.parametrize("key", ["type", "path", "", ":{", 't":{"'])
def test_a_path_that_looks_like_the_end_of_a_path_is_whole(path: str, key: str) -> None:
    entry = orjson.dumps({key: {"type": path}})
    line = orjson.dumps(path) + b":" + entry
    assert split_line(line) == (path, entry)
    assert entries_in(BETWEEN_LINES.join([line, line_of("z")])) == entry + entry_of("z")


@given(PATHS)
def test_a_line_is_split_into_path_and_entry(path: str) -> None:
    assert split_line(line_of(path)) == (path, entry_of(path))


@pytest.mark.parametrize("line", [b"", b'"a"', b'"a":7', b'"a":[]', b'"a":{}'])
def test_text_without_an_entry_is_not_a_line(line: bytes) -> None:
    with pytest.raises(ValueError, match="not an object"):
        split_line(line)


@given(st.sets(PATHS, max_size=30), st.lists(PATHS, max_size=10), st.data())
def test_a_listing_answers_like_a_dictionary_in_any_order(
    paths: set[str], others: list[str], data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing_module, "_OPEN_BLOCKS", 2)
        listing = listing_of(paths, 3)
        assert len(listing) == len(paths)
        taken = set()
        for path in data.draw(st.permutations([*sorted(paths)[::2], *others])):
            expected = entry_of(path) if path in paths else None
            assert listing.hash_of(path) == (xxhash.xxh3_64_intdigest(expected) if expected else 0)
            assert listing.entry_at(path) == expected
            assert listing.take(path) == expected
            taken.add(path)
        assert list(listing.untaken()) == sorted(paths - taken)
        assert list(listing.lines()) == [(path, entry_of(path)) for path in sorted(paths)]


@given(st.sets(PATHS, max_size=30), st.lists(PATHS | st.just("\udce9"), max_size=10))
def test_many_paths_are_found_as_each_is(paths: set[str], others: list[str]) -> None:
    listing = listing_of(paths, 3)
    for asked in (sorted(paths | set(others)), [*others, *paths]):
        encoded = [path.encode(errors="surrogateescape") for path in asked]
        assert listing.find_each(encoded) == [listing.find(path) for path in asked]


def test_a_path_that_is_not_listed_is_missed_without_splitting_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listing = listing_of({f"{directory}/{name}" for directory in "abc" for name in "123"}, 3)
    split, real = list[int](), Block.numbered_lines

    def note(block: Block, start: int) -> dict[bytes, tuple[int, bytes]]:
        split.append(start)
        return real(block, start)

    monkeypatch.setattr(Block, "numbered_lines", note)
    assert listing.find_each([b"a", b"b", b"c"]) == [None] * 3
    assert split == []
    assert listing.find_each([b"b/x", b"b/y", b"c/1"]) == [None, None, listing.find("c/1")]
    assert split == [3, 6], "whoever asks for more of one block gets its lines"


@given(st.sets(PATHS, min_size=1, max_size=30), PATHS, PATHS)
def test_a_span_has_what_is_found_between_its_ends(paths: set[str], one: str, other: str) -> None:
    listing = listing_of(paths, 3)
    first, last = sorted([one, other])
    span = listing.span(first.encode(), last.encode(), len(paths))
    assert span is not None
    inside = Listing(span.blocks)
    for path in {first, last, *paths}:
        if first <= path <= last:
            found = inside.find(path)
            expected = listing.find(path)
            assert (found and (found[0] + span.start, found[1])) == expected
    assert listing.span(first.encode(), last.encode(), len(span.blocks)) == span
    assert (
        not span.blocks or listing.span(first.encode(), last.encode(), len(span.blocks) - 1) is None
    )


def test_a_run_of_entries_is_ticked_off() -> None:
    listing = listing_of(set("abcdefgh"), 3)
    listing.tick_off_run(2, 4)
    assert list(listing.untaken()) == ["a", "b", "g", "h"]


@given(st.sets(PATHS, min_size=1, max_size=10))
def test_the_entries_in_some_lines_are_joined(paths: set[str]) -> None:
    lines = BETWEEN_LINES.join(map(line_of, sorted(paths)))
    assert entries_in(lines) == b"".join(map(entry_of, sorted(paths)))


def test_a_name_that_is_not_unicode_is_asked_for_and_not_listed() -> None:
    listing = listing_of({"a", "\U0010ffff"})
    assert listing.take("latin-\udce9") is None
    assert list(listing.untaken()) == ["a", "\U0010ffff"]


def test_many_entries_are_kept_small_and_few_of_them_open() -> None:
    paths = {f"region-{number // 1000:03}/file-{number:06}" for number in range(100_000)}
    listing = listing_of(paths)
    assert sum(listing.take(path) == entry_of(path) for path in sorted(paths)) == len(paths)
    assert list(listing.untaken()) == []
    assert sum(len(block.packed) for block in listing._blocks) < 60 * len(paths)
    assert len(listing._open) <= listing_module._OPEN_BLOCKS
