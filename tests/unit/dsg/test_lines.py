"""Lines that change here and there, against a dictionary of all of them."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.dsg import lines as lines_module
from dsgmigd.dsg.entry import link_entry
from dsgmigd.dsg.lines import Lines, count_in, entries_in, line_of, split_line

PATHS = st.text(
    st.characters(codec="utf-8") | st.sampled_from('/"\\:{},\n'), min_size=1, max_size=6
).map(str.encode)
USERS = st.text(st.sampled_from('a"\\:{},\n'), max_size=4)


def entry_of(path: bytes, user: str = "ana") -> bytes:
    return link_entry(path, user=user, reference="x")


@pytest.mark.parametrize(
    "path", [b":{", b'a":{', b'd/x":{', b'":{"type":', b'":{"t', b'a"', b"a\\"]
)
def test_a_path_that_looks_like_the_end_of_a_path_is_whole(path: bytes) -> None:
    entries = [entry_of(path), entry_of(b"z")]
    block = b",\n".join(map(line_of, entries))
    assert split_line(line_of(entries[0])) == (path, entries[0])
    assert entries_in(block) == b"".join(entries)


@given(PATHS, USERS)
def test_a_line_is_split_into_path_and_entry(path: bytes, user: str) -> None:
    line = line_of(entry_of(path, user))
    assert orjson.loads(b"{" + line + b"}") == {path.decode(): orjson.loads(entry_of(path, user))}
    assert split_line(line) == (path, entry_of(path, user))


@given(st.lists(st.tuples(PATHS, USERS), min_size=1, max_size=5))
def test_entries_and_their_number_are_read_from_a_block(some: list[tuple[bytes, str]]) -> None:
    entries = [entry_of(path, user) for path, user in some]
    block = b",\n".join(map(line_of, entries))
    assert entries_in(block) == b"".join(entries)
    assert count_in(block) == len(entries)


@given(
    st.dictionaries(PATHS, USERS, max_size=12),
    st.lists(st.dictionaries(PATHS, st.none() | USERS, max_size=9), max_size=4),
    st.data(),
)
def test_lines_are_those_of_a_dictionary_after_every_change(
    users: dict[bytes, str], steps: list[dict[bytes, str | None]], data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "_BLOCK_LINES", 3)
        expected = {path: entry_of(path, user) for path, user in users.items()}
        lines = Lines(entry for _, entry in sorted(expected.items()))
        for step in steps:
            known = data.draw(st.lists(st.sampled_from(sorted(expected)))) if expected else []
            changes = dict.fromkeys(known) | {
                path: None if user is None else entry_of(path, user) for path, user in step.items()
            }
            expected |= {path: entry for path, entry in changes.items() if entry is not None}
            for path, entry in changes.items():
                if entry is None:
                    expected.pop(path, None)
            lines.change(sorted(changes.items()))
            blocks = list(lines.blocks())
            assert b",\n".join(blocks) == b",\n".join(
                line_of(entry) for _, entry in sorted(expected.items())
            )
            assert all(count_in(block) <= 3 for block in blocks)


def test_a_change_opens_the_blocks_that_it_is_in_and_no_other() -> None:
    paths = [b"%04d" % number for number in range(1000)]
    lines = Lines(map(entry_of, paths))
    before = list(lines._blocks)
    lines.change([(b"0500", entry_of(b"0500", "ben"))])
    assert sum(one is not other for one, other in zip(before, lines._blocks, strict=True)) == 1


def test_many_lines_are_kept_small() -> None:
    paths = [b"region-%03d/file-%06d" % divmod(number, 1000) for number in range(20_000)]
    lines = Lines(map(entry_of, paths))
    assert sum(map(len, lines._blocks)) < 40 * len(paths)
