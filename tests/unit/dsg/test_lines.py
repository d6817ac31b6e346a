"""Lines that change here and there, against a dictionary of all of them."""

from collections.abc import Iterable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.dsg import lines as lines_module
from dsgmigd.dsg.entry import file_entry, link_entry
from dsgmigd.dsg.lines import Lines, count_in, end_of, entries_in, line_of, split_line
from dsgmigd.dsg.stale import STALE

PATHS = st.text(
    st.characters(codec="utf-8") | st.sampled_from('/"\\:{},\n'), min_size=1, max_size=6
).map(str.encode)
USERS = st.text(st.sampled_from('a"\\:{},\n'), max_size=4)


def entry_of(path: bytes, user: str = "ana") -> bytes:
    return link_entry(path, user=user, reference="x")


def lines_text(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b",\n".join(line_of(path, entry) for path, entry in records)


@pytest.mark.parametrize(
    "path", [b":{", b'a":{', b'd/x":{', b'":{"type":', b'":{"t', b'a"', b"a\\"]
)
def test_a_path_that_looks_like_the_end_of_a_path_is_whole(path: bytes) -> None:
    entries = [entry_of(path), entry_of(b"z")]
    block = lines_text(zip([path, b"z"], entries, strict=True))
    assert split_line(line_of(path, entries[0])) == (path, entries[0])
    assert entries_in(block) == b"".join(entries)


@given(PATHS, USERS)
def test_a_line_is_split_into_path_and_entry(path: bytes, user: str) -> None:
    line = line_of(path, entry_of(path, user))
    assert orjson.loads(b"{" + line + b"}") == {path.decode(): orjson.loads(entry_of(path, user))}
    assert split_line(line) == (path, entry_of(path, user))


@given(st.lists(st.tuples(PATHS, USERS), min_size=1, max_size=5))
def test_entries_and_their_number_are_read_from_a_block(some: list[tuple[bytes, str]]) -> None:
    entries = [entry_of(path, user) for path, user in some]
    block = lines_text(zip([path for path, _ in some], entries, strict=True))
    assert entries_in(block) == b"".join(entries)
    assert count_in(block) == len(entries)


@given(
    st.lists(st.tuples(PATHS, PATHS, st.dictionaries(PATHS, USERS, max_size=9)), max_size=6),
    st.data(),
)
def test_lines_are_those_of_a_dictionary_after_every_edit(
    steps: list[tuple[bytes, bytes, dict[bytes, str]]], data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "_BLOCK_LINES", 3)
        expected: dict[bytes, bytes] = {}
        lines = Lines()
        for one, other, users in steps:
            low, high = sorted((one, other))
            inside = {path: user for path, user in users.items() if low <= path < high}
            outside = {path: user for path, user in users.items() if path not in inside}
            for path in [path for path in expected if low <= path < high]:
                del expected[path]
            expected |= {path: entry_of(path, user) for path, user in users.items()}
            edits = [
                (path, end_of(path), [(path, entry_of(path, outside[path]))]) for path in outside
            ]
            records = [(path, entry_of(path, inside[path])) for path in sorted(inside)]
            lines = lines.changed(sorted([*edits, (low, high, records)]))
            check(lines, expected)
            check(lines, expected, data.draw(st.lists(PATHS, max_size=3)))


def check(lines: Lines, expected: dict[bytes, bytes], asked: Iterable[bytes] = ()) -> None:
    blocks = list(lines.blocks())
    assert b",\n".join(blocks) == b",\n".join(
        line_of(path, entry) for path, entry in sorted(expected.items())
    )
    assert all(count_in(block) <= 3 for block in blocks)
    assert list(lines.entries()) == [expected[path] for path in sorted(expected)]
    for path in (*expected, *asked):
        assert lines.find(path) == expected.get(path)
        directory = path + b"/"
        assert lines.has_below(directory) == any(one.startswith(directory) for one in expected)
        assert list(lines.between(path, end_of(directory))) == sorted(
            (one, entry) for one, entry in expected.items() if path <= one < end_of(directory)
        )


def lines_of(paths: Iterable[bytes]) -> Lines:
    return Lines().changed([(b"", b"\xff", ((path, entry_of(path)) for path in paths))])


def test_a_change_opens_the_blocks_that_it_is_in_and_no_other() -> None:
    lines = lines_of(b"%04d" % number for number in range(1000))
    record = entry_of(b"0500", "ben")
    changed = lines.changed([(b"0500", end_of(b"0500"), [(b"0500", record)])])
    blocks = zip(lines._blocks.packed, changed._blocks.packed, strict=True)
    assert sum(one is not other for one, other in blocks) == 1
    assert lines.find(b"0500") == entry_of(b"0500"), "lines never change"


def test_blocks_that_few_lines_are_left_of_are_joined() -> None:
    lines = lines_of(b"%04d" % number for number in range(1600))
    assert len(list(lines.blocks())) == 50
    for number in range(0, 1600, 32):
        lines = lines.changed([(b"%04d" % (number + 1), b"%04d" % (number + 32), ())])
    assert len(list(lines.entries())) == 50
    assert len(list(lines.blocks())) <= 5


def test_an_entry_at_another_path_than_its_own_is_stale() -> None:
    entry = file_entry(b"old", user="u", size=1, mtime=0.0, digest="0123456789abcdef")
    lines = Lines().changed([(b"n", b"o", [(b"new", entry)])])
    assert lines.find(b"new") == b'{"type":"stale","hash":"0123456789abcdef"}'


def test_stale_records_are_found_in_whichever_block_they_are() -> None:
    lines = lines_of(b"%04d" % number for number in range(1000))
    assert not lines.has_stale()
    paths = [b"0007", b"0500", b"0501", b"0999"]
    edits = [(path, end_of(path), [(path, STALE)]) for path in paths]
    stale = lines.changed(edits)
    assert (stale.has_stale(), stale.stale_paths(100)) == (True, paths)
    assert stale.stale_paths(1) == paths[:1]
    assert stale.changed([(paths[1], paths[2], ())]).stale_paths(100) == [paths[0], *paths[2:]]
    fresh = stale.changed((path, end_of(path), [(path, entry_of(path))]) for path in paths)
    assert not fresh.has_stale()


@pytest.mark.parametrize("path", [b"\xff", b"a\xff", b"ab\xffc", b'a"', b'\xffa"'])
def test_what_no_line_can_have_is_not_found(path: bytes) -> None:
    lines = lines_of([b"a", b"ab"])
    assert lines.find(path) is None
    assert not lines.has_below(path + b"/")


def test_many_lines_are_kept_small() -> None:
    paths = [b"region-%03d/file-%06d" % divmod(number, 1000) for number in range(20_000)]
    assert sum(map(len, lines_of(paths)._blocks.packed)) < 40 * len(paths)
