"""The lines of a ledger, and what its end says after a crash."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.spool.ledger_line import (
    LINE_LIMIT_BYTES,
    Entry,
    Line,
    When,
    parse_line,
    parse_tail,
    sha256,
    write_line,
)

WHEN = When("2026-11-30T19:00:00.000+00:00", "boot", 1.23456)


def chain(*acts: str) -> list[bytes]:
    """Return a ledger with one line for each act."""
    found: list[bytes] = []
    last: Line | None = None
    for act in acts:
        content, last = write_line(Entry(act, "done", 0), last, WHEN)
        found.append(content)
    return found


def test_a_line_has_every_key_and_hangs_on_the_one_before_it() -> None:
    first, second = chain("pause", "resume")
    document = json.loads(second)
    assert list(document) == [
        *("seq", "at", "boot_id", "boot_seconds", "act", "repo", "request_id", "user"),
        *("instance", "outcome", "result", "result_sha256", "before"),
    ]
    assert (json.loads(first)["before"], document["before"]) == (None, sha256(first))
    assert (document["seq"], document["boot_seconds"]) == (2, 1.235)
    assert second.endswith(b"}\n")


def test_what_is_only_now_and_then_there_is_no_key_otherwise() -> None:
    entry = Entry("recovered", None, 1, what="w", error="e", begun=3, unlisted=4, torn=b"abc")
    document = json.loads(write_line(entry, None, WHEN)[0])
    assert document["torn"] == {"bytes": 3, "sha256": sha256(b"abc")}
    assert (document["what"], document["error"]) == ("w", "e")
    assert (document["begun"], document["unlisted"]) == (3, 4)
    assert "again" not in document
    again = json.loads(write_line(Entry("request", "done", 1, again=True), None, WHEN)[0])
    assert again["again"] is True


def test_no_line_is_longer_than_its_limit_and_all_are_ascii() -> None:
    entry = Entry("request", "rejected", 999, repo="\U0001f600" * 999, what="\udcff" * 9999)
    content, line = write_line(entry, None, WHEN)
    assert len(content) <= LINE_LIMIT_BYTES
    assert content.isascii()
    parsed = parse_line(content)
    assert parsed is not None
    assert (parsed.seq, parsed.sha256) == (line.seq, line.sha256)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\n", b"{}\n", b"[1]\n", b"1\n", b"{\n", b"\x00\n", b"[" * 100_000 + b"\n"),
        b'{"act": "x", "seq": true, "before": null}\n',
        b'{"act": "x", "seq": 0, "before": null}\n',
        b'{"act": "x", "seq": 1, "before": "abc"}\n',
        b'{"act": "x", "seq": 1}\n',
        b'{"act": 1, "seq": 1, "before": null}\n',
        b'{"act": "x", "seq": 1, "before": null}',
        b'\n{"act": "x", "seq": 1, "before": null}\n',
        b'{"act": "x",\n "seq": 1, "before": null}\n',
    ],
)
def test_what_is_no_line_is_none(content: bytes) -> None:
    assert parse_line(content) is None


def test_a_line_follows_one_line_only() -> None:
    one, two, three = map(parse_line, chain("a", "b", "c"))
    assert one
    assert two
    assert three
    assert one.follows(None)
    assert two.follows(one)
    assert not two.follows(None)
    assert not three.follows(one)
    assert not one.follows(two)


@given(st.integers(0, 400))
def test_whatever_is_left_of_a_last_line_is_torn_or_lacks_its_newline_only(length: int) -> None:
    whole, last = chain("a", "b")
    left = last[: min(length, len(last))]
    tail = parse_tail(whole + left, is_whole=True)
    assert tail is not None
    acts = [line.document["act"] for line in tail.lines]
    if len(left) >= len(last) - 1:
        assert (acts, tail.torn) == (["a", "b"], b"")
        assert tail.is_ended == (left == last)
    else:
        assert (acts, tail.torn, tail.is_ended) == (["a"], left, not left)


def test_what_crashes_left_one_after_the_other_is_torn_together() -> None:
    whole, last = chain("a", "b")
    torn = last[:20] + b"\n" + last[:30]
    tail = parse_tail(whole + torn, is_whole=True)
    assert tail is not None
    assert (tail.torn, tail.is_ended) == (torn, False)
    ended = parse_tail(whole + torn + b"\n", is_whole=True)
    assert ended is not None
    assert (ended.torn, ended.is_ended) == (torn + b"\n", True)


def test_what_was_told_by_a_later_line_is_not_torn_any_more() -> None:
    first, second = chain("a", "b")
    tail = parse_tail(first + b"garbage\n" + second, is_whole=True)
    assert tail is not None
    assert (len(tail.lines), tail.torn) == (2, b"")


def test_in_a_part_of_a_ledger_the_first_piece_counts_for_nothing() -> None:
    first, second, third = chain("a", "b", "c")
    tail = parse_tail(first[10:] + second + third, is_whole=False)
    assert tail is not None
    assert [line.seq for line in tail.lines] == [2, 3]
    assert not tail.is_whole
    assert parse_tail(third[10:], is_whole=False) is None
    assert parse_tail(b"garbage\ngarbage\n", is_whole=False) is None


def test_an_empty_ledger_has_no_last_line() -> None:
    tail = parse_tail(b"", is_whole=True)
    assert tail is not None
    assert (tail.last, tail.torn, tail.is_ended) == (None, b"", True)


def test_a_line_is_about_the_same_act_if_request_and_result_are_the_same() -> None:
    entry = Entry("request", "done", 1, request_id="id", result_sha256="0" * 64)
    line = write_line(entry, None, WHEN)[1]
    assert line.tells_of(entry)
    assert not line.tells_of(Entry("request", "done", 1, request_id="other"))
    assert not line.tells_of(Entry("request", "done", 1, request_id="id", result_sha256="1" * 64))
    assert not line.tells_of(Entry("cancel", "done", 1, request_id="id", result_sha256="0" * 64))
