"""A JSON document that is decoded member by member is what a JSON parser makes of it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.verification.metadata.json_text import JsonText

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


def decode(content: bytes, size: int, longest: int = 1000) -> list[tuple[str, Any]]:
    text = JsonText(pieces(content, size), longest)
    found = [(key, text.value()) for key in text.members()]
    text.end()
    return found


@given(
    st.dictionaries(st.text(max_size=5), VALUES, max_size=5),
    st.integers(1, 9),
    st.sampled_from([{"indent": 1}, {"ensure_ascii": False}, {}]),
)
def test_members_are_those_of_the_document(
    document: dict[str, Any], size: int, layout: dict[str, Any]
) -> None:
    content = json.dumps(document, **layout).encode(errors="replace")
    assert decode(content, size) == list(json.loads(content).items())


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"a"}', '{"a":}', '{"a":1', '{"a":1,}', '{"a":1 "b":2}', "{1:2}", '{"a":1}x'],
)
def test_what_is_no_object_is_an_error(content: str, size: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # the words are those of the json module
        decode(content.encode(), size)


def test_bytes_that_are_no_text_are_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        decode(b'{"a":"\xff"}', 100)


def test_of_a_value_that_is_too_long_only_the_beginning_is_read() -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        yield b'{"a":"'
        while True:
            read += 100
            yield b"x" * 100

    text = JsonText(endless(), 1000)
    with pytest.raises(ValueError, match="Unterminated"):
        [text.value() for _ in text.members()]
    assert read < 3000


def test_blanks_of_any_length_need_no_memory() -> None:
    blanks = (b" " * 1000 for _ in range(10_000))
    text = JsonText(blanks, 10)
    with pytest.raises(ValueError, match="in place of"):
        list(text.members())
    assert len(text._text) <= 1000
