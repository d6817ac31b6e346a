"""A config in the snapshot narrows its manifest; everything is migrated all the same."""

import json

import bed
import pytest

from tests.integration.conftest import Bed, write_config
from tests.integration.trees import (
    all_of,
    assert_migrated,
    linking,
    moving,
    new_series,
    removing,
    write,
    writing,
)

CONFIG = ".dsgconfig.yml"
SERIES = (
    all_of(writing(input__a="a", other__b="b", top="t"), linking("other/b", "input/linked")),
    lambda tree: write(tree / CONFIG, "data_dirs: [input]\n"),
    all_of(writing(other__b="changed through the name outside", input__c="c", other__d="d")),
    all_of(moving("other/d", "input/d"), moving("input/a", "other/a")),
    lambda tree: write(tree / CONFIG, "data_dirs: ['*']\nignore: {names: [top]}\n"),
    lambda tree: write(tree / CONFIG, "data_dirs: text\n"),
    removing(CONFIG),
)
EVERYTHING = ["input/c", "input/d", "input/linked", "other/a", "other/b", "top"]
LISTED = [
    ["input/a", "input/linked", "other/b", "top"],
    ["input/a", "input/linked"],
    ["input/a", "input/c", "input/linked"],
    ["input/c", "input/d", "input/linked"],
    EVERYTHING[:-1],
    EVERYTHING,
    EVERYTHING,
]
NO_LIST = "data_dirs is not a list of texts"
SCOPES = [
    "all directories",
    *[f"{CONFIG}: input"] * 3,
    f"{CONFIG}: *",
    "all directories",
    "all directories",
]


def manifests(made: Bed) -> list[dict[str, dict[str, str]]]:
    found = []
    for number in range(1, len(SERIES) + 1):
        view = made.spool.parent / "view"
        with bed.snapshot_view(f"{made.parent}/SV", f"s{number}", view) as root:
            found.append(json.loads((root / ".dsg/last-sync.json").read_bytes())["entries"])
    return found


@pytest.mark.parametrize("way", ["send", "rsync", "extended", "changes"])
def test_each_manifest_lists_what_the_config_of_its_snapshot_says(fresh_bed: Bed, way: str) -> None:
    if way == "rsync":
        write_config(fresh_bed, source='engine = "rsync"')
    series = new_series(fresh_bed, "SV", *SERIES)
    scopes = []
    for limit in range(1 if way == "extended" else len(SERIES), len(SERIES) + 1):
        level = "changes" if way == "changes" else "complete"
        result = fresh_bed.migrate("SV", "--limit", str(limit), "--verify", level)
        assert (result["outcome"], result["error"]) == ("done", None)
        scopes += [row["scope"] for row in result["snapshots"]]
    assert scopes == SCOPES
    assert [warning for warning in result["warnings"] if CONFIG in warning] == (
        [] if way == "extended" else [f"s6: {CONFIG} is ignored: TypeError: {NO_LIST}"]
    )
    assert_migrated(fresh_bed, "SV", series.directory, len(SERIES))
    found = manifests(fresh_bed)
    assert [sorted(entries) for entries in found] == LISTED
    for entries in found[2:4]:
        assert entries["input/linked"]["hash"] == found[4]["other/b"]["hash"]
    assert found[1]["input/linked"]["hash"] != found[2]["input/linked"]["hash"]
    fresh_bed.dsgmigd("verify", "SV", "--without-source")


def test_names_that_dsg_refuses_are_told_once_and_what_is_not_listed_is_counted(
    fresh_bed: Bed,
) -> None:
    new_series(
        fresh_bed,
        "SV",
        writing(**dict.fromkeys(("fine", "a~", "con.txt", ".hidden", "b.tmp"), "")),
        writing(**dict.fromkeys(("a~", " edge"), "changed")),
    )
    result = fresh_bed.migrate("SV")
    assert result["warnings"] == [
        "s1: names that DSG's client refuses, 2 in all: 'a~', 'con.txt'",
        "s2: names that DSG's client refuses, 1 in all: ' edge'",
    ]
    for row in result["snapshots"]:
        assert row["verification"]["unlisted_count"] == 2
        assert sorted(row["verification"]["unlisted"]) == [".hidden", "b.tmp"]
