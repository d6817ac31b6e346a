"""What two lstat results must agree in, attribute by attribute."""

import os
import stat

import pytest

from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.compare import Discrepancy, compare_status, printable, render_time

FULL = Capabilities()
SECONDS_ONLY = Capabilities(subsecond_mtime=False)


def status(
    *,
    mode: int = stat.S_IFREG | 0o644,
    uid: int = 1,
    gid: int = 2,
    size: int = 3,
    mtime_ns: int = 4_000_000_000,
    rdev: int = 0,
    inode: int = 7,
) -> os.stat_result:
    fields = (mode, inode, 1, 1, uid, gid, size, 0, mtime_ns // 10**9, 0)
    extra = {
        "st_atime": 0.0,
        "st_mtime": mtime_ns / 1e9,
        "st_ctime": 0.0,
        "st_atime_ns": 0,
        "st_mtime_ns": mtime_ns,
        "st_ctime_ns": 0,
        "st_blksize": 4096,
        "st_blocks": 8,
        "st_rdev": rdev,
    }
    return os.stat_result(fields, extra)


def compare(
    source: os.stat_result, target: os.stat_result, capabilities: Capabilities = FULL
) -> dict[str, tuple[str, str]]:
    found = compare_status("a/b", source, target, capabilities)
    assert {one.path for one in found} <= {"a/b"}
    return {one.attribute: (one.source, one.target) for one in found}


def test_equal_files_have_no_discrepancy_whatever_their_inodes() -> None:
    assert compare(status(), status(inode=8)) == {}


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (status(mode=stat.S_IFREG | 0o4644), {"mode": ("100644", "104644")}),
        (status(mode=stat.S_IFREG | 0o640), {"mode": ("100644", "100640")}),
        (status(uid=0), {"uid": ("1", "0")}),
        (status(gid=0), {"gid": ("2", "0")}),
        (status(size=4), {"size": ("3", "4")}),
        (
            status(mtime_ns=4_000_000_001),
            {"mtime": ("1970-01-01T00:00:04.000000000Z", "1970-01-01T00:00:04.000000001Z")},
        ),
        (status(uid=9, gid=9), {"uid": ("1", "9"), "gid": ("2", "9")}),
    ],
)
def test_every_attribute_that_differs_is_named_with_both_values(
    target: os.stat_result, found: dict[str, tuple[str, str]]
) -> None:
    assert compare(status(), target) == found


def test_nothing_else_is_compared_if_the_type_differs() -> None:
    directory = status(mode=stat.S_IFDIR | 0o700, uid=9)
    assert compare(status(), directory) == {"type": ("regular file", "directory")}


@pytest.mark.parametrize("kind", [stat.S_IFDIR, stat.S_IFLNK])
def test_the_size_of_what_is_no_file_does_not_matter(kind: int) -> None:
    assert compare(status(mode=kind, size=1), status(mode=kind, size=2)) == {}


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
def test_devices_must_have_the_same_number(kind: int) -> None:
    found = compare(status(mode=kind, rdev=1), status(mode=kind, rdev=2))
    assert found == {"device": ("0:1", "0:2")}


def test_the_device_number_of_a_file_does_not_matter() -> None:
    assert compare(status(rdev=1), status(rdev=2)) == {}


@pytest.mark.parametrize(
    ("source", "target", "is_same"),
    [
        (4_999_999_999, 4_000_000_000, True),
        (4_999_999_999, 5_000_000_000, False),
        (-1, -1_000_000_000, True),
        (-1, 0, False),
    ],
)
def test_whole_seconds_are_compared_where_the_target_has_no_more(
    source: int, target: int, *, is_same: bool
) -> None:
    found = compare(status(mtime_ns=source), status(mtime_ns=target), SECONDS_ONLY)
    assert ("mtime" not in found) == is_same


def test_a_discrepancy_is_shown_in_words_and_in_json() -> None:
    one = Discrepancy("a/b", "mode", "100644", "100600")
    assert str(one) == "a/b: mode is 100600, expected 100644"
    assert one.to_json() == {
        "path": "a/b",
        "attribute": "mode",
        "source": "100644",
        "target": "100600",
    }


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (
            Discrepancy("h2", "hard links", "another file in the source", "the same file as h1"),
            "h2: the same file as h1 in the target, another file in the source",
        ),
        (
            Discrepancy("a", "presence", "not in the source", "extra"),
            "a: extra in the target, not in the source",
        ),
        (
            Discrepancy("a", "manifest", "it exists", "not listed"),
            "a: not listed in the manifest, but it exists",
        ),
        (Discrepancy(".dsg", "files", "['a']", "[]"), ".dsg: files are [], expected ['a']"),
    ],
)
def test_a_discrepancy_without_two_values_has_a_sentence_of_its_own(
    one: Discrepancy, sentence: str
) -> None:
    assert str(one) == sentence


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (1_795_909_779_837_286_484, "2026-11-28T23:49:39.837286484Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (-62_135_596_800 * 10**9, "0001-01-01T00:00:00.000000000Z"),
        (253_402_300_800 * 10**9, "253402300800000000000 ns since 1970"),
        (10**30, f"{10**30} ns since 1970"),
    ],
)
def test_a_time_is_shown_as_a_date_with_nanoseconds_in_any_century(time_ns: int, text: str) -> None:
    assert render_time(time_ns) == text


def test_the_expected_time_is_the_one_that_the_target_can_store() -> None:
    found = compare(status(mtime_ns=4_999_999_999), status(mtime_ns=0), SECONDS_ONLY)
    assert found == {"mtime": ("1970-01-01T00:00:04.000000000Z", "1970-01-01T00:00:00.000000000Z")}


@pytest.mark.parametrize(
    ("name", "text"),
    [(b"plain", "plain"), ("ünï".encode(), "ünï"), (b"latin-\xe9", "latin-\\xe9")],
)
def test_a_path_is_printable_whatever_bytes_it_has(name: bytes, text: str) -> None:
    assert printable(os.fsdecode(name)) == text
