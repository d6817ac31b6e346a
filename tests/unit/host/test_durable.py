"""Files that are complete on disk or absent, files that are safe to open, and exact copies."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsgmigd.host import durable
from dsgmigd.host.durable import (
    append_durably,
    copy_durably,
    reserve,
    reserve_beyond_end,
    write_durably,
    write_reserved,
)
from dsgmigd.host.syscalls import reserve_space
from tests.unit.failing import failing


@pytest.fixture
def directories(tmp_path: Path) -> Iterator[tuple[int, int]]:
    opened = []
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
        opened.append(os.open(tmp_path / name, os.O_RDONLY))
    yield opened[0], opened[1]
    for descriptor in opened:
        os.close(descriptor)


def described(path: Path) -> dict[str, tuple[object, ...]]:
    """Return all that a copy has to keep of a tree, by path."""
    found = {}
    for one in [path, *path.rglob("*")]:
        status = one.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content = one.read_bytes() if kind == stat.S_IFREG else b""
        content = os.fsencode(os.readlink(one)) if kind == stat.S_IFLNK else content
        times = () if kind in {stat.S_IFLNK, stat.S_IFIFO} else (status.st_mtime_ns,)
        found[str(one.relative_to(path))] = (
            *(status.st_mode, status.st_uid, status.st_gid, content),
            *times,
        )
    return found


def test_a_tree_is_copied_with_owner_mode_and_times(
    tmp_path: Path, directories: tuple[int, int]
) -> None:
    tree = tmp_path / "from" / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "file\n").write_bytes(b"content" * 100_000)
    (tree / "deep" / "file\n").chmod(0o4640)
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "pipe")
    if os.geteuid() == 0:
        os.chown(tree / "deep", 1234, 5678)
        os.chown(tree / "dangling", 1234, 5678, follow_symlinks=False)
    for one in (tree / "deep" / "file\n", tree / "deep", tree):
        os.utime(one, ns=(1, 1_399_483_646_123_456_789))
    (tree / "deep").chmod(0o711)
    copy_durably(directories[0], b"tree", directories[1], b"copy")
    assert described(tmp_path / "to" / "copy") == described(tree)


def test_what_is_there_is_not_written_over(tmp_path: Path, directories: tuple[int, int]) -> None:
    (tmp_path / "from" / "file").write_text("new")
    (tmp_path / "to" / "file").write_text("old")
    with pytest.raises(FileExistsError):
        copy_durably(directories[0], b"file", directories[1], b"file")
    assert (tmp_path / "to" / "file").read_text() == "old"


# Writing.


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The contents of files at the moments at which they were synced."""
    contents: list[bytes] = []
    real = os.fsync

    def noted(descriptor: int) -> None:
        contents.append(Path(f"/proc/self/fd/{descriptor}").read_bytes())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return contents


def test_a_file_is_synced_with_its_whole_content_and_its_mode(
    tmp_path: Path, synced: list[bytes]
) -> None:
    before = os.umask(0o077)
    try:
        write_durably(str(tmp_path / "file"), b"content", 0o644)
    finally:
        os.umask(before)
    assert synced == [b"content"]
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_an_existing_file_is_removed_and_not_written_through_another_name(tmp_path: Path) -> None:
    (tmp_path / "result").write_bytes(b"old")
    (tmp_path / "file").hardlink_to(tmp_path / "result")
    write_durably(str(tmp_path / "file"), b"new", 0o600)
    assert [(tmp_path / name).read_bytes() for name in ("file", "result")] == [b"new", b"old"]


def test_a_reserved_file_is_written_in_place_cut_to_size_and_synced(
    tmp_path: Path, synced: list[bytes]
) -> None:
    path = tmp_path / "file"
    reserve(str(path), 4096, 0o600)
    inode = path.stat().st_ino
    assert path.stat().st_size == 4096
    write_reserved(str(path), b"content", 0o600)
    assert (path.stat().st_ino, path.read_bytes()) == (inode, b"content")
    assert len(synced) == 1


def test_a_reserved_file_with_a_second_name_is_replaced_and_not_written(tmp_path: Path) -> None:
    reserve(str(tmp_path / "file"), 16, 0o600)
    (tmp_path / "result").hardlink_to(tmp_path / "file")
    write_reserved(str(tmp_path / "file"), b"content", 0o600)
    assert (tmp_path / "file").read_bytes() == b"content"
    assert (tmp_path / "result").read_bytes() == bytes(16)


def test_without_a_reservation_a_file_is_written_all_the_same(tmp_path: Path) -> None:
    write_reserved(str(tmp_path / "file"), b"content", 0o640)
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.fixture
def appended(tmp_path: Path) -> Iterator[int]:
    """A file with some content, open to be appended to."""
    (tmp_path / "log").write_bytes(b"before\n")
    descriptor = os.open(tmp_path / "log", os.O_RDWR | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


def test_what_is_appended_is_synced(
    tmp_path: Path, appended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    append_durably(appended, b"after\n")
    assert (tmp_path / "log").read_bytes() == b"before\nafter\n"
    assert synced == [appended]


def test_an_append_in_pieces_is_whole(
    tmp_path: Path, appended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda where, content: real(where, content[:2]))
    append_durably(appended, b"after\n")
    assert (tmp_path / "log").read_bytes() == b"before\nafter\n"


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_of_an_append_that_fails_nothing_stays(
    tmp_path: Path, appended: int, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, call, failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        append_durably(appended, b"after\n")
    assert (tmp_path / "log").read_bytes() == b"before\n"


def test_room_beyond_the_end_is_reserved_when_half_of_it_is_used(
    appended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = reserve_space

    def noting(descriptor: int, offset: int, length: int) -> None:
        calls.append(offset)
        real(descriptor, offset, length)

    monkeypatch.setattr(durable, "reserve_space", noting)
    for _ in range(10):
        reserve_beyond_end(appended, 64 * 1024)
        append_durably(appended, bytes(10_000))
        status = os.fstat(appended)
        assert status.st_blocks * 512 >= status.st_size
    assert len(calls) in range(2, 6)
    assert calls[0] == 7


def test_a_file_system_that_reserves_nothing_is_no_error(
    appended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "reserve_space", failing(errno.EOPNOTSUPP))
    reserve_beyond_end(appended, 64 * 1024)
    monkeypatch.setattr(durable, "reserve_space", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space"):
        reserve_beyond_end(appended, 64 * 1024)
