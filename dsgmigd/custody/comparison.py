"""Compares the evidence of a snapshot with a tree, path by path. Differences are data.

Raises: OSError, as the kernel gave it, and whatever the checkpoint of the tree raises.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dsgmigd.custody.entry import Entry, parse_line
from dsgmigd.custody.table import Row
from dsgmigd.custody.tree import Tree

_NONE = "none"
_ATTRIBUTES = ("kind", "mode", "uid", "gid", "mtime_ns", "links", "size", "sha256", "device")


@dataclass(frozen=True)
class Finding:
    """What is not as it was stated: of which path, which attribute, what was expected and found."""

    path: str
    attribute: str
    expected: str
    found: str


class Pair(NamedTuple):
    """What the evidence has of a path and what the tree has; None stands for nothing."""

    path: bytes
    row: Row | None
    status: os.stat_result | None


def pairs(rows: Iterable[Row], found: Iterable[tuple[bytes, os.stat_result]]) -> Iterator[Pair]:
    """Yield every path of both, which come sorted."""
    left, right = iter(rows), iter(found)
    row, other = next(left, None), next(right, None)
    while row is not None or other is not None:
        if other is None or (row is not None and row.path < other[0]):
            assert row is not None  # noqa: S101 # for mypy, which does not see it
            yield Pair(row.path, row, None)
            row = next(left, None)
        elif row is None or other[0] < row.path:
            yield Pair(other[0], None, other[1])
            other = next(right, None)
        else:
            yield Pair(row.path, row, other[1])
            row, other = next(left, None), next(right, None)


def compare_pair(tree: Tree, pair: Pair) -> list[Finding]:
    """Return how a path in the tree differs from its entry; its content is read, unless known."""
    if pair.status is None:
        return [Finding(shown(pair.path), "path", "there", "missing")]
    if pair.row is None:
        return [Finding(shown(pair.path), "path", "not there", "extra")]
    line = tree.row(pair.path, pair.status).line
    if line == pair.row.line:
        return []
    return compare_entries(parse_line(pair.row.line), parse_line(line))


def compare_entries(expected: Entry, found: Entry) -> list[Finding]:
    """Return every attribute in which two entries of one path differ."""
    values = [(name, getattr(expected, name), getattr(found, name)) for name in _ATTRIBUTES]
    values = [(name, _text(name, one), _text(name, other)) for name, one, other in values]
    values.append(("target", _link(expected.target), _link(found.target)))
    for name in sorted({*expected.xattrs, *found.xattrs}):
        values.append(
            (f"xattr {name}", _value(expected.xattrs.get(name)), _value(found.xattrs.get(name)))
        )
    path = shown(expected.path)
    return [Finding(path, name, one, other) for name, one, other in values if one != other]


def shown(path: bytes) -> str:
    r"""Return a path as a finding has it: as text, with `\udc80` to `\udcff` for other bytes."""
    return os.fsdecode(path) or "."


def _text(name: str, value: object) -> str:
    if value is None:
        return _NONE
    return f"{value:04o}" if name == "mode" else str(value)


def _link(target: bytes | None) -> str:
    return _NONE if target is None else os.fsdecode(target)


def _value(value: bytes | None) -> str:
    if value is None:
        return _NONE
    return f"{len(value)} bytes with SHA-256 {hashlib.sha256(value).hexdigest()}"
