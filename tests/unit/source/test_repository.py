"""The source side as far as plain directories show it; the rest needs a real btrfs."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from dsgmigd.errors import (
    DsgmigdError,
    HostExhausted,
    NoSnapshots,
    SnapshotGap,
    SourceChanged,
    SourceConflict,
    SourceInvalid,
    SourceMissing,
    SourceUnreadable,
)
from dsgmigd.names import SnapshotName, parse_repo_name
from dsgmigd.pins import PINS_DIRECTORY, Pins, describe_source
from dsgmigd.plan import make_plan
from dsgmigd.source import (
    HeldSnapshot,
    Repository,
    allocated_bytes,
    check_unchanged,
    excluded_names,
    find_repository,
    list_repositories,
)
from tests.unit.failing import failing

SV = parse_repo_name("SV")


def make_snapshots(repository: Path, *names: str) -> Path:
    for name in names:
        (repository / name).mkdir(parents=True)
    return repository


def find(root: Path) -> Repository:
    return find_repository(str(root), SV)


def hold(root: Path, number: int = 1) -> HeldSnapshot:
    repository = find(root)
    return Pins(repository, "r1").hold(repository.snapshot(SnapshotName(number)))


# Repositories.


def test_the_normalised_copy_goes_before_the_original(tmp_path: Path) -> None:
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
    (tmp_path / "SV").write_text("a file")
    (tmp_path / "SV-norm").symlink_to(make_snapshots(tmp_path / "elsewhere", "s1"))
    with pytest.raises(SourceMissing, match="neither SV-norm/ nor SV/"):
        find(tmp_path)


def test_a_source_root_that_is_not_there_is_told_from_a_missing_repository(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"the source root .* is not there"):
        find(tmp_path / "absent")
    with pytest.raises(SourceMissing, match=r"the source root .* is not there"):
        list_repositories(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EIO, SourceUnreadable), (errno.ENOMEM, HostExhausted)]
)
def test_a_source_root_that_cannot_be_looked_at_may_be_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    expected: type[DsgmigdError],
) -> None:
    monkeypatch.setattr(os, "stat", failing(number))
    with pytest.raises(expected, match="looking at the source root"):
        find(tmp_path)


@pytest.mark.parametrize("name", ["s0", "s01", "s0000000001", "s1234567890"])
def test_a_name_that_is_almost_a_snapshot_is_not_guessed_at(tmp_path: Path, name: str) -> None:
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


def test_a_gap_is_left_for_the_plan_to_judge(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1", "s3")
    described = describe_source(find(tmp_path))
    with pytest.raises(SnapshotGap, match="s2 missing"):
        make_plan(described, target=None, staging=None)


def test_a_repository_without_snapshots_is_left_for_the_plan_to_judge(tmp_path: Path) -> None:
    (tmp_path / "SV").mkdir()
    with pytest.raises(NoSnapshots):
        make_plan(describe_source(find(tmp_path)), target=None, staging=None)


def test_repositories_are_listed_once_each_by_their_own_name(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    make_snapshots(tmp_path / "SV-norm", "s1")
    make_snapshots(tmp_path / "CO-norm", "s1")
    make_snapshots(tmp_path / "empty", "HEAD")
    make_snapshots(tmp_path / PINS_DIRECTORY, "s1")
    (tmp_path / "link").symlink_to("SV")
    assert list_repositories(str(tmp_path)) == ["CO", "SV"]


# Plain directories as snapshots.


def test_a_plain_directory_cannot_be_sent_and_has_only_its_name_for_identity(
    tmp_path: Path,
) -> None:
    make_snapshots(tmp_path / "SV", "s1", "s2")
    described = describe_source(find(tmp_path))
    assert [one.identity for one in described] == ["directory:s1", "directory:s2"]
    assert not any(one.is_sendable for one in described)
    assert described[0].version != described[1].version


def test_a_plain_directory_is_read_in_place_and_nothing_is_made_for_it(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    held = hold(tmp_path)
    assert held.path == str(tmp_path / "SV" / "s1")
    assert (held.is_pinned, held.is_sendable) == (False, False)
    assert held.version == describe_source(find(tmp_path))[0].version
    assert os.listdir(tmp_path) == ["SV"]


def test_a_plain_directory_that_nobody_touched_is_unchanged(tmp_path: Path) -> None:
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


def test_a_plain_directory_that_is_gone_has_vanished(tmp_path: Path) -> None:
    directory = make_snapshots(tmp_path / "SV", "s1") / "s1"
    held, snapshot = hold(tmp_path), find(tmp_path).snapshots[0]
    shutil.rmtree(directory)
    with pytest.raises(SourceChanged, match="vanished while it was read"):
        check_unchanged(held, snapshot)


def test_releasing_removes_what_is_empty_of_this_repository_and_nothing_else(
    tmp_path: Path,
) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    area = tmp_path / PINS_DIRECTORY
    make_snapshots(area, "SV.r1", "SV.dead", "SV.more.r1", "CO.r1")
    (area / "SV.other").mkdir()
    (area / "SV.other" / "kept").mkdir()
    Pins(find(tmp_path), "r1").release_all()
    assert sorted(os.listdir(area)) == ["CO.r1", "SV.more.r1", "SV.other"]
    assert (area / "SV.other" / "kept").is_dir()


def test_releasing_where_nothing_was_pinned_is_no_error(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    Pins(find(tmp_path), "r1").release_all()


# What stays out.


def test_what_stays_out_is_named(tmp_path: Path) -> None:
    directory = make_snapshots(tmp_path / "SV", "s1") / "s1"
    make_snapshots(directory, ".snap", "lost+found", ".Trash-1000", "data", ".git")
    (directory / "HEAD").touch()
    (directory / ".git" / "HEAD").touch()
    assert excluded_names(hold(tmp_path)) == [".Trash-1000", ".snap", "HEAD", "lost+found"]


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_a_dsg_of_the_sources_own_is_neither_dropped_nor_overwritten(
    tmp_path: Path, kind: str
) -> None:
    directory = make_snapshots(tmp_path / "SV", "s1") / "s1"
    match kind:
        case "directory":
            (directory / ".dsg").mkdir()
        case "file":
            (directory / ".dsg").touch()
        case _:
            (directory / ".dsg").symlink_to("absent")
    with pytest.raises(SourceConflict, match=r"s1 has a \.dsg of its own"):
        excluded_names(hold(tmp_path))


def test_a_dsg_deeper_down_is_data(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV" / "s1" / "deeper", ".dsg")
    assert excluded_names(hold(tmp_path)) == []


def test_a_snapshot_that_cannot_be_listed_is_unreadable(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    held = hold(tmp_path)
    (tmp_path / "SV" / "s1").rmdir()
    with pytest.raises(SourceUnreadable, match="No such file"):
        excluded_names(held)


def test_occupied_space_is_summed_over_all_files_below(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x" * 100_000)
    with open(tmp_path / "a" / "sparse", "wb") as file:
        file.truncate(10_000_000)
    (tmp_path / "a" / "dangling").symlink_to("absent")
    assert 100_000 <= allocated_bytes(str(tmp_path)) < 1_000_000
