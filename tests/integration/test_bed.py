"""The bed itself: what the other integration tests stand on."""

import os
import stat
from pathlib import Path

import bed
import pytest
from sample import UNKIND_NAMES, build_sample

from tests.integration.conftest import Bed


@pytest.fixture
def series(fresh_bed: Bed) -> Path:
    build_sample(
        fresh_bed.source_root, "SV", snapshots=5, files=300, big_file_mib=3, normalised=True
    )
    return fresh_bed.source_root / "SV-norm"


def contents(tree: Path) -> dict[str, bytes]:
    files = (path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(tree)): path.read_bytes() for path in files}


def test_a_series_has_its_snapshots_half_of_them_read_only(series: Path) -> None:
    names = sorted(path.name for path in series.iterdir() if not path.is_symlink())
    assert names == ["s1", "s2", "s3", "s4", "s5"]
    assert all((series / name).stat().st_ino == 256 for name in names)
    states = [bed.run("btrfs", "property", "get", "-ts", series / name, "ro") for name in names]
    assert [state.strip() for state in states] == ["ro=false", "ro=true"] * 2 + ["ro=false"]
    assert os.readlink(series / "v1.0") == "s3"


def test_each_snapshot_is_a_snapshot_of_the_one_before(series: Path) -> None:
    lines = {
        key.strip(): value.strip()
        for number in (1, 2)
        for line in bed.run("btrfs", "subvolume", "show", series / f"s{number}").splitlines()
        if ":" in line
        for key, value in [(f"s{number} {line.split(':', 1)[0].strip()}", line.split(":", 1)[1])]
    }
    assert lines["s2 Parent UUID"] == lines["s1 UUID"]


def test_snapshots_differ_as_promised(series: Path) -> None:
    first, second = contents(series / "s1"), contents(series / "s2")
    assert set(first) - set(second), "deleted or renamed"
    assert set(second) - set(first), "new or renamed"
    edited = {name for name in first.keys() & second.keys() if first[name] != second[name]}
    assert {"big.bin", "same-second.bin", "holes.img", ".snap/push.log"} <= edited
    assert any(len(first[name]) == len(second[name]) for name in edited if "data/" in name)
    changed = [at for at in range(3) if _mib(first, at) != _mib(second, at)]
    assert changed in ([1], [1, 2]), "one MiB in the middle"


def _mib(files: dict[str, bytes], at: int) -> bytes:
    return files["big.bin"][at << 20 : (at + 1) << 20]


def test_a_tree_holds_all_kinds_of_entries(series: Path) -> None:
    tree = series / "s5"
    assert all((tree / "names" / name).exists() for name in UNKIND_NAMES)
    assert stat.S_ISFIFO((tree / "fifo").stat().st_mode)
    assert list((tree / "empty").iterdir()) == []
    assert (tree / "holes.img").stat().st_blocks * 512 < 1 << 20
    assert any(path.stat().st_nlink > 1 for path in (tree / "links").glob("hard-*"))
    assert stat.S_IMODE((tree / ".snap/push.log").stat().st_mode) == 0o600
    log = (tree / ".snap/push.log").read_text().splitlines()
    assert [line.split(" | ")[0] for line in log] == [f"SV/s{number}" for number in range(1, 6)]


def test_the_same_seed_gives_the_same_tree(series: Path, fresh_bed: Bed) -> None:
    build_sample(
        fresh_bed.source_root, "SV", snapshots=2, files=300, big_file_mib=3, normalised=False
    )
    again = fresh_bed.source_root / "SV/s2"
    assert contents(again) == contents(series / "s2")
    times = [
        {str(path.relative_to(tree)): path.lstat().st_mtime_ns for path in tree.rglob("*")}
        for tree in (again, series / "s2")
    ]
    assert times[0] == times[1]


def test_a_snapshot_can_be_viewed_while_the_dataset_moves_on(fresh_bed: Bed) -> None:
    bed.run("zfs", "create", f"{fresh_bed.parent}/SV")
    file = fresh_bed.mountpoint / "SV/file"
    file.write_text("old")
    bed.run("zfs", "snapshot", f"{fresh_bed.parent}/SV@s1")
    file.write_text("new")
    bed.run("zfs", "snapshot", f"{fresh_bed.parent}/SV@s2")
    assert fresh_bed.snapshots("SV") == ["s1", "s2"]
    directory = fresh_bed.spool.parent / "view"
    with bed.snapshot_view(f"{fresh_bed.parent}/SV", "s1", directory) as view:
        assert (view / "file").read_text() == "old"
    assert not directory.exists()


def test_nothing_is_left_after_the_exit(state: Path) -> None:
    """Also if something is still mounted inside, and if the body of the context fails."""
    loop = bed.BtrfsLoop(state / "own.img", state / "own b", size_mib=200)
    pool = bed.FilePool(f"dsgx{os.getpid()}", state / "ownp.img", state / "ownp", size_mib=100)
    with pytest.raises(RuntimeError, match="on purpose"):
        fail_inside(loop, pool)
    assert not pool.exists()
    assert not [path for path in state.iterdir() if path.name.startswith("own")]
    assert str(state / "own.img") not in bed.run(
        "losetup", "--list", "--noheadings", "--output", "BACK-FILE"
    )
    assert str(state / "own") not in Path("/proc/self/mountinfo").read_text()


def fail_inside(loop: bed.BtrfsLoop, pool: bed.FilePool) -> None:
    with loop, pool:
        (loop.directory / "deep").mkdir()
        bed.run("mount", "-t", "tmpfs", "tmpfs", loop.directory / "deep")
        bed.run("zfs", "create", f"{pool.name}/child")
        raise RuntimeError("on purpose")


def test_a_pool_in_another_file_is_left_alone(pool: bed.FilePool, state: Path) -> None:
    stranger = bed.FilePool(pool.name, state / "other.img", state / "other")
    with pytest.raises(bed.BedError, match="left alone"):
        stranger.close()
    assert pool.exists()
