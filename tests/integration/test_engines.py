"""Whatever may change between two snapshots arrives, whichever engine carries it."""

import json
import os
import shutil
from pathlib import Path

import bed
import pytest

from tests.integration import zfs_kind
from tests.integration.conftest import Bed, write_config
from tests.integration.oddities import LATE, plant_all
from tests.integration.trees import Series, assert_migrated, differences, new_series, write

ENGINES = ("auto", "rsync")
LOSSES = (*zfs_kind.LOSSES, "mtime_range")


def set_engine(made: Bed, engine: str) -> None:
    """Let the bed use an engine, and lose whatever times its target cannot hold."""
    write_config(made, source=f'engine = "{engine}"')
    text = made.config.read_text(encoding="utf-8")
    before, after = (f"allow_loss = {json.dumps(losses)}" for losses in (zfs_kind.LOSSES, LOSSES))
    made.config.write_text(text.replace(before, after), encoding="utf-8")


def write_at(path: Path, content: str, seconds: int = 1_400_000_000) -> None:
    """Write a file that has a given time."""
    write(path, content)
    os.utime(path, (seconds, seconds))


def make_changeable(tree: Path) -> None:
    for name in ("other content", "one", "linked", "later", "swapped 1", "swapped 2", "typed"):
        write_at(tree / "data" / name, name[0] * 4)
    write_at(tree / "data/#comment", "#")
    (tree / "data/two").hardlink_to(tree / "data/one")
    (tree / "data/three").hardlink_to(tree / "data/one")
    (tree / "data/directory/below").mkdir(parents=True)
    (tree / "data/shared").mkdir(mode=0o755)
    (tree / "data/shared").chmod(0o2755)


def change_everything(tree: Path) -> None:
    data = tree / "data"
    write_at(data / "other content", "BBBB")
    bed.run("cp", "-p", data / "one", data / "copy")
    (data / "copy").rename(data / "one")
    (data / "one").chmod(0o600)
    (data / "linked 2").hardlink_to(data / "linked")
    os.utime(data / "later", (1_400_000_001, 1_400_000_001))
    (data / "swapped 1").rename(data / "kept")
    (data / "swapped 2").rename(data / "swapped 1")
    (data / "kept").rename(data / "swapped 2")
    (data / "typed").unlink()
    (data / "typed").symlink_to("later")
    shutil.rmtree(data / "directory")
    os.mkfifo(data / "directory")
    (data / "pipe").hardlink_to(data / "directory")
    os.chown(data / "shared", 5, 6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("is_plain", [False, True], ids=["subvolumes", "directories"])
def test_every_kind_of_change_arrives(fresh_bed: Bed, engine: str, *, is_plain: bool) -> None:
    set_engine(fresh_bed, engine)
    series = Series(fresh_bed.source_root / "SV")
    push = series.push_plain if is_plain else series.push
    push(make_changeable)
    push(change_everything)
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done", result["error"]
    assert_migrated(fresh_bed, "SV", series.directory, 2)


@pytest.mark.parametrize("engine", ENGINES)
def test_times_out_of_range_are_lost_by_every_engine(fresh_bed: Bed, engine: str) -> None:
    def make(tree: Path) -> None:
        plant_all(tree, names=set(LATE))
        (tree / "late").mkdir()
        bed.run("btrfs", "subvolume", "create", tree / "late/nested")
        for name in ("late", "."):
            os.utime(tree / name, (2**32 + 9, 2**32 + 9))

    set_engine(fresh_bed, engine)
    new_series(fresh_bed, "SV", make)
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done", result["error"]
    lost = [loss["loss"] for loss in result["losses"]]
    assert ("mtime_range" in lost) == bool(zfs_kind.LOSSES)


def test_a_directory_that_is_deleted_with_its_nested_subvolume_is_gone(fresh_bed: Bed) -> None:
    def make(tree: Path) -> None:
        for name in ("a", ".hidden"):
            (tree / name).mkdir()
            bed.run("btrfs", "subvolume", "create", tree / name / "nested")

    def delete(tree: Path) -> None:
        for name in ("a", ".hidden"):
            (tree / name / "nested").rmdir()
            (tree / name).rmdir()

    series = new_series(fresh_bed, "SV", make)
    series.push(delete)
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert differences(series.snapshot(2), fresh_bed.mountpoint / "SV") == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_directory_that_becomes_a_nested_subvolume_is_empty(fresh_bed: Bed, engine: str) -> None:
    def make(tree: Path) -> None:
        write(tree / "data/a/b/file", "gone with its directory")

    def replace(tree: Path) -> None:
        shutil.rmtree(tree / "data/a")
        bed.run("btrfs", "subvolume", "create", tree / "data/a")

    def put_back(tree: Path) -> None:
        (tree / "data/a").rmdir()
        make(tree)

    set_engine(fresh_bed, engine)
    series = new_series(fresh_bed, "SV", make)
    series.push(replace)
    series.push(put_back)
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done", result["error"]
    assert differences(series.snapshot(3), fresh_bed.mountpoint / "SV") == []
