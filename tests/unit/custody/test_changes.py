"""What changed in a tree since the snapshot before: against reading everything."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsgmigd.custody import tree as tree_module
from dsgmigd.custody.changes import Before, all_edits, known_names, some_edits
from dsgmigd.custody.table import Row, Table, whole
from dsgmigd.custody.tree import Tree
from dsgmigd.host import hashing

NAMES = st.sampled_from(["a", "a.b", "a0", "b"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
OPERATIONS = st.tuples(
    st.sampled_from(["write", "mkdir", "remove", "rename", "rename", "chmod", "link"]),
    PATHS,
    PATHS,
)


def rows_of(root: Path) -> list[Row]:
    with Tree(str(root)) as tree:
        return [tree.row(path, status) for path, status in tree.walk()]


def before_of(root: Path, created_ns: int) -> Before:
    return Before(Table().changed(whole(rows_of(root))), created_ns)


def far_ahead() -> int:
    """Return a moment at which all that is there now is old."""
    return time.time_ns() + 10**12


class Tampering:
    """Operations on a directory, and what a file system would report of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: set[bytes] = set()
        self.directories: set[bytes] = set()

    def _report(self, path: Path) -> None:
        for one in (path, path.parent):
            relative = os.fsencode(os.path.relpath(one, self.root))
            relative = b"" if relative == b"." else relative
            self.paths.add(relative)
            if one.is_dir() and not one.is_symlink():
                self.directories.add(relative)

    def apply(self, operation: str, one: str, other: str) -> None:
        path, new = self.root / one, self.root / other
        try:
            inode = path.lstat().st_ino if path.exists() else None
            self._apply(operation, path, new)
        except OSError:
            return
        self._report(path)
        if operation in {"rename", "link"}:
            self._report(new)
        # All names of a file change with it.
        for found in self.root.rglob("*"):
            if inode is not None and found.lstat().st_ino == inode:
                self._report(found)

    def _apply(self, operation: str, path: Path, new: Path) -> None:
        if operation == "write":
            path.write_bytes(os.urandom(4))
        elif operation == "mkdir":
            path.mkdir()
        elif operation == "remove":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif operation == "rename":
            path.rename(new)
        elif operation == "chmod":
            path.chmod(0o700 if path.stat().st_mode & 0o077 else 0o755)
        else:
            new.hardlink_to(path)


@settings(deadline=None, max_examples=150)
@given(st.lists(OPERATIONS, max_size=25), st.lists(OPERATIONS, max_size=8))
def test_edits_lead_to_what_a_whole_reading_finds(
    tmp_path_factory: pytest.TempPathFactory, first: list[Any], then: list[Any]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for operation in first:
        Tampering(root).apply(*operation)
    before = before_of(root, 0)  # nothing is certain but what is not looked at
    tampering = Tampering(root)
    for operation in then:
        tampering.apply(*operation)
    expected = rows_of(root)
    with Tree(str(root)) as tree:
        found = before.table.changed(all_edits(before, tree))
        assert list(found.rows()) == expected
        edits = some_edits(before, tree, tampering.paths, tampering.directories)
        assert list(before.table.changed(edits).rows()) == expected


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Give the names of all files that are read."""
    names: list[bytes] = []
    real = hashing.sha256_of_file

    def counting(directory: int, name: bytes, *arguments: Any, **options: Any) -> str:
        names.append(name)
        return real(directory, name, *arguments, **options)

    monkeypatch.setattr(tree_module, "sha256_of_file", counting)
    return names


def test_only_what_changed_is_read(tmp_path: Path, hashed: list[bytes]) -> None:
    (tmp_path / "d").mkdir()
    for name in ("a", "b", "d/c"):
        (tmp_path / name).write_text(name)
    before = before_of(tmp_path, far_ahead())
    (tmp_path / "b").write_text("other")
    (tmp_path / "d/new").write_text("new")
    hashed.clear()
    with Tree(str(tmp_path)) as tree:
        list(all_edits(before, tree))
        assert sorted(hashed) == [b"b", b"new"]
        hashed.clear()
        some_edits(before, tree, {b"b", b"d"}, {b"d"})
        assert sorted(hashed) == [b"b", b"new"]


def test_what_may_have_changed_within_a_tick_is_read(tmp_path: Path, hashed: list[bytes]) -> None:
    (tmp_path / "a").write_text("x")
    before = before_of(tmp_path, (tmp_path / "a").stat().st_ctime_ns)
    hashed.clear()
    with Tree(str(tmp_path)) as tree:
        assert list(all_edits(before, tree)) == []
    assert hashed == [b"a"]


def test_what_somebody_else_read_is_taken_from_there(tmp_path: Path, hashed: list[bytes]) -> None:
    (tmp_path / "a").write_text("x")
    before = before_of(tmp_path, far_ahead())
    hashed.clear()
    with Tree(str(tmp_path), known={b"a": "f" * 64}) as tree:
        (edit,) = all_edits(before, tree)
    assert b"f" * 64 in edit.rows[0].line
    assert hashed == []


def test_the_names_of_a_directory_come_from_the_table(tmp_path: Path) -> None:
    for name in ("a/b/c", "a/b/d", "a.b", "a0/x", "z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    table = before_of(tmp_path, 0).table
    assert list(known_names(table, b"")) == [b"a", b"a.b", b"a0", b"z"]
    assert list(known_names(table, b"a")) == [b"b"]
    assert list(known_names(table, b"a/b")) == [b"c", b"d"]
    assert list(known_names(table, b"nowhere")) == []
