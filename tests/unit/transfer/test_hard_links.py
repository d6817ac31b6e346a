"""Files that have names on both sides of the exclusion border."""

from pathlib import Path

import pytest

from dsgmigd.hard_links import names_across_border


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
def test_all_names_inside_of_a_file_that_changed_outside_are_found(
    tree: Path, outside: bytes
) -> None:
    assert names_across_border(str(tree), [], [outside]) == INSIDE


@pytest.mark.parametrize("outside", [b".snap/alone", b".snap", b".snap/gone", b"HEAD/gone"])
def test_what_has_no_other_name_concerns_nobody_inside(tree: Path, outside: bytes) -> None:
    found = names_across_border(str(tree), [], [outside])
    assert found == (INSIDE if outside == b".snap" else set())


def test_a_deferred_directory_brings_the_other_names_of_its_files(tree: Path) -> None:
    (tree / ".snap").rename(tree / "came-out")

    found = names_across_border(str(tree), [b"came-out"], [])

    assert found == INSIDE | {b"came-out/file"}


def test_a_symbolic_link_on_the_way_is_not_followed(tree: Path) -> None:
    (tree / "way").symlink_to(tree / ".snap")

    assert names_across_border(str(tree), [b"way/file"], []) == frozenset()
