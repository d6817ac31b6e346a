"""Manifest entries: their bytes against orjson, and which names and links get one."""

import random
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.dsg.entry import (
    Described,
    describe,
    file_entry,
    is_listed,
    is_listed_link,
    is_listed_name,
    link_entry,
    local_time,
    path_in_json,
    to_json,
    user_of,
)

ODD_CHARACTERS = '"\\/\b\f\n\r\t\0\x01\x1f\x7f\x80\u2028\u2029\ufeff\uffff\U0001f600é e\u0301,:{}'
TEXTS = st.text(max_size=20) | st.text(st.sampled_from(ODD_CHARACTERS), max_size=20)
DIGEST = "2d06800538d394c2"


@given(TEXTS, TEXTS, st.integers(0, 2**63), st.integers(-(2**33), 2**36))
def test_a_files_entry_is_what_orjson_writes(path: str, user: str, size: int, mtime: int) -> None:
    entry = file_entry(path.encode(), user=user, size=size, mtime=mtime, digest=DIGEST)
    assert entry == orjson.dumps(
        {
            "type": "file",
            "path": path,
            "user": user,
            "filesize": size,
            "mtime": local_time(mtime),
            "hash": DIGEST,
        }
    )
    assert describe(entry) == Described(user, digest=DIGEST)


@given(TEXTS, TEXTS, TEXTS)
def test_a_links_entry_is_what_orjson_writes(path: str, user: str, reference: str) -> None:
    entry = link_entry(path.encode(), user=user, reference=reference)
    document = {"type": "link", "path": path, "user": user, "reference": reference}
    assert entry == orjson.dumps(document)
    assert describe(entry) == Described(user, reference=reference)


@pytest.mark.parametrize("character", [*map(chr, range(0x100)), *ODD_CHARACTERS])
def test_every_odd_character_is_written_as_orjson_does(character: str) -> None:
    assert to_json(f"a{character}b") == orjson.dumps(f"a{character}b")


def test_a_hundred_thousand_entries_of_odd_characters_are_what_orjson_writes() -> None:
    dice = random.Random(7)  # noqa: S311 - repeatable, not secret
    alphabet = [*map(chr, range(0x20)), *ODD_CHARACTERS, "a", "/", "\u0301", "\u200d", "\U0010ffff"]
    for number in range(50_000):
        path, user, reference = ("".join(dice.choices(alphabet, k=5)) for _ in range(3))
        size = dice.getrandbits(number % 64)
        assert file_entry(
            path.encode(), user=user, size=size, mtime=0, digest=DIGEST
        ) == orjson.dumps(
            {
                "type": "file",
                "path": path,
                "user": user,
                "filesize": size,
                "mtime": "1969-12-31T16:00:00-08:00",
                "hash": DIGEST,
            }
        )
        assert link_entry(path.encode(), user=user, reference=reference) == orjson.dumps(
            {"type": "link", "path": path, "user": user, "reference": reference}
        )


ODD_USERS = st.text(st.sampled_from('",\\u:'), max_size=6)


@given(
    TEXTS | st.sampled_from(['","user":"', 'x","user":', '"path":"', "\\", '\\"']),
    TEXTS | ODD_USERS,
)
def test_path_and_user_are_found_in_an_entry_whatever_characters_it_has(
    path: str, user: str
) -> None:
    for entry in (
        file_entry(path.encode(), user=user, size=1, mtime=0, digest=DIGEST),
        link_entry(path.encode(), user=user, reference=path),
    ):
        assert path_in_json(entry) == orjson.dumps(path)
        assert user_of(entry) == user


@pytest.mark.parametrize(
    ("mtime", "written"),
    [
        (0.0, "1969-12-31T16:00:00-08:00"),
        (1399483646.0, "2014-05-07T10:27:26-07:00"),
        (1399483646.5, "2014-05-07T10:27:26-07:00"),
        (1399483646.999999, "2014-05-07T10:27:26-07:00"),
        (1399483646.9999999, "2014-05-07T10:27:27-07:00"),
        (1399483646.9999995, "2014-05-07T10:27:27-07:00"),
        (-0.0000001, "1969-12-31T16:00:00-08:00"),
        (1415523599.0, "2014-11-09T00:59:59-08:00"),
        (1414915200.0, "2014-11-02T01:00:00-07:00"),
        (1414918800.0, "2014-11-02T01:00:00-08:00"),
    ],
)
def test_times_are_those_of_los_angeles_to_the_second_as_a_float_rounds(
    mtime: float, written: str
) -> None:
    assert local_time(mtime) == written


@given(st.integers(-(2**33), 2**36), st.integers(0, 999_999_999))
def test_a_time_names_the_second_that_it_lies_in_or_rounds_to(seconds: int, part: int) -> None:
    mtime = seconds + part / 1e9
    moment = datetime.fromisoformat(local_time(mtime))
    exact = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    assert moment - exact in {timedelta(0), timedelta(seconds=1)}
    if moment != exact:
        assert part >= 999_990_000


@pytest.mark.parametrize(
    "name", [b"a", b"a.txt", b"__pycache__x", b"a.tmp.txt", b"rdata", b"tmp", b"pyc", b"\xc3\xa9~"]
)
def test_a_plain_name_is_listed(name: bytes) -> None:
    assert is_listed_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *(b".hidden", b".", b"..", b".dsg", b"a.pyc", b"a.tmp", b".tmp", b"__pycache__"),
        *(b".Rdata", b".rdata", b".RData", b".Rproj.user", b".DS_Store"),
        *(b"latin-\xe9", b"\xed\xa0\x80", b"\xff"),
        *(b"b.csv~20250101T120000-0800~", b"~20250101T120000-0800~"),
        *("ü~20250101T12000\u0660-0800~".encode(), b"b~20250101T120000-0800~\n"),
    ],
)
def test_a_hidden_ignored_or_undecodable_name_is_not_listed(name: bytes) -> None:
    assert not is_listed_name(name)


@pytest.mark.parametrize(
    ("path", "reference"),
    [
        (b"l", b"a"),
        (b"l", b"../a"),
        (b"d/l", b"../../a"),
        (b"d/l", b"x/../../a"),
        (b"l", b"...//a"),
        (b"l", b"\xc3\xa9"),
    ],
)
def test_a_link_that_need_not_leave_the_tree_is_listed(path: bytes, reference: bytes) -> None:
    assert is_listed_link(path, reference)


@pytest.mark.parametrize(
    ("path", "reference"),
    [
        (b"l", b"/etc/passwd"),
        (b"d/l", b"/"),
        (b"l", b"../../a"),
        (b"d/l", b"../../../a"),
        (b"l", b"a/../b/.."),
        (b"l", b"latin-\xe9"),
    ],
)
def test_an_absolute_climbing_or_undecodable_link_is_not_listed(
    path: bytes, reference: bytes
) -> None:
    assert not is_listed_link(path, reference)


@pytest.mark.parametrize(
    ("path", "reference", "expected"),
    [
        (b"a/b", None, True),
        (b".a/b", None, False),
        (b"a/b.tmp", None, False),
        (b"a/b", b"../c", True),
        (b"a/b", b"/c", False),
        (b"a/.b", b"c", False),
    ],
)
def test_a_path_is_listed_if_all_its_names_are_and_its_link_may_be(
    path: bytes, reference: bytes | None, *, expected: bool
) -> None:
    assert is_listed(path, reference) is expected
