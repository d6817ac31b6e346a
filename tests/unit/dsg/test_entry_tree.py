"""The tree of records against a plain dictionary, and what it must not do with many of them."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import lz4.block
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsgmigd.dsg import entry_tree as tree_module
from dsgmigd.dsg import lines as lines_module
from dsgmigd.dsg.entry import file_entry
from dsgmigd.dsg.entry_tree import EntryTree
from dsgmigd.dsg.stale import STALE, Staleness, Written, is_stale, marked

NAMES = ["a", "b", "a.b", "a-", 'q"\\']
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join).map(str.encode)
OPERATIONS = st.tuples(
    st.sampled_from(
        [
            *("put", "put", "put", "put_stale", "put_written", "make_directory"),
            *("forget", "remove", "rename", "rename", "rename", "merge", "check"),
        ]
    ),
    PATHS,
    PATHS,
)


def entry_at(path: bytes, digest: int = 1) -> bytes:
    return file_entry(path, user="u", size=1, mtime=0.0, digest=f"{digest:016x}")


@dataclass
class Model:
    """All records by path; what is moved is stale at once."""

    tree: EntryTree = field(default_factory=EntryTree)
    records: dict[bytes, bytes] = field(default_factory=dict)

    def at_and_below(self, path: bytes) -> list[bytes]:
        return [one for one in self.records if (one + b"/").startswith(path + b"/")]

    def put(self, path: bytes, _: bytes, record: bytes | None = None) -> None:
        self.records[path] = record or entry_at(path)
        assert self.tree.put(path, self.records[path])

    def put_stale(self, path: bytes, _: bytes) -> None:
        self.put(path, b"", STALE)

    def put_written(self, path: bytes, _: bytes) -> None:
        self.put(path, b"", Written("f" * 16, 7, 8).record())

    def make_directory(self, path: bytes, _: bytes) -> None:
        if not self.at_and_below(path):
            self.tree.make_directory(path)
            assert self.tree.has_directory(path)

    def forget(self, path: bytes, _: bytes) -> None:
        self.records.pop(path, None)
        self.tree.forget(path)

    def remove(self, path: bytes, _: bytes) -> None:
        for one in self.at_and_below(path):
            del self.records[one]
        self.tree.remove(path)
        assert not self.tree.has_directory(path)

    def rename(self, old: bytes, new: bytes) -> None:
        if (new + b"/").startswith(old + b"/") or (old + b"/").startswith(new + b"/"):
            return
        self.remove(new, b"")
        found = self.at_and_below(old)
        was_directory = self.tree.has_directory(old)
        assert self.tree.rename(old, new) == bool(found or was_directory)
        for one in found:
            path, record = new + one[len(old) :], self.records.pop(one)
            is_kept = is_stale(record) and one != old
            self.records[path] = record if is_kept else marked(record, Staleness.ATTRIBUTES)
        if was_directory and self.tree.get(new) == STALE:
            self.records[new] = STALE  # its names are looked at again
        assert self.tree.has_directory(new) == was_directory
        assert not self.tree.has_directory(old)

    def merge(self, _: bytes, __: bytes) -> None:
        lines = self.tree.merge()
        assert list(lines.entries()) == [self.records[path] for path in sorted(self.records)]
        self._check_stale(lines.stale_paths(10_000))

    def check(self, path: bytes, _: bytes) -> None:
        """Look at everything without merging it, unless something was moved."""
        assert self.tree.has_directory(path) >= any(one != path for one in self.at_and_below(path))
        waiting = self.tree.stale_in_memory()
        self._check_stale(sorted({*waiting, *self.tree.stale_in_lines(10_000)}))

    def _check_stale(self, paths: list[bytes]) -> None:
        assert paths == sorted(path for path, one in self.records.items() if is_stale(one))


@settings(deadline=None, max_examples=300)
@given(st.lists(OPERATIONS, max_size=25), st.sampled_from([1, 2, 32]), st.sampled_from([0, 3, 100]))
def test_the_tree_has_what_a_dictionary_has_after_every_change(
    operations: list[tuple[str, bytes, bytes]], block_lines: int, in_memory: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "_BLOCK_LINES", block_lines)
        patch.setattr(tree_module, "_CHANGES_IN_MEMORY", in_memory)
        model = Model()
        for operation, path, other in operations:
            getattr(model, operation)(path, other)
            for one in {path, other, *model.records}:
                assert model.tree.get(one) == model.records.get(one)
            model.tree.merge_if_many()
        model.merge(b"", b"")


def tree_of(*paths: bytes) -> EntryTree:
    tree = EntryTree()
    for path in paths:
        assert tree.put(path, entry_at(path))
    tree.merge()
    return tree


def test_records_come_sorted_by_the_bytes_of_the_whole_path() -> None:
    paths = [b"a/b", b"a.b", b"a-", b"b/a", b"a/a/z", "ü".encode()]
    entries = [entry_at(path) for path in sorted(paths)]
    assert list(tree_of(*paths).merge().entries()) == entries


@pytest.mark.parametrize("path", [b".hidden", b".d/a", b"d/x.pyc", b"d/\xff"])
def test_a_path_that_no_manifest_lists_is_not_taken_in(path: bytes) -> None:
    tree = tree_of(b"file")
    assert not tree.put(path, STALE)
    tree.make_directory(path)
    tree.remove(path)
    assert (tree.get(path), tree.has_directory(path)) == (None, False)
    assert list(tree.merge().entries()) == [entry_at(b"file")]


def test_a_large_directory_is_renamed_and_removed_without_a_look_at_what_is_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []

    def decompress(block: bytes) -> bytes:
        opened.append(block)
        return bytes(lz4.block.decompress(block))

    tree = tree_of(b"a", *(b"d/%05d" % number for number in range(5000)), b"z")
    monkeypatch.setattr(
        lines_module,
        "lz4",
        SimpleNamespace(block=SimpleNamespace(compress=lz4.block.compress, decompress=decompress)),
    )
    before = b"d"
    for number in range(50):
        assert tree.rename(before, b"e%d" % number)
        before = b"e%d" % number
    tree.remove(before)
    lines = tree.merge()
    assert len(opened) < 20, "of 157 blocks"
    assert list(lines.entries()) == [entry_at(b"a"), entry_at(b"z")]


def test_a_directory_that_is_removed_and_made_again_has_only_what_is_new() -> None:
    tree = tree_of(b"d/e/a", b"d/e/b")
    tree.remove(b"d/e")
    assert not tree.has_directory(b"d/e")
    assert tree.put(b"d/e/c", entry_at(b"d/e/c"))
    assert tree.has_directory(b"d/e")
    assert (tree.get(b"d/e/a"), tree.get(b"d/e/c")) == (None, entry_at(b"d/e/c"))
    assert list(tree.merge().entries()) == [entry_at(b"d/e/c")]


def test_two_directories_that_swap_names_have_each_others_records() -> None:
    tree = tree_of(b"a/x", b"b/y")
    for old, new in ((b"a", b"t"), (b"b", b"a"), (b"t", b"b")):
        assert tree.rename(old, new)
    assert [tree.get(path) is not None for path in (b"a/y", b"b/x", b"a/x", b"b/y")] == [
        *(True, True, False, False)
    ]
    tree.merge()
    assert tree.get(b"a/y") == marked(entry_at(b"b/y"), Staleness.ATTRIBUTES)


def test_a_directory_that_comes_back_to_its_path_is_as_it_was() -> None:
    tree = tree_of(b"d/e/f", b"d/g")
    assert tree.rename(b"d", b"t")
    assert tree.rename(b"t", b"d")
    assert (tree.get(b"d/e/f"), tree.get(b"d/g")) == (entry_at(b"d/e/f"), entry_at(b"d/g"))
    assert tree.stale_in_memory() == [b"d"]


def test_directories_may_be_nested_deeply() -> None:
    path = b"/".join([b"d"] * 5000)
    tree = tree_of(path)
    assert tree.rename(b"d/d", b"e")
    moved = b"e" + path[3:]
    assert tree.put(moved + b"-", STALE)
    assert tree.stale_in_memory() == []
    assert tree.stale_in_lines(10) == [b"e", moved, moved + b"-"]
    tree.replace(moved, entry_at(moved))
    assert tree.stale_in_memory() == []
    assert tree.get(moved) == entry_at(moved)
