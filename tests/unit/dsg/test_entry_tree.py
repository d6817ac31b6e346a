"""The tree of entries: what is inserted, found, removed, and in which order it is listed."""

import pytest

from dsgmigd.dsg.entry_tree import (
    EntryTree,
    Folder,
    Leaf,
    Written,
    leaves_below,
    path_of,
    unpack,
)


def tree_of(*paths: bytes) -> EntryTree:
    """Return a tree of files whose entry is their path."""
    tree = EntryTree()
    for path in paths:
        assert tree.put(path, Leaf(None, b"", path))
    return tree


def test_entries_come_sorted_by_the_bytes_of_the_whole_path() -> None:
    paths = [b"a/b", b"a.b", b"a-", b"b/a", b"b", b"a/a/z", "ü".encode()]
    tree = tree_of(*(path for path in paths if path != b"b"))
    assert list(tree.entries()) == sorted(path for path in paths if path != b"b")


def test_a_file_without_an_entry_is_in_the_tree_and_not_in_the_document() -> None:
    tree = tree_of(b"a")
    tree.put(b"pipe", Leaf(None, b""))
    assert [path for path, _ in tree.leaves()] == [b"a", b"pipe"]
    assert list(tree.entries()) == [b"a"]
    assert (tree.entry_at(b"a"), tree.entry_at(b"pipe"), tree.entry_at(b"x")) == (b"a", None, None)


def test_a_directory_has_no_entry() -> None:
    tree = tree_of(b"d/a")
    assert isinstance(tree.find(b"d"), Folder)
    assert tree.entry_at(b"d") is None


def test_a_node_knows_its_path_wherever_it_is_moved() -> None:
    tree = tree_of(b"d/e/a")
    directory = tree.take(b"d/e")
    assert directory is not None
    assert tree.put(b"x", directory)
    ((path, leaf),) = leaves_below(directory, b"x")
    assert (path, path_of(leaf), path_of(directory)) == (b"x/a", b"x/a", b"x")
    assert tree.find(b"d/e") is None


def test_what_is_taken_is_gone_and_what_is_below_goes_with_it() -> None:
    tree = tree_of(b"d/a", b"d/b", b"e")
    assert tree.take(b"d") is not None
    assert list(tree.entries()) == [b"e"]
    assert tree.take(b"d") is None
    assert tree.take(b"e/below") is None


@pytest.mark.parametrize("path", [b".hidden", b".d/a", b"d/x.pyc", b"d/\xff", b"file/below"])
def test_a_path_that_no_manifest_lists_is_not_taken_in(path: bytes) -> None:
    tree = tree_of(b"file")
    assert not tree.put(path, Leaf(None, b"", path))
    assert list(tree.entries()) == [b"file"]


@pytest.mark.parametrize("mtime_ns", [0, -1, -(2**80), 2**80])
def test_what_is_known_of_a_file_is_packed_and_unpacked(mtime_ns: int) -> None:
    written = Written("0123456789abcdef", 2**70, mtime_ns)
    assert unpack(written.pack()) == written
