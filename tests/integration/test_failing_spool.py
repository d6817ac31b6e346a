"""A spool on a disk that is full: what was done is told, and nothing begins that could not be."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import bed
import pytest

from tests.integration.conftest import Bed
from tests.integration.processes import wait_for, wait_started
from tests.integration.trees import assert_migrated, new_series, writing

SPOOL_MIB = 2


@pytest.fixture
def small_spool(fresh_bed: Bed, tmp_path: Path) -> Iterator[Bed]:
    """A bed whose spool is a small ext4 of its own."""
    image = tmp_path / "spool.img"
    with image.open("xb") as file:
        file.truncate(SPOOL_MIB << 20)
    bed.run("mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", image)
    shutil.rmtree(fresh_bed.spool, ignore_errors=True)
    fresh_bed.spool.mkdir()
    bed.run("mount", "-o", "loop", image, fresh_bed.spool)
    try:
        yield fresh_bed
    finally:
        fresh_bed.stop_workers()
        bed.run("umount", fresh_bed.spool)


def fill(directory: Path) -> Path:
    """Leave no block free; return the file that took them."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 1024):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    assert os.statvfs(directory).f_bavail == 0
    return ballast


def wait_said(made: Bed, words: str) -> None:
    wait_for(lambda: words in made.log(1).read_text(errors="replace"), words, made=made)


def begun(made: Bed, *, then: Callable[[], object]) -> None:
    """Start a worker on a request; do `then` while it works."""
    made.start_worker(1)
    wait_started(made, 1)
    made.drop("SV")
    wait_said(made, "plan.made")
    then()


def test_a_result_fits_into_a_spool_that_is_full_by_then(small_spool: Bed) -> None:
    series = new_series(small_spool, "SV", *[writing(a=f"{number}") for number in range(6)])
    begun(small_spool, then=lambda: fill(small_spool.spool))
    result = small_spool.wait_result("SV")
    assert (result["outcome"], len(result["snapshots"])) == ("done", 6)
    assert "result.waiting" not in small_spool.words()
    assert_migrated(small_spool, "SV", series.directory, 6)


def test_nothing_begins_in_a_full_spool_and_nothing_is_lost(small_spool: Bed) -> None:
    new_series(small_spool, "SV", writing(a="a"))
    small_spool.start_worker(1)
    wait_started(small_spool, 1)
    ballast = fill(small_spool.spool)
    (small_spool.spool / "SV.request").touch()
    wait_said(small_spool, "spool.failing")
    assert "plan.made" not in small_spool.words()
    assert list(small_spool.spool.glob("SV.*"))
    ballast.unlink()
    result = small_spool.wait_result("SV")
    assert result["outcome"] == "done"
    assert result["attempts"][-1]["ended"] == "done"
    assert all(one["ended"] == "not begun" for one in result["attempts"][:-1])
