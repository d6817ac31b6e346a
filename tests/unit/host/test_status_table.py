"""A table of statuses says what `os.lstat` says."""

import errno
import os
import re
from pathlib import Path

import pytest

from dsgmigd.host.status_table import RECORD_BYTES, RECORD_WORDS, StatusTable

FIELDS = [
    *("st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size", "st_blksize"),
    *("st_blocks", "st_rdev", "st_atime", "st_mtime", "st_ctime"),
    *("st_atime_ns", "st_mtime_ns", "st_ctime_ns"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One file of each type, with odd times."""
    (tmp_path / "file").write_bytes(b"123")
    (tmp_path / "directory").mkdir(mode=0o1751)
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "second").hardlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for name, time_ns in (("file", -1), ("directory", 2**62 + 7), ("pipe", 999_999_999)):
        os.utime(tmp_path / name, ns=(12_345, time_ns))
    (tmp_path / os.fsdecode(b"latin-\xe9")).touch()
    return tmp_path


def read(path: Path, names: list[str], capacity: int = 20) -> StatusTable:
    """Read names of a directory, after others."""
    table = StatusTable(capacity)
    descriptor = os.open(path, os.O_PATH)
    try:
        table.read(descriptor, [b".", b"absent"])
        table.read(descriptor, [os.fsencode(name) for name in names])
    finally:
        os.close(descriptor)
    return table


@pytest.mark.parametrize("directory", [None, Path("/dev")])
def test_a_status_is_that_of_lstat_in_every_field(tree: Path, directory: Path | None) -> None:
    path = directory or tree
    names = [".", *sorted(name for name in os.listdir(path) if directory is None)]
    names += ["null", "zero"] if directory else []
    table = read(path, names)
    for index, name in enumerate(names):
        found, expected = table.status(index), os.lstat(path / name)
        assert found is not None
        for field in FIELDS:
            assert getattr(found, field) == getattr(expected, field), (name, field)
        assert tuple(found) == tuple(expected)
        assert table.inode(index) == expected.st_ino
        assert table.ctime_ns(index) == expected.st_ctime_ns


def test_a_name_that_does_not_exist_has_no_status_and_a_record_of_zeros(tree: Path) -> None:
    table = read(tree, ["file", "absent", "link"])
    assert [table.status(index) is None for index in range(3)] == [False, True, False]
    assert [any(record) for record in records(table, 3)] == [True, False, True]
    assert not table.is_on_device(os.lstat(tree).st_dev)


@pytest.mark.parametrize(("name", "number"), [("x" * 300, "ENAMETOOLONG"), ("file/x", "ENOTDIR")])
def test_every_other_failure_is_an_error(tree: Path, name: str, number: str) -> None:
    with pytest.raises(OSError, match=re.escape(os.strerror(getattr(errno, number)))):
        read(tree, ["file", name])


def test_more_names_than_it_has_room_for_are_refused(tree: Path) -> None:
    with pytest.raises(ValueError, match="3 names in a table of 2"):
        read(tree, ["file", "link", "pipe"], capacity=2)


def records(table: StatusTable, count: int) -> list[bytes]:
    """Return the records of the names that were read, taken out of every third place."""
    joined = bytearray(3 * count * RECORD_BYTES)
    table.copy_records(memoryview(joined).cast("Q"), RECORD_WORDS, 3 * RECORD_WORDS)
    step = 3 * RECORD_BYTES
    places = range(RECORD_BYTES, len(joined), step)
    found = [bytes(joined[start : start + RECORD_BYTES]) for start in places]
    assert joined.count(0) - sum(one.count(0) for one in found) == 2 * count * RECORD_BYTES
    return found


def record_of(path: Path) -> bytes:
    (record,) = records(read(path.parent, [path.name]), 1)
    return record


def test_two_names_of_one_file_have_the_same_record(tree: Path) -> None:
    first, second, other = records(read(tree, ["file", "second", "pipe"]), 3)
    assert first == second != other


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.chmod(0o600),
        lambda path: os.utime(path, ns=(0, 1)),
        lambda path: path.write_bytes(b"1234"),
        lambda path: path.with_name("third").hardlink_to(path),
        lambda path: os.chown(path, os.getuid(), os.getgid()),  # the ctime alone
    ],
)
def test_whatever_changes_a_file_changes_its_record(tree: Path, change: object) -> None:
    before = record_of(tree / "file")
    assert callable(change)
    change(tree / "file")
    assert record_of(tree / "file") != before


def test_reading_a_file_does_not_change_its_record(tree: Path) -> None:
    before = record_of(tree / "file")
    os.utime(tree / "file", ns=(777, -1))
    status = os.lstat(tree / "file")
    assert status.st_atime_ns == 777
    after = bytearray(record_of(tree / "file"))
    after[32:48] = before[32:48]  # the ctime, which utime(2) changes
    assert after == before


def test_the_latest_ctime_is_that_of_any_name(tree: Path) -> None:
    names = ["file", "directory", "link"]
    expected = max(os.lstat(tree / name).st_ctime_ns for name in names) // 10**9
    assert read(tree, names).latest_ctime() == expected


def test_names_on_another_file_system_are_noticed(tree: Path) -> None:
    assert read(tree, ["file", "link"]).is_on_device(os.lstat(tree).st_dev)
    there = read(Path("/"), ["proc", "."])
    assert not there.is_on_device(os.lstat("/").st_dev)
    assert not there.is_on_device(os.lstat("/proc").st_dev)
