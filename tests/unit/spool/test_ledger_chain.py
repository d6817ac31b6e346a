"""A chain is recounted, and what was done to it is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.spool.ledger_chain import Misfit, recount
from dsgmigd.spool.ledger_line import Entry, Line, write_line
from tests.unit.spool.test_ledger_line import WHEN, chain

ACTS = "abcdefgh"


def check(pieces: list[bytes]) -> tuple[list[int], Misfit | None]:
    """Return the numbers of the lines that fit, and the misfit."""
    used: list[Line] = []
    misfit = recount(pieces, used.append)
    return [line.seq for line in used], misfit


def test_a_chain_that_nobody_touched_fits() -> None:
    assert check(chain(*ACTS)) == (list(range(1, 9)), None)
    assert check([]) == ([], None)


@given(st.integers(0, 7), st.data())
def test_a_line_with_any_byte_changed_is_found_and_named(at: int, data: st.DataObject) -> None:
    """But in the last one, of which no line knows the hash: only its own words may give it away."""
    lines = chain(*ACTS)
    byte = data.draw(st.integers(0, len(lines[at]) - 2))
    new = data.draw(st.integers(0, 255).filter(lambda value: value != lines[at][byte]))
    lines[at] = lines[at][:byte] + bytes([new]) + lines[at][byte + 1 :]
    _, misfit = check(lines)
    if at < 7:
        assert misfit is not None
        assert (misfit.line, misfit.why) == (at + 1, "edited")
    elif misfit is not None:
        assert misfit.line in {7, 8}
        assert misfit.why in {"edited", "removed", "reordered"}


@given(st.integers(0, 6), st.integers(1, 7))
def test_lines_that_were_removed_are_found_unless_they_are_the_last(at: int, count: int) -> None:
    lines = chain(*ACTS)
    count = min(count, 7 - at)
    del lines[at : at + count]
    fitting, misfit = check(lines)
    assert misfit is not None
    assert (misfit.line, misfit.why) == (at + 1, "removed")
    assert fitting == list(range(1, at + 1))


@given(st.permutations(range(8)).filter(lambda order: order != list(range(8))))
def test_lines_in_another_order_are_found(order: list[int]) -> None:
    lines = chain(*ACTS)
    _, misfit = check([lines[at] for at in order])
    first = next(at for at in range(8) if order[at] != at)
    assert misfit is not None
    assert (misfit.line, misfit.why) == (first + 1, "reordered")


def test_a_line_that_stands_twice_is_found() -> None:
    lines = chain(*ACTS)
    _, misfit = check([*lines[:4], lines[3], *lines[4:]])
    assert misfit == Misfit(5, "reordered", "line 4 is where line 5 belongs")


def test_a_line_of_another_ledger_is_found() -> None:
    lines, others = chain(*ACTS), chain("x", "y", "z")
    _, misfit = check([*lines[:2], others[2], *lines[3:]])
    assert misfit is not None
    assert (misfit.line, misfit.why) == (3, "edited")


@given(st.integers(1, 300))
def test_a_last_line_that_a_crash_cut_is_torn(length: int) -> None:
    *whole, last = chain(*ACTS)
    left = last[: min(length, len(last) - 1)]
    fitting, misfit = check([*whole, left])
    assert misfit is not None
    assert (misfit.line, misfit.why) == (8, "torn")
    assert fitting == list(range(1, 8))


@pytest.mark.parametrize("torn", [b'{"seq": 3, "a', b"\x00" * 40, b"a\nb"])
def test_what_a_crash_left_fits_if_the_next_line_tells_of_it(torn: bytes) -> None:
    lines = chain("a", "b")
    last = None
    for number, act in enumerate("ab"):
        content, last = write_line(Entry(act, "done", 0), last, WHEN)
        assert content == lines[number]
    told, recovered = write_line(Entry("recovered", "recovered", 0, torn=torn), last, WHEN)
    after, _ = write_line(Entry("c", "done", 0), recovered, WHEN)
    pieces = (b"".join(lines) + torn + b"\n" + told + after).splitlines(keepends=True)
    assert check(pieces) == ([1, 2, 3, 4], None)
    for changed in (torn[:-1], torn + b"x", b""):
        content = b"".join(lines) + changed + b"\n" * bool(changed) + told + after
        _, misfit = check(content.splitlines(keepends=True))
        assert misfit is not None
        assert (misfit.line, misfit.why) == (3, "edited")


def test_what_is_no_line_in_the_midst_is_found() -> None:
    lines = chain(*ACTS)
    _, misfit = check([*lines[:3], b"garbage\n", *lines[3:]])
    assert misfit is not None
    assert (misfit.line, misfit.why) == (4, "edited")
    _, misfit = check([*lines, b"garbage\n"])
    assert misfit is not None
    assert (misfit.line, misfit.why) == (9, "edited")


def test_garbage_without_an_end_is_not_read_into_memory() -> None:
    endless = (b"x" * 65536 for _ in range(10_000))
    assert check(endless)[1] is not None  # type: ignore[arg-type]
    assert next(endless, None) is not None
