"""Evidence and tree are compared path by path, attribute by attribute."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dsgmigd.custody.comparison import Finding, compare_entries, compare_pair, pairs, shown
from dsgmigd.custody.entry import Entry
from dsgmigd.custody.table import Table
from dsgmigd.custody.tree import Tree
from tests.unit.custody.trees_with_evidence import make_tree, table_of

ENTRY = Entry(
    b"a\xff", "file", 0o644, 1, 2, 3, links=1, size=4, sha256="5", xattrs={"user.x": b"6"}
)


def findings(root: Path, table: Table) -> list[Finding]:
    with Tree(str(root)) as tree:
        found = pairs(table.rows(), tree.walk())
        return [one for pair in found for one in compare_pair(tree, pair)]


def test_a_tree_is_as_its_own_evidence_says(tmp_path: Path) -> None:
    make_tree(tmp_path)
    assert findings(tmp_path, table_of(tmp_path)) == []


def test_what_is_missing_and_what_is_extra_is_found_wherever_it_sorts(tmp_path: Path) -> None:
    for name in ("b", "d", "f"):
        (tmp_path / name).touch()
    table, times = table_of(tmp_path), tmp_path.stat()
    for name in ("b", "d", "f"):
        (tmp_path / name).unlink()
    for name in ("a", "c", "g", "h"):
        (tmp_path / name).touch()
    os.utime(tmp_path, ns=(1, times.st_mtime_ns))
    found = [
        (one.path, one.attribute, one.expected, one.found) for one in findings(tmp_path, table)
    ]
    assert found == [
        *(("a", "path", "not there", "extra"), ("b", "path", "there", "missing")),
        *(("c", "path", "not there", "extra"), ("d", "path", "there", "missing")),
        *(("f", "path", "there", "missing"), ("g", "path", "not there", "extra")),
        ("h", "path", "not there", "extra"),
    ]


@pytest.mark.parametrize(
    ("change", "attribute", "expected", "found"),
    [
        ({"mode": 0o600}, "mode", "0644", "0600"),
        ({"uid": 9}, "uid", "1", "9"),
        ({"gid": 9}, "gid", "2", "9"),
        ({"mtime_ns": 9}, "mtime_ns", "3", "9"),
        ({"links": 9}, "links", "1", "9"),
        ({"size": 9}, "size", "4", "9"),
        ({"sha256": "9"}, "sha256", "5", "9"),
        ({"kind": "fifo"}, "kind", "file", "fifo"),
        ({"target": b"\xff"}, "target", "none", "\udcff"),
        ({"device": (1, 2)}, "device", "none", "(1, 2)"),
    ],
)
def test_every_attribute_that_differs_is_named(
    change: dict[str, object], attribute: str, expected: str, found: str
) -> None:
    other = replace(ENTRY, **change)  # type: ignore[arg-type]
    assert compare_entries(ENTRY, other) == [Finding("a\udcff", attribute, expected, found)]


def test_attributes_are_compared_by_name_and_value() -> None:
    found = compare_entries(ENTRY, replace(ENTRY, xattrs={"user.x": b"7", "user.y": b""}))
    assert [one.attribute for one in found] == ["xattr user.x", "xattr user.y"]
    assert found[0].expected.startswith("1 bytes with SHA-256 ")
    assert found[0].expected != found[0].found
    assert found[1].expected == "none"
    assert compare_entries(ENTRY, ENTRY) == []


def test_the_root_is_shown_as_a_dot() -> None:
    assert (shown(b""), shown(b"a/\xff")) == (".", "a/\udcff")
