"""Descriptors below one directory: no link leads out, nothing stays open, nothing goes stale."""

import os
import stat
from pathlib import Path

import pytest

from dsgmigd.host.directories import Directories


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def listing(descriptor: int) -> list[str]:
    return sorted(os.listdir(f"/proc/self/fd/{descriptor}"))


def test_a_path_is_reached_from_the_root_down(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    with Directories(str(tmp_path)) as tree:
        assert listing(tree.open(b"a/b")) == ["c"]
        parent, name = tree.parent_of(b"a/b/new file")
        assert (listing(parent), name) == (["c"], b"new file")


def test_the_root_is_the_empty_path_and_contains_itself_as_a_dot(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with Directories(os.fsencode(tmp_path)) as tree:
        assert tree.open(b"") == tree.root
        parent, name = tree.parent_of(b"")
        assert os.path.samestat(os.stat(name, dir_fd=parent), tmp_path.stat())


def test_a_directory_is_listed_and_changed_by_another_descriptor(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    os.utime(tmp_path / "a", (7, 7))
    before = open_descriptors()
    with Directories(str(tmp_path)) as tree:
        assert (tree.names(b""), tree.names(b"a")) == (["a"], ["b"])
        with tree.readable(b"a") as descriptor:
            os.fchmod(descriptor, 0o700)
        assert len(open_descriptors() - before) == 2
    status = (tmp_path / "a").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_atime) == (0o700, 7)


def test_neighbours_share_an_open_directory(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with Directories(str(tmp_path)) as tree:
        assert tree.parent_of(b"a/x")[0] == tree.parent_of(b"a/y")[0]


@pytest.mark.parametrize("path", [b"link", b"link/below", b"a/link/below"])
def test_a_symbolic_link_on_the_way_is_refused(tmp_path: Path, path: bytes) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "below").mkdir(parents=True)
    (root / "a").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    (root / "a" / "link").symlink_to(outside)
    with Directories(str(root)) as tree:
        for ask in (tree.open, tree.names):
            with pytest.raises(NotADirectoryError):
                ask(path)


def test_a_directory_is_opened_once_to_be_listed_and_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").touch()
    opened, real = list[bytes](), os.open

    def note(path: bytes, *more: int, **options: int) -> int:
        opened.append(path)
        return real(path, *more, **options)

    with Directories(str(tmp_path)) as tree:
        monkeypatch.setattr(os, "open", note)
        assert tree.names(b"a/b") == ["c"]
        assert os.lstat("c", dir_fd=tree.open(b"a/b")).st_size == 0
        assert opened == [b"a", b"b"]
        assert tree.names(b"a/b") == tree.names(b"a/b") == ["c"], "and again, from its beginning"


def test_a_root_that_is_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError):
        Directories(str(tmp_path / "link"))


def test_a_path_longer_than_one_call_takes_is_reached(tmp_path: Path) -> None:
    name = b"n" * 200
    with Directories(str(tmp_path)) as tree:
        path = b""
        for _ in range(60):
            parent, last = tree.parent_of(path + b"/" + name if path else name)
            os.mkdir(last, dir_fd=parent)
            path = path + b"/" + name if path else name
        assert len(path) > 2 * os.pathconf("/", "PC_PATH_MAX")
        assert listing(tree.open(path)) == []


def test_a_forgotten_directory_is_opened_again_with_all_below_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "old").mkdir(parents=True)
    (tmp_path / "ab").mkdir()
    with Directories(str(tmp_path)) as tree:
        tree.open(b"a/old")
        neighbour = tree.open(b"ab")
        (tmp_path / "a").rename(tmp_path / "moved")
        (tmp_path / "a" / "new").mkdir(parents=True)
        tree.forget(b"a")
        assert listing(tree.open(b"a")) == ["new"]
        with pytest.raises(FileNotFoundError):
            tree.open(b"a/old")
        assert tree.open(b"ab") == neighbour


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = open_descriptors()
    with Directories(str(tmp_path)) as tree:
        for number in range(300):
            (tmp_path / f"d{number}").mkdir()
            tree.open(b"d%d" % number)
        assert len(open_descriptors() - before) <= 256 + 2
    assert open_descriptors() == before


def test_a_descriptor_outlives_the_opening_of_one_other_path_however_deep(tmp_path: Path) -> None:
    deep = b"/".join([b"d"] * 700)
    os.makedirs(os.fsencode(tmp_path) + b"/" + deep)
    with Directories(str(tmp_path)) as tree:
        for number in range(255):
            (tmp_path / f"d{number}").mkdir()
            tree.open(b"d%d" % number)
        first = tree.open(b"d0")
        tree.open(deep)
        assert os.path.samestat(os.fstat(first), (tmp_path / "d0").stat())
    os.removedirs(os.fsencode(tmp_path) + b"/" + deep)  # too deep for pytest's own clearing up


def test_the_most_recently_used_directory_stays_open_longest(tmp_path: Path) -> None:
    with Directories(str(tmp_path)) as tree:
        for number in range(256):
            (tmp_path / f"d{number}").mkdir()
            tree.open(b"d%d" % number)
        kept = tree.open(b"d0")
        for number in range(256, 300):
            (tmp_path / f"d{number}").mkdir()
            tree.open(b"d%d" % number)
        assert tree.open(b"d0") == kept


def test_a_walk_yields_everything_below_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "f").write_text("text", encoding="utf-8")
    (tmp_path / "d" / "link").symlink_to("e")
    (tmp_path / "beside").mkdir()
    with Directories(str(tmp_path)) as tree:
        found = {path: stat.S_IFMT(status.st_mode) for path, status in tree.walk(b"d")}
        paths = [path for path, _ in tree.walk(b"")]
    assert found == {
        b"d": stat.S_IFDIR,
        b"d/e": stat.S_IFDIR,
        b"d/f": stat.S_IFREG,
        b"d/link": stat.S_IFLNK,
    }
    assert paths[0] == b""
    assert sorted(paths) == [b"", b"beside", b"d", b"d/e", b"d/f", b"d/link"]


def test_a_walk_leaves_out_what_is_removed_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with Directories(str(tmp_path)) as tree:
        walk = tree.walk(b"")
        assert next(walk)[0] == b""
        (tmp_path / "a").rmdir()
        assert [path for path, _ in walk] == [b"b"]
        assert list(tree.walk(b"gone/deeper")) == []
