"""Files that have migrated names and excluded names."""

import errno
import os
from pathlib import Path

import pytest

from dsgmigd.errors import SourceUnreadable
from dsgmigd.host.directories import Directories
from dsgmigd.transfer.hard_links import find_migrated_names


def names_in(tree: Path, deferred: list[bytes], changed: list[bytes]) -> frozenset[bytes]:
    with Directories(str(tree)) as source:
        return find_migrated_names(source, deferred, changed)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (".snap", "data/below"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".snap/file").write_text("one file")
    for name in ("data/file", "data/below/again", "HEAD"):
        (tmp_path / name).hardlink_to(tmp_path / ".snap/file")
    (tmp_path / "data/other").write_text("another")
    (tmp_path / "data/twin").hardlink_to(tmp_path / "data/other")
    (tmp_path / ".snap/alone").write_text("has one name")
    return tmp_path


INSIDE = {b"data/file", b"data/below/again"}


@pytest.mark.parametrize("outside", [b".snap/file", b"HEAD"])
def test_all_migrated_names_of_an_excluded_file_that_changed_are_found(
    tree: Path, outside: bytes
) -> None:
    assert names_in(tree, [], [outside]) == INSIDE


@pytest.mark.parametrize("outside", [b".snap/alone", b".snap", b".snap/gone", b"HEAD/gone"])
def test_files_without_a_migrated_name_are_not_found(tree: Path, outside: bytes) -> None:
    found = names_in(tree, [], [outside])
    assert found == (INSIDE if outside == b".snap" else set())


def test_a_deferred_directory_brings_the_other_names_of_its_files(tree: Path) -> None:
    (tree / ".snap").rename(tree / "came-out")

    found = names_in(tree, [b"came-out"], [])

    assert found == INSIDE | {b"came-out/file"}


def test_a_symbolic_link_on_the_way_is_not_followed(tree: Path) -> None:
    (tree / "way").symlink_to(tree / ".snap")

    assert names_in(tree, [b"way/file"], []) == frozenset()


def test_a_directory_that_cannot_be_read_is_an_error_with_its_whole_path(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Directories, path: bytes) -> list[str]:
        if path == b".snap/below":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return ["below"]

    (tree / ".snap/below").mkdir()
    monkeypatch.setattr(Directories, "names", refuse)
    with pytest.raises(SourceUnreadable, match=r"reading '\.snap/below' failed in the source"):
        names_in(tree, [], [b".snap"])
