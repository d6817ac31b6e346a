"""Renames and links between the migrated tree and what is excluded, both ways.

A send stream carries no content of what comes out of the excluded part, so it has to be fetched
from the source; later snapshots build on what was fetched.
"""

from pathlib import Path

from tests.integration.conftest import Bed
from tests.integration.trees import (
    Edit,
    all_of,
    assert_migrated,
    linking,
    moving,
    new_series,
    removing,
    write,
    writing,
)


def migrate(made: Bed, *edits: Edit) -> None:
    series = new_series(made, "SV", *edits)
    result = made.migrate("SV")
    assert (result["outcome"], result["error"]) == ("done", None)
    assert [row["method"] for row in result["snapshots"]] == ["send"] * len(edits)
    assert_migrated(made, "SV", series.directory, len(edits))


def appending(name: str) -> Edit:
    def edit(tree: Path) -> None:
        with (tree / name).open("a", encoding="utf-8") as file:
            file.write("more\n")

    return edit


def writing_hidden(name: str, content: str = "hidden") -> Edit:
    return lambda tree: write(tree / name, content)


def test_a_file_moves_out_of_the_excluded_part_and_back(fresh_bed: Bed) -> None:
    migrate(
        fresh_bed,
        all_of(writing(data__y="y"), writing_hidden(".snap/x")),
        moving(".snap/x", "data/x"),
        appending("data/x"),
        moving("data/x", ".snap/x"),
        all_of(appending(".snap/x"), moving(".snap/x", "data/again"), moving("data/y", ".snap/y")),
        all_of(appending("data/again"), moving(".snap/y", "data/y")),
    )


def test_a_directory_comes_out_of_lost_and_found(fresh_bed: Bed) -> None:
    migrate(
        fresh_bed,
        all_of(
            writing(data__y="y"),
            writing_hidden("lost+found/found/deep/x"),
            writing_hidden("lost+found/found/z"),
        ),
        moving("lost+found/found", "data/rescued"),
        all_of(appending("data/rescued/deep/x"), moving("data/rescued", "elsewhere")),
        all_of(moving("elsewhere/deep", "lost+found/deep"), moving("lost+found/deep/x", "x")),
    )


def test_what_came_out_moves_on_within_the_same_snapshot(fresh_bed: Bed) -> None:
    migrate(
        fresh_bed,
        all_of(writing(data__y="y"), writing_hidden(".Trash-1000/files/report")),
        all_of(
            moving(".Trash-1000/files", "restored"),
            moving("data", "renamed"),
            moving("restored/report", "renamed/report"),
            linking("renamed/report", "renamed/twin"),
            appending("renamed/report"),
        ),
        appending("renamed/twin"),
    )


def test_what_came_out_follows_a_directory_that_moves_later_in_the_stream(fresh_bed: Bed) -> None:
    """Send goes by inode number, so what came out was made before the directory it is in."""
    migrate(
        fresh_bed,
        all_of(writing_hidden(".snap/x"), writing(data__deep__y="y")),
        all_of(moving(".snap/x", "data/deep/x"), moving("data", "renamed")),
        all_of(appending("renamed/deep/x"), moving("renamed/deep", "deep")),
    )


def test_a_hard_link_leads_from_inside_to_outside(fresh_bed: Bed) -> None:
    migrate(
        fresh_bed,
        all_of(
            writing(data__a="a"),
            writing_hidden(".snap/b"),
            linking("data/a", ".snap/a"),
            linking(".snap/b", "data/b"),
        ),
        all_of(appending(".snap/a"), appending(".snap/b")),
        all_of(linking(".snap/a", "data/second"), linking(".snap/b", "data/third")),
        all_of(removing("data/a"), removing("data/b")),
        all_of(appending(".snap/a"), removing(".snap/b")),
        all_of(removing("data/second"), linking(".snap/a", "data/last")),
    )


def test_head_is_a_link_then_a_directory_then_a_file(fresh_bed: Bed) -> None:
    """Excluded whatever it is, at the root only."""

    def link(tree: Path) -> None:
        (tree / "HEAD").symlink_to("data")

    migrate(
        fresh_bed,
        all_of(writing(data__HEAD="data"), link),
        all_of(removing("HEAD"), writing(HEAD__x="x", HEAD__y="y")),
        all_of(moving("HEAD/x", "data/x"), removing("HEAD"), writing(HEAD="file")),
        all_of(moving("data/HEAD", "moved"), moving("HEAD", "data/HEAD"), moving("moved", "HEAD")),
        moving("data", "HEAD.d"),
    )


def test_a_whole_tree_goes_out_and_comes_back_changed(fresh_bed: Bed) -> None:
    migrate(
        fresh_bed,
        writing(data__a="a", data__deep__b="b", other="o"),
        moving("data", "lost+found"),
        appending("lost+found/deep/b"),
        moving("lost+found", "data"),
        appending("data/a"),
    )


def test_a_deleted_name_is_taken_by_what_comes_out(fresh_bed: Bed) -> None:
    migrate(
        fresh_bed,
        all_of(writing(data__a="old a", b__c="old"), writing_hidden(".snap/x")),
        all_of(removing("data/a", "b"), moving(".snap/x", "data/a"), linking("data/a", "b")),
        all_of(removing("data/a"), appending("b")),
    )
