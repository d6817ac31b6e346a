"""Names that take the place of another spelling of themselves, from one snapshot to the next."""

import errno
import os
from pathlib import Path

import pytest

from dsgmigd.errors import TargetRefused
from dsgmigd.migration.name_changes import find_name_changes
from dsgmigd.migration.preflight import survey_snapshot
from dsgmigd.names import SnapshotName
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.target.capabilities import Capabilities
from tests.unit.failing import failing
from tests.unit.tree_items import answer_searches, inode, name

DIRECTORY = 0o40755


def held(root: Path, number: int, *paths: str, is_sendable: bool = False) -> HeldSnapshot:
    """Make a snapshot with these files."""
    top = root / f"s{number}"
    top.mkdir()
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).touch()
    return HeldSnapshot(
        *(SnapshotName(number), str(top), "uuid", 7, 0.0), is_sendable=is_sendable, is_pinned=False
    )


def changes(
    root: Path, before: list[str], now: list[str], *, is_sendable: bool = False
) -> set[str]:
    parent = held(root, 1, *before, is_sendable=is_sendable)
    found = find_name_changes(held(root, 2, *now, is_sendable=is_sendable), parent, 0, str.casefold)
    return set(map(os.fsdecode, found))


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        (["readme"], ["README"], {"README"}),
        (["d/readme"], ["d/README"], {"d/README"}),
        (["d/file"], ["D/file"], {"D"}),
        (["readme"], ["readme", "other"], set()),
        (["readme"], ["d/README"], set()),
        (["readme", "README"], ["readme"], set()),
        (["d"], ["d/README"], set()),
        ([], ["README"], set()),
    ],
)
def test_a_new_spelling_of_a_name_in_one_directory_is_found(
    tmp_path: Path, before: list[str], now: list[str], found: set[str]
) -> None:
    assert changes(tmp_path, before, now) == found


def test_in_subvolumes_only_directories_that_changed_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_searches(
        *(monkeypatch, inode(256, 5, DIRECTORY), inode(257, 5, DIRECTORY), name(257, 256, b"d")),
    )
    before, now = ["d/readme", "other/readme"], ["d/README", "other/README"]
    assert changes(tmp_path, before, now, is_sendable=True) == {"d/README"}


def test_a_directory_before_that_cannot_be_read_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, child = held(tmp_path, 1, "readme"), held(tmp_path, 2, "README")
    monkeypatch.setattr(os, "listdir", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        list(find_name_changes(child, parent, 0, str.casefold))


def test_only_a_target_that_takes_both_names_for_one_refuses_them(tmp_path: Path) -> None:
    parent, child = held(tmp_path, 1, "readme", "head"), held(tmp_path, 2, "README", "HEAD")
    survey_snapshot(child, 0, Capabilities(utf8_names_only=True), (), parent=parent)
    survey_snapshot(child, 0, Capabilities(folds_case=True), ())
    with pytest.raises(TargetRefused, match=r"in another case .* \(1, first: 'README'\)"):
        survey_snapshot(child, 0, Capabilities(folds_case=True), (), parent=parent)
