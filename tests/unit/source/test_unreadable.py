"""The search for the file that a program could not read."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.errors import InterruptedByStop, SourceUnreadable
from dsgmigd.host.directories import Directories
from dsgmigd.names import SnapshotName
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.source.unreadable import raise_unreadable


@pytest.fixture
def held(tmp_path: Path) -> HeldSnapshot:
    """A plain directory with files, a FIFO and a link."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "whole").write_bytes(b"x" * 3_000_000)
    (tmp_path / "d" / "bad").write_bytes(b"x" * 2_000_000)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("absent")
    return HeldSnapshot(
        *(SnapshotName(1), str(tmp_path), "directory:s1", 1, 0.0),
        is_sendable=False,
        is_pinned=False,
    )


def fail_in(monkeypatch: pytest.MonkeyPatch, path: Path, position: int) -> None:
    """Let reads of the file `path` fail from `position` on, as a damaged disk does."""
    real, inode = os.pread, path.stat().st_ino

    def pread(descriptor: int, count: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == inode:
            if offset >= position:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            count = min(count, position - offset)
        return real(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", pread)


def test_the_damaged_file_is_named_with_the_position_of_the_damage(
    held: HeldSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in(monkeypatch, Path(held.path) / "d" / "bad", 1_234_567)
    with pytest.raises(SourceUnreadable, match="reading 'd/bad' at byte 1234567 failed"):
        raise_unreadable(held, 0, lambda: None)


def test_nothing_is_raised_if_every_file_can_be_read(held: HeldSnapshot) -> None:
    calls: list[None] = []
    raise_unreadable(held, 0, lambda: calls.append(None))
    assert len(calls) == 5  # one for each MiB or part of it


def test_the_search_can_be_stopped(held: HeldSnapshot) -> None:
    def stop() -> None:
        raise InterruptedByStop

    before = os.listdir("/proc/self/fd")
    with pytest.raises(InterruptedByStop):
        raise_unreadable(held, 0, stop)
    assert os.listdir("/proc/self/fd") == before


def test_a_directory_that_cannot_be_listed_is_named(
    held: HeldSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Directories.names

    def names(self: Directories, path: bytes) -> list[str]:
        if path == b"d":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, path)

    monkeypatch.setattr(Directories, "names", names)
    with pytest.raises(SourceUnreadable, match="reading 'd' failed"):
        raise_unreadable(held, 0, lambda: None)


def test_a_source_that_is_gone_leaves_the_error_of_the_program(
    held: HeldSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(Directories, "__init__", gone)
    raise_unreadable(held, 0, lambda: None)
