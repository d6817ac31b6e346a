"""What is left out is named."""

from dataclasses import replace
from pathlib import Path

import pytest

from dsgmigd.source import repository as repositories
from dsgmigd.source.left_out import describe_left_out
from dsgmigd.source.subvolume import Subvolume
from tests.unit.source.repositories import find, make_snapshots


def warnings(root: Path, limit: int | None = None) -> list[str]:
    return [one.replace(f"{root}/", "") for one in describe_left_out(find(root), limit)]


@pytest.mark.parametrize(
    "name", ["S3", "s3 ", " s3", "s3.incomplete", "s-4", "s3\n", "s3~", "snapshot-3", "s1.bak"]
)
def test_what_is_nearly_called_like_a_snapshot_is_named(tmp_path: Path, name: str) -> None:
    make_snapshots(tmp_path / "SV", "s1", name)
    (warning,) = warnings(tmp_path)
    assert warning.endswith(f"and so not migrated: {name!a} in SV")


def test_other_names_and_tags_are_no_lookalikes(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1", "shared", "HEAD", "s", "sales2020")
    (tmp_path / "SV/s1-final").symlink_to("s1")
    assert warnings(tmp_path) == []


def test_a_copy_that_is_behind_its_original_is_named_with_the_snapshots(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1", "s2", "s3", "s4")
    make_snapshots(tmp_path / "SV-norm", "s1", "s2")
    assert warnings(tmp_path) == ["SV-norm does not have s3, s4 of SV: not migrated"]
    assert warnings(tmp_path, limit=2) == []
    assert warnings(tmp_path, limit=3) == ["SV-norm does not have s3 of SV: not migrated"]


def test_a_copy_that_is_ahead_of_its_original_is_named_with_the_snapshots(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s2")
    make_snapshots(tmp_path / "SV-norm", "s1", "s2", "s3")
    assert warnings(tmp_path) == ["SV does not have s1, s3 of SV-norm"]


def test_without_an_original_or_with_an_equal_one_nothing_is_said(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV-norm", "s1")
    assert warnings(tmp_path) == []
    make_snapshots(tmp_path / "SV", "s1")
    assert warnings(tmp_path) == []


def test_an_original_that_cannot_be_compared_is_said(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV-norm", "s1")
    make_snapshots(tmp_path / "SV", "s1", "s02")
    (said,) = warnings(tmp_path)
    assert said.startswith("not compared with the original: SV/s02 looks like a snapshot")


@pytest.mark.parametrize(
    ("parent", "created_at", "is_named"),
    [(None, 1.0, True), ("another", 1.0, True), ("original", 1.0, False), (None, 3.0, False)],
)
def test_a_copy_that_is_older_than_its_original_is_one_of_another_series(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parent: str | None,
    created_at: float,
    *,
    is_named: bool,
) -> None:
    original = Subvolume("original", None, 5, 5, is_read_only=True, created_at=2.0)
    copy = replace(original, uuid="copy", parent_uuid=parent, created_at=created_at)
    make_snapshots(tmp_path / "SV", "s1")
    make_snapshots(tmp_path / "SV-norm", "s1")
    monkeypatch.setattr(
        repositories, "read_subvolume", lambda path: copy if "-norm/" in path else original
    )
    assert ["s1 in SV-norm was not made from" in one for one in warnings(tmp_path)] == (
        [True] if is_named else []
    )
