"""Copies that are the same as what they were made from."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsgmigd.durable import copy_durably


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
