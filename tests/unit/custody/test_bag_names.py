"""Names in bags: each means one path, and BagIt and sha256sum can write and read it."""

import json
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dsgmigd.custody.bag_names import manifest_line, name_in_bag, names_line, sums_line

NAME = st.binary(min_size=1, max_size=255).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}
)
ODD = st.lists(
    st.sampled_from([b"=", b"%", b"2", b"5", b"F", b"\xff", b"\n", b" ", b"=long-", b"\xc3\xa9"]),
    min_size=1,
    max_size=12,
).map(b"".join)


@pytest.mark.parametrize(
    "path",
    [
        b"a",
        b"dir/.hidden",
        b"with blank",
        b"-n",
        b"b\\n",
        b"\xc3\xa9",
        b"=",
        b"a=b",
        b"=2g",
        b"x" * 255,
    ],
)
def test_most_names_stay_as_they_are(path: bytes) -> None:
    assert name_in_bag(path) == b"data/" + path
    assert names_line(path) == b""


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"100%", b"100=25"),
        (b"a\nb", b"a=0Ab"),
        (b"a\rb", b"a=0Db"),
        (b"\xff/a", b"=FF/a"),
        (b"dir /a", b"dir=20/a"),
        (b"a\xc2\xa0", b"a=C2=A0"),
        (b"a\xe2\x80\xa8b", b"a=E2=80=A8b"),
        (b"=25", b"=3D25"),
        (b"=long-x", b"=3Dlong-x"),
    ],
)
def test_what_bagit_cannot_write_is_escaped_and_listed(path: bytes, name: bytes) -> None:
    assert name_in_bag(path) == b"data/" + name
    assert json.loads(names_line(path)) == {
        "path": os.fsdecode(path),
        "name": "data/" + name.decode(),
    }


def test_a_name_that_becomes_too_long_is_its_hash() -> None:
    first, second = b"\xff" * 200, b"\xff" * 199 + b"\xfe"
    names = name_in_bag(first), name_in_bag(second)
    assert [name[:11] for name in names] == [b"data/=long-"] * 2
    assert names[0] != names[1]
    assert json.loads(names_line(first))["path"] == os.fsdecode(first)


@given(st.tuples(NAME | ODD, NAME | ODD))
@example((b"=%", b"==25"))
@example((b"%", b"=25"))
@example((b"\xe9", b"=E9"))
def test_two_paths_have_two_names_that_every_file_system_and_tool_takes(
    paths: tuple[bytes, bytes],
) -> None:
    names = [name_in_bag(path) for path in paths]
    assert (names[0] == names[1]) == (paths[0] == paths[1])
    for name in names:
        text = name.decode("utf-8")
        assert text.splitlines() == [text] == [text.rstrip()]
        assert "%" not in text
        assert len(name.removeprefix(b"data/")) <= 255


def test_the_lines_are_those_of_the_tools() -> None:
    assert manifest_line("ab", b"a b") == b"ab  data/a b\n"
    assert sums_line("ab", b"a b") == b"ab  data/a b\n"
    assert sums_line("ab", b"a\\n") == b"\\ab  data/a\\\\n\n"
    assert manifest_line("ab", b"a\\n") == b"ab  data/a\\n\n"
