"""What a terminal is given of a name that somebody else chose."""

import os

import pytest

from dsgmigd.host.terminal import printable, shortened, shown


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nb\t\0\x7f", "a\\r\\nb\\t\\x00\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        (os.fsdecode(b"a\xff"), "a\\udcff"),
    ],
)
def test_nothing_that_steers_a_terminal_stays(hostile: str, shown: str) -> None:
    assert printable(hostile) == shown
    assert shown.encode("ascii")


@pytest.mark.parametrize("text", ["", "straße s1", "日本", "\U0001f4be", "back\\slash 'x'"])
def test_what_is_printable_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "ä ж\\r\n\\x1b"),
        ("iso-8859-1", "ä \\u0436\\r\n\\x1b"),
        ("ascii", "\\xe4 \\u0436\\r\n\\x1b"),
    ],
)
def test_lines_are_shown_with_what_the_stream_has(encoding: str, expected: str) -> None:
    assert shown("ä ж\r\n\x1b", encoding) == expected


def test_a_long_text_is_cut_and_says_so() -> None:
    assert shortened("x" * 40, 40) == "x" * 40
    cut = shortened("x" * 41, 40)
    assert (len(cut), cut.rstrip("x"), cut.endswith("x… (41 characters in all)")) == (40, cut, True)
