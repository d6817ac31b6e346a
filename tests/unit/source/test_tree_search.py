"""Items of a btrfs tree, packed as the kernel returns them; tests/integration has a real btrfs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dsgmigd.source.tree_search import Inode, Nested, Search, Xattr
from tests.unit.tree_items import (
    DIR_INDEX,
    ROOT_ITEM,
    XATTR_ITEM,
    Item,
    answer_searches,
    directory_item,
    extended_name,
    inode,
    name,
)


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Search]:
    """Return a function that gives a search of a tree with these items."""

    def over(*items: Item) -> Search:
        answer_searches(monkeypatch, *items)
        return Search(str(tmp_path))

    return over


TREE = (
    inode(256, 5, 0o40755),
    inode(257, 9, 0o40755),
    name(257, 256, b"dir"),
    inode(258, 9, 0o100644, mtime=(-2, 999_999_999)),
    name(258, 257, b"file"),
    extended_name(258, 256, b"again"),
    directory_item(XATTR_ITEM, 258, 0, b"user.a", b"user.b", value=b"value"),
    directory_item(DIR_INDEX, 257, ROOT_ITEM, b"nested"),
    directory_item(DIR_INDEX, 257, 1, b"file"),
    inode(259, 5, 0o100644),
    directory_item(XATTR_ITEM, 259, 0, b"user.old"),
)


def test_everything_is_found_since_transaction_0(search: Callable[..., Search]) -> None:
    with search(*TREE) as found:
        items = list(found.changes(0))
    assert [item.number for item in items if isinstance(item, Inode)] == [256, 257, 258, 259]
    assert Xattr(259, "user.old") in items


def test_what_no_extent_stores_of_a_file_is_a_hole(search: Callable[..., Search]) -> None:
    with search(inode(257, 9, 0o100644, size=2**62, stored=4096)) as found:
        (item,) = found.changes(0)
    assert isinstance(item, Inode)
    assert item.hole_bytes == 2**62 - 4096


def test_only_what_changed_since_a_transaction_is_found(search: Callable[..., Search]) -> None:
    with search(*TREE) as found:
        assert list(found.changes(6)) == [
            Inode(257, 0o40755, 10, 20, 7_000_000_008),
            Nested(257, b"nested"),
            Inode(258, 0o100644, 10, 20, -1_000_000_001),
            Xattr(258, "user.a"),
            Xattr(258, "user.b"),
        ]


def test_every_path_of_an_inode_is_found(search: Callable[..., Search]) -> None:
    with search(*TREE) as found:
        assert sorted(found.paths_of(258)) == [b"again", b"dir/file"]
        assert found.paths_of(256) == [b""]
        assert found.path_in(257, b"nested") == b"dir/nested"


def test_the_descriptor_is_closed(search: Callable[..., Search]) -> None:
    before = os.listdir("/proc/self/fd")
    with search(*TREE) as found:
        list(found.changes(0))
    assert os.listdir("/proc/self/fd") == before
