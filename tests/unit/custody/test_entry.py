"""Entries and their lines."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.custody.entry import Entry, kind_of, parse_line, path_of

ENTRIES = st.builds(
    Entry,
    path=st.binary(max_size=20).filter(lambda path: b"\0" not in path),
    kind=st.sampled_from(["file", "directory", "link", "block device"]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    mtime_ns=st.integers(-(2**62), 2**62),
    links=st.none() | st.integers(1, 9),
    target=st.none() | st.binary(max_size=9).filter(lambda path: b"\0" not in path),
    device=st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9)),
    xattrs=st.dictionaries(st.sampled_from(["user.a", "user.é"]), st.binary(max_size=9)),
)


@given(ENTRIES)
def test_a_line_says_all_of_an_entry(entry: Entry) -> None:
    line = entry.line()
    assert b"\n" not in line
    assert line.isascii()
    assert parse_line(line) == entry
    assert path_of(line) == entry.path


def test_the_form_is_the_one_that_is_documented() -> None:
    entry = Entry(b"a\xff", "file", 0o644, 1, 2, -3, links=1, size=0, sha256="e3")
    assert entry.line() == (
        rb'{"path":"a\udcff","kind":"file","mode":"0644","uid":1,"gid":2,"mtime_ns":-3,'
        rb'"links":1,"size":0,"sha256":"e3"}'
    )


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"[]", b"{}", b"null", b'{"path":"a"}'),
        # The same in another form: two texts with one meaning would have two root hashes.
        json.dumps(json.loads(Entry(b"a", "link", 0, 0, 0, 0, target=b"b").line())).encode(),
        Entry(b"a", "file", 0o644, 0, 0, 0).line().replace(b"file", b"pipe"),
        Entry(b"a", "file", 0o644, 0, 0, 0).line().replace(b"}", b',"more":1}'),
    ],
)
def test_another_line_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="evidence"):
        parse_line(line)


def test_every_kind_of_file_has_a_name() -> None:
    kinds = {kind_of(mode << 12) for mode in (1, 2, 4, 6, 8, 10, 12)}
    assert len(kinds) == 7
