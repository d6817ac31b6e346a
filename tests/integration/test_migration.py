"""Every snapshot of the target is what its source is, by whatever way it came."""

import os
import stat
from pathlib import Path
from typing import Any

import bed
import pytest
from sample import build_sample

from tests.integration.conftest import Bed, write_config
from tests.integration.trees import (
    Series,
    all_of,
    assert_migrated,
    differences,
    linking,
    moving,
    new_series,
    removing,
    write,
    writing,
)


def build(made: Bed, *, normalised: bool = True) -> Path:
    build_sample(
        made.source_root, "SV", snapshots=4, files=150, big_file_mib=2, normalised=normalised
    )
    return made.source_root / ("SV-norm" if normalised else "SV")


def row_values(result: dict[str, Any], key: str) -> list[Any]:
    return [row[key] for row in result["snapshots"]]


def test_the_judge_sees_what_differs(fresh_bed: Bed) -> None:
    """Every kind of difference that the other tests rely on rsync to find."""
    one, other = fresh_bed.source_root / "one", fresh_bed.source_root / "other"
    for tree in (one, other):
        writing(data__a="same", data__b="same")(tree)
        os.utime(tree / "data", (0, 0))
        for path in (tree / "data/a", tree / "data/b", tree):
            os.utime(path, (0, 0))
    assert differences(one, other) == []
    write(one / ".snap/x")
    write(other / ".dsg/x")
    for tree in (one, other):
        os.utime(tree, (0, 0))
    assert differences(one, other) == [], "these two are where they belong"
    write(other / "HEAD")
    os.utime(other, (0, 0))
    assert any("HEAD" in line for line in differences(one, other))
    (other / "HEAD").unlink()
    write(other / "data/a", "SAME")
    os.utime(other / "data/a", (0, 0))
    assert any("data/a" in line for line in differences(one, other))


@pytest.mark.parametrize("protocol", [1, 2, "compressed"])
def test_a_sent_series_arrives_whole(fresh_bed: Bed, protocol: int | str) -> None:
    write_config(fresh_bed, source=f"send_protocol = {protocol!r}")
    directory = build(fresh_bed)
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["error"]) == ("done", None)
    assert row_values(result, "method") == ["send"] * 4
    assert row_values(result, "send_protocol") == [protocol] * 4
    assert_migrated(fresh_bed, "SV", directory, 4)


def test_rsync_and_send_give_the_same_snapshots_and_the_same_manifests(fresh_bed: Bed) -> None:
    directory = build(fresh_bed)
    sent = fresh_bed.migrate("SV")
    bed.destroy("-r", f"{fresh_bed.parent}/SV")
    write_config(fresh_bed, source='engine = "rsync"')
    copied = fresh_bed.migrate("SV")
    assert row_values(copied, "method") == ["rsync"] * 4
    assert_migrated(fresh_bed, "SV", directory, 4)
    assert row_values(sent, "entries_hash") == row_values(copied, "entries_hash")
    assert row_values(sent, "snapshot_hash") == row_values(copied, "snapshot_hash")


def test_plain_directories_are_copied_by_rsync(fresh_bed: Bed) -> None:
    series = Series(fresh_bed.source_root / "SV")
    series.push_plain(writing(data__a="one", data__b="two", gone="x"))
    series.push_plain(all_of(writing(data__a="ONE"), removing("gone")))
    series.push_plain(all_of(moving("data", "moved"), linking("moved/b", "linked")))
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["error"]) == ("done", None)
    assert row_values(result, "method") == ["rsync"] * 3
    assert row_values(result, "is_pinned") == [False] * 3
    assert "not pinned" in " ".join(result["warnings"])
    assert_migrated(fresh_bed, "SV", series.directory, 3)


def test_a_plain_directory_between_subvolumes_takes_the_rsync_step(fresh_bed: Bed) -> None:
    series = new_series(
        fresh_bed,
        "SV",
        writing(data__a="one", data__b="two"),
        all_of(writing(data__a="ONE"), linking("data/b", "linked")),
    )
    series.push_plain(all_of(writing(data__c="three"), removing("data/a")))
    series.push_copy(all_of(moving("data/c", "data/d"), writing(data__b="TWO")))
    series.push(all_of(writing(data__e="five"), removing("linked")))
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["error"]) == ("done", None)
    assert row_values(result, "method") == ["send", "send", "rsync", "rsync", "send"]
    assert_migrated(fresh_bed, "SV", series.directory, 5)


def test_the_normalised_copy_is_preferred(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(data="as it was"))
    normalised = new_series(fresh_bed, "SV-norm", writing(data="normalised"))
    result = fresh_bed.migrate("SV")
    assert result["source"]["directory"] == str(normalised.directory)
    assert_migrated(fresh_bed, "SV", normalised.directory, 1)


def test_snapshots_are_taken_by_number_and_not_by_name(fresh_bed: Bed) -> None:
    edits = [writing(number=str(number)) for number in range(1, 12)]
    series = new_series(fresh_bed, "SV", *edits)
    result = fresh_bed.migrate("SV")
    assert row_values(result, "name") == [f"s{number}" for number in range(1, 12)]
    assert_migrated(fresh_bed, "SV", series.directory, 11)


def test_kinds_change_places_between_snapshots(fresh_bed: Bed) -> None:
    """A file becomes a directory, a directory a link, two directories change their names."""
    series = new_series(
        fresh_bed,
        "SV",
        writing(turn="file", tree__deep__x="x", one__a="a", other__b="b"),
        all_of(
            removing("turn", "tree"),
            writing(turn__inside="now a directory"),
            lambda tree: (tree / "tree").symlink_to("one"),
            moving("one", "kept"),
            moving("other", "one"),
            moving("kept", "other"),
        ),
        all_of(removing("turn", "tree"), lambda tree: os.mkfifo(tree / "turn", 0o640)),
    )
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, 3)


def test_the_dataset_is_mounted_where_its_parent_is_with_owners_modes_and_links(
    fresh_bed: Bed,
) -> None:
    def edit(tree: Path) -> None:
        write(tree / "bin/tool")
        os.chown(tree / "bin/tool", 1234, 5678)
        (tree / "bin/tool").chmod(0o4750)
        linking("bin/tool", "same")(tree)

    new_series(fresh_bed, "SV", edit)
    result = fresh_bed.migrate("SV")
    mountpoint = fresh_bed.mountpoint / "SV"
    assert result["target"]["mountpoint"] == str(mountpoint)
    status = (mountpoint / "bin/tool").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 5678, 0o4750)
    assert (mountpoint / "same").stat().st_ino == status.st_ino


def test_nothing_stays_behind_on_either_side(fresh_bed: Bed) -> None:
    directory = build(fresh_bed)
    before = sorted(path.name for path in directory.iterdir())
    fresh_bed.migrate("SV")
    assert sorted(path.name for path in directory.iterdir()) == before
    assert sorted(path.name for path in fresh_bed.source_root.glob("[!.]*")) == ["SV-norm"]
    area = f"{fresh_bed.parent}/.dsgmigd"
    names = bed.run("zfs", "list", "-H", "-r", "-t", "all", "-o", "name", area).split()
    assert set(names) == {area, *(f"{area}/{part}" for part in ("staging", "views", "replaced"))}
