"""Repositories of plain directories; tests/integration has those of a real btrfs."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dsgmigd.errors import (
    NoSnapshots,
    SourceChanged,
    SourceConflict,
    SourceInvalid,
    SourceMissing,
)
from dsgmigd.names import SnapshotName
from dsgmigd.source.pins import Pins
from dsgmigd.source.repository import (
    HeldSnapshot,
    allocated_bytes,
    check_unchanged,
    excluded_names,
)
from tests.unit.source.repositories import SPOOL_ID, find, make_snapshots


def hold(root: Path, number: int = 1) -> HeldSnapshot:
    repository = find(root)
    return Pins(repository, "r1", SPOOL_ID).hold(repository.snapshot(SnapshotName(number)))


# Repositories.


def test_the_normalised_copy_is_preferred_to_the_original(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    make_snapshots(tmp_path / "SV-norm", "s1", "s2")
    repository = find(tmp_path)
    assert repository.directory == str(tmp_path / "SV-norm")
    assert [str(snapshot.name) for snapshot in repository.snapshots] == ["s1", "s2"]


def test_without_a_normalised_copy_the_original_is_the_source(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    assert find(tmp_path).directory == str(tmp_path / "SV")


def test_snapshots_are_found_in_order_of_number_among_what_else_is_there(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s10", "s2", "s1", "s1.bak", "shared", "HEAD", "S3", "s")
    (tmp_path / "SV" / "v1-first").symlink_to("s1")
    names = [str(snapshot.name) for snapshot in find(tmp_path).snapshots]
    assert names == ["s1", "s2", "s10"]


def test_a_repository_that_is_not_there_is_missing(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "CO", "s1")
    with pytest.raises(SourceMissing, match="neither SV-norm/ nor SV/"):
        find(tmp_path)


def test_a_file_or_a_symbolic_link_is_not_a_repository(tmp_path: Path) -> None:
    (tmp_path / "SV").write_text("a file")
    with pytest.raises(SourceMissing, match="/SV is a file, not a directory"):
        find(tmp_path)
    (tmp_path / "SV").unlink()
    (tmp_path / "SV").symlink_to(make_snapshots(tmp_path / "elsewhere", "s1"))
    with pytest.raises(SourceMissing, match="/SV is a symbolic link") as caught:
        find(tmp_path)
    assert "not followed" in caught.value.hint


def make_link(path: Path) -> None:
    path.symlink_to(make_snapshots(path.with_name("elsewhere"), "s1"))


def make_broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (make_link, "a symbolic link"),
        (make_broken_link, "a symbolic link"),
        (Path.touch, "a file"),
        (os.mkfifo, "a file"),
    ],
)
def test_a_normalised_copy_that_is_no_directory_never_leads_to_the_original(
    tmp_path: Path, make: Callable[[Path], None], kind: str
) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    make(tmp_path / "SV-norm")
    with pytest.raises(SourceInvalid, match=f"/SV-norm is {kind}, not a directory"):
        find(tmp_path)


@pytest.mark.parametrize("name", ["s0", "s01", "s0000000001", "s1234567890"])
def test_a_name_that_is_almost_a_snapshot_is_refused(tmp_path: Path, name: str) -> None:
    make_snapshots(tmp_path / "SV", "s1", name)
    with pytest.raises(SourceInvalid, match=f"/{name} looks like a snapshot"):
        find(tmp_path)


def test_a_symbolic_link_called_like_a_snapshot_is_not_followed(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    (tmp_path / "SV" / "s2").symlink_to("s1")
    with pytest.raises(SourceInvalid, match="/s2 looks like a snapshot"):
        find(tmp_path)


def test_a_file_called_like_a_snapshot_is_not_one(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    (tmp_path / "SV" / "s2").touch()
    with pytest.raises(SourceInvalid, match="/s2 looks like a snapshot"):
        find(tmp_path)


def test_a_repository_without_snapshots_can_be_found(tmp_path: Path) -> None:
    """Its pins must be deleted all the same."""
    (tmp_path / "SV").mkdir()
    assert find(tmp_path).snapshots == ()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "SV has no s1; it is empty"),
        (["S1", "S2"], "SV has no s1; it has S1, S2"),
        ([f"S{n}" for n in range(1, 9)], "SV has no s1; it has S1, S2, S3, S4 … S8"),
    ],
)
def test_a_repository_without_snapshots_says_what_it_has(
    tmp_path: Path, names: list[str], words: str
) -> None:
    (tmp_path / "SV").mkdir()
    make_snapshots(tmp_path / "SV", *names)
    with pytest.raises(NoSnapshots) as caught:
        find(tmp_path).check_has_snapshots()
    assert caught.value.message == f"{tmp_path}/{words}"


def test_an_empty_normalised_copy_names_the_snapshots_of_the_original(tmp_path: Path) -> None:
    (tmp_path / "SV-norm").mkdir()
    make_snapshots(tmp_path / "SV", "s1", "s2", "s3")
    with pytest.raises(NoSnapshots, match=r"SV-norm has no snapshots; .*/SV has s1, s2, s3"):
        find(tmp_path).check_has_snapshots()


def test_a_repository_with_snapshots_passes(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    find(tmp_path).check_has_snapshots()


def test_snapshots_are_found_by_name(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1", "s2")
    repository = find(tmp_path)
    assert repository.snapshot(SnapshotName(2)).path == f"{tmp_path}/SV/s2"
    assert repository.has_snapshot(SnapshotName(1))
    assert not repository.has_snapshot(SnapshotName(3))


# Plain directories as snapshots.


def test_a_plain_directory_that_was_not_touched_is_unchanged(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    check_unchanged(hold(tmp_path), find(tmp_path).snapshots[0])


def test_a_plain_directory_that_got_a_new_name_at_its_root_has_changed(tmp_path: Path) -> None:
    directory = make_snapshots(tmp_path / "SV", "s1") / "s1"
    os.utime(directory, ns=(1, 1))
    held = hold(tmp_path)
    before = directory.stat().st_ctime_ns
    while directory.stat().st_ctime_ns == before:  # a kernel's clock ticks in milliseconds
        (directory / "new").touch()
        (directory / "new").unlink()
    with pytest.raises(SourceChanged, match="changed while it was read"):
        check_unchanged(held, find(tmp_path).snapshots[0])


def test_a_plain_directory_that_was_replaced_has_changed(tmp_path: Path) -> None:
    directory = make_snapshots(tmp_path / "SV", "s1") / "s1"
    held = hold(tmp_path)
    directory.rename(tmp_path / "old")
    directory.mkdir()
    with pytest.raises(SourceChanged, match="changed while it was read"):
        check_unchanged(held, find(tmp_path).snapshots[0])


def test_a_plain_directory_that_was_removed_has_changed(tmp_path: Path) -> None:
    directory = make_snapshots(tmp_path / "SV", "s1") / "s1"
    held, snapshot = hold(tmp_path), find(tmp_path).snapshots[0]
    shutil.rmtree(directory)
    with pytest.raises(SourceChanged, match="was removed while it was read"):
        check_unchanged(held, snapshot)


# What is excluded.


def test_excluded_names_are_returned(tmp_path: Path) -> None:
    directory = make_snapshots(tmp_path / "SV", "s1") / "s1"
    make_snapshots(directory, ".snap", "lost+found", ".Trash-1000", "data", ".git")
    (directory / "HEAD").touch()
    (directory / ".git" / "HEAD").touch()
    assert excluded_names(hold(tmp_path)) == [".Trash-1000", ".snap", "HEAD", "lost+found"]


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_a_dsg_in_the_source_is_neither_omitted_nor_overwritten(tmp_path: Path, kind: str) -> None:
    directory = make_snapshots(tmp_path / "SV", "s1") / "s1"
    match kind:
        case "directory":
            (directory / ".dsg").mkdir()
        case "file":
            (directory / ".dsg").touch()
        case _:
            (directory / ".dsg").symlink_to("absent")
    with pytest.raises(SourceConflict, match=r"s1 already has a \.dsg"):
        excluded_names(hold(tmp_path))


def test_a_dsg_deeper_down_is_data(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV" / "s1" / "deeper", ".dsg")
    assert excluded_names(hold(tmp_path)) == []


def test_a_snapshot_that_is_removed_is_not_one_that_is_empty(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    held = hold(tmp_path)
    (tmp_path / "SV" / "s1").rmdir()
    with pytest.raises(SourceChanged, match="s1 was removed or replaced while it was read"):
        excluded_names(held)


def test_occupied_space_is_summed_over_all_files_below(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x" * 100_000)
    with open(tmp_path / "a" / "sparse", "wb") as file:
        file.truncate(10_000_000)
    (tmp_path / "a" / "dangling").symlink_to("absent")
    assert 100_000 <= allocated_bytes(str(tmp_path)) < 1_000_000
