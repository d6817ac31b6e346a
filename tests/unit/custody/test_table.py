"""The table of rows against a plain dictionary."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from dsgmigd.custody.table import Edit, Row, Table, at, below

NUMBERS = st.integers(0, 400)
RANGES = st.lists(st.tuples(NUMBERS, NUMBERS, st.lists(NUMBERS, max_size=90)), max_size=6)


def row(number: int, line: bytes = b"x", size: int | None = 1) -> Row:
    return Row(b"%04d" % number, line, number, -number, size)


def edits_of(ranges: list[tuple[int, int, list[int]]]) -> list[Edit]:
    """Make sorted edits that do not overlap of any ranges."""
    edits: list[Edit] = []
    least = 0
    for one, other, numbers in ranges:
        low, high = sorted((least + one, least + other))
        rows = tuple(row(low + n) for n in sorted(set(numbers)) if low + n < high)
        edits.append(Edit(b"%04d" % low, b"%04d" % high, rows))
        least = high
    return edits


@settings(deadline=None)
@given(st.lists(RANGES, min_size=1, max_size=8))
def test_it_holds_what_a_dictionary_holds(steps: list[list[tuple[int, int, list[int]]]]) -> None:
    table, model = Table(), dict[bytes, Row]()
    for ranges in steps:
        edits = edits_of(ranges)
        table = table.changed(edits)
        for edit in edits:
            assert edit.high is not None
            model = {p: r for p, r in model.items() if not edit.low <= p < edit.high}
            model |= {one.path: one for one in edit.rows}
        rows = [model[path] for path in sorted(model)]
        assert list(table.rows()) == rows
        assert len(table) == table.files == table.size == len(rows)
        assert table.root() == hashlib.sha256(b"x\n" * len(rows)).hexdigest()
        low, high = b"0050", b"0200"
        assert list(table.between(low, high)) == [r for r in rows if low <= r.path < high]
        assert list(table.between(low, None)) == [r for r in rows if low <= r.path]


def test_a_small_change_shares_all_other_blocks() -> None:
    table = Table().changed([Edit(b"", None, tuple(row(n) for n in range(5000)))])
    changed = table.changed([Edit(b"2500", at(b"2500"), (row(2500, b"y"),))])
    before, after = set(map(id, table._blocks)), set(map(id, changed._blocks))
    assert len(after - before) <= 2
    assert changed.get(b"2500") == row(2500, b"y")


def test_many_small_changes_leave_no_small_blocks() -> None:
    table = Table()
    for number in range(2000):
        path = b"%04d" % number
        table = table.changed([Edit(path, at(path), (row(number),))])
    assert len(table._blocks) < 2000 / 10


def test_below_are_the_contents_of_a_directory_and_nothing_else() -> None:
    low, high = below(b"a")
    assert all(low <= path < high for path in (b"a/", b"a/b", b"a/\xff/b"))
    assert not any(low <= path < high for path in (b"a", b"a.b", b"ab", b"a0"))
    assert b"a" < at(b"a") <= b"a\x01"


def test_what_is_no_file_has_no_size() -> None:
    table = Table().changed([Edit(b"", None, (row(1, size=None), row(2, size=0), row(3, size=7)))])
    assert [one.size for one in table.rows()] == [None, 0, 7]
    assert (table.files, table.size) == (2, 7)
