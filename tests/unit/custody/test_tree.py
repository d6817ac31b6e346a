"""What is read of a tree."""

import hashlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsgmigd.custody.entry import parse_line
from dsgmigd.custody.tree import Tree

NAMES = st.sampled_from([b"a", b"a.b", b"a-", b"ab", b"a0", b"\xff", b".h", b"a\n"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "tree"
    directory.mkdir()
    return directory


def test_everything_about_a_path_is_read(root: Path) -> None:
    file = root / ".hidden"
    file.write_bytes(b"content")
    os.link(file, root / "other")
    file.chmod(0o4750)
    os.utime(file, ns=(1, 1_600_000_000_123_456_789))
    os.symlink("a\udcffb", root / "link")
    os.mkfifo(root / "fifo", 0o600)
    with Tree(str(root)) as tree:
        found = {path: parse_line(tree.row(path, status).line) for path, status in tree.walk()}
    entry = found[b".hidden"]
    assert entry.kind == "file"
    assert (entry.mode, entry.uid, entry.gid) == (0o4750, os.getuid(), os.getgid())
    assert (entry.mtime_ns, entry.links, entry.size) == (1_600_000_000_123_456_789, 2, 7)
    assert entry.sha256 == found[b"other"].sha256 == hashlib.sha256(b"content").hexdigest()
    assert (found[b"link"].kind, found[b"link"].target) == ("link", b"a\xffb")
    assert (found[b"fifo"].kind, found[b"fifo"].mode) == ("fifo", 0o600)
    assert (found[b""].kind, found[b""].sha256) == ("directory", None)


def test_extended_attributes_are_read(root: Path) -> None:
    file = root / "f"
    file.touch()
    os.setxattr(file, "user.comment", b"\0\xff")
    with Tree(str(root)) as tree:
        status = tree.status(b"f")
        assert status is not None
        assert parse_line(tree.row(b"f", status).line).xattrs == {"user.comment": b"\0\xff"}


def test_holes_are_zeros(root: Path) -> None:
    with (root / "f").open("wb") as file:
        file.truncate(3_000_000)
    with Tree(str(root)) as tree:
        status = tree.status(b"f")
        assert status is not None
        entry = parse_line(tree.row(b"f", status).line)
    assert entry.sha256 == hashlib.sha256(bytes(3_000_000)).hexdigest()


def test_what_was_read_just_now_is_not_read_again(root: Path) -> None:
    (root / "f").write_bytes(b"x")
    with Tree(str(root), known={b"f": "digest"}) as tree:
        status = tree.status(b"f")
        assert status is not None
        assert parse_line(tree.row(b"f", status).line).sha256 == "digest"
        assert tree.is_known(b"f")
        assert not tree.is_known(b"g")


def test_snapdir_is_not_in_the_snapshot(root: Path) -> None:
    (root / ".zfs/snapshot").mkdir(parents=True)
    (root / "d/.zfs").mkdir(parents=True)
    with Tree(str(root)) as tree:
        assert [path for path, _ in tree.walk()] == [b"", b"d", b"d/.zfs"]
        assert tree.names(b"") == [b"d"]
        assert tree.status(b"e") is None
        assert tree.status(b"d/.zfs/x/y") is None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=12))
def test_the_walk_is_sorted_and_has_everything(
    tmp_path_factory: pytest.TempPathFactory, paths: list[list[bytes]]
) -> None:
    root = os.fsencode(tmp_path_factory.mktemp("tree"))
    for parts in paths:
        path = root
        for part in parts:
            path += b"/" + part
            if not os.path.lexists(path):
                os.mkdir(path)
    expected = {os.path.relpath(top, root) for top, _, _ in os.walk(root)} - {b"."}
    with Tree(os.fsdecode(root)) as tree:
        found = list(tree.walk())
        assert [path for path, _ in found] == sorted(expected | {b""})
        assert all(stat.S_ISDIR(status.st_mode) for _, status in found)
        below = [path for path, _ in tree.walk(b"a")]
    assert below == sorted(path for path in expected if path == b"a" or path.startswith(b"a/"))
