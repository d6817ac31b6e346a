"""Empty directories in place of nested subvolumes."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dsgmigd.errors import SourceUnreadable, TargetUnwritable
from dsgmigd.host.directories import Directories
from dsgmigd.transfer import nested_subvolumes
from dsgmigd.transfer.nested_subvolumes import make_empty_directories, separate_nested


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("a/nested", "a/plain"):
        (tmp_path / "source" / name).mkdir(parents=True)
    (tmp_path / "source/a/file").touch()
    return tmp_path / "source"


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    (tmp_path / "staging/a").mkdir(parents=True)
    return tmp_path / "staging"


@pytest.fixture
def opened(source: Path, staging: Path) -> Iterator[tuple[Directories, Directories]]:
    with ExitStack() as stack:
        yield (
            stack.enter_context(Directories(str(source))),
            stack.enter_context(Directories(str(staging))),
        )


def test_an_empty_directory_with_the_inode_number_of_the_kernel_is_nested(
    source: Path, opened: tuple[Directories, Directories], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = (source / "a/nested").stat().st_ino
    monkeypatch.setattr(nested_subvolumes, "EMPTY_SUBVOL_DIR_OBJECTID", number)
    paths = [b"a/nested", b"a/plain", b"a/file", b"a/absent", b"a/file/below"]
    ordinary, nested = separate_nested(opened[0], paths)
    assert ordinary == {b"a/plain", b"a/file"}
    assert nested == {b"a/nested"}


def test_a_file_with_that_inode_number_is_not_nested(
    source: Path, opened: tuple[Directories, Directories], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = (source / "a/file").stat().st_ino
    monkeypatch.setattr(nested_subvolumes, "EMPTY_SUBVOL_DIR_OBJECTID", number)
    assert separate_nested(opened[0], [b"a/file"])[1] == frozenset()


def test_the_root_of_another_file_system_is_nested() -> None:
    with Directories("/") as root:
        assert separate_nested(root, [b"proc", b"usr"])[1] == {b"proc"}


def test_a_directory_is_created_and_the_times_around_it_are_those_of_the_source(
    source: Path, staging: Path, opened: tuple[Directories, Directories]
) -> None:
    os.utime(source / "a", ns=(1, 2))
    make_empty_directories([b"a/nested"], *opened)
    assert os.listdir(staging / "a") == ["nested"]
    assert (staging / "a").stat().st_mtime_ns == 2


def test_a_directory_that_rsync_created_is_kept(
    staging: Path, opened: tuple[Directories, Directories]
) -> None:
    (staging / "a/nested").mkdir()
    make_empty_directories([b"a/nested"], *opened)
    assert os.listdir(staging / "a") == ["nested"]


def test_errors_name_the_side_that_failed(
    staging: Path, opened: tuple[Directories, Directories]
) -> None:
    with pytest.raises(SourceUnreadable, match="reading 'absent/nested'"):
        make_empty_directories([b"absent/nested"], *opened)
    (staging / "a").rmdir()
    with pytest.raises(TargetUnwritable, match="creating 'a/nested'"):
        make_empty_directories([b"a/nested"], *opened)
