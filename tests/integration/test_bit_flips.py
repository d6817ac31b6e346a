"""A byte that changed on a disk, below the file system: it is found, told, and never published."""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import bed
import pytest

from dsgmigd.config import read_config
from dsgmigd.errors import DsgmigdError, TargetUnwritable, VerificationFailed
from dsgmigd.host.command import Commands
from dsgmigd.migration.job import Job
from dsgmigd.migration.migration import Migration
from dsgmigd.migration.progress import Progress
from dsgmigd.names import RepoName
from dsgmigd.request import Request
from tests.integration.conftest import SPOOL_ID, Bed, write_config
from tests.integration.processes import assert_clean
from tests.integration.trees import Edit, assert_migrated, new_series, write, writing

BAD = "d/ü bad"
BLOCK_BYTES = 4096
# In the middle of the file, and of a block.
POSITION = 50 * BLOCK_BYTES + 7
FILE_BYTES = 100 * BLOCK_BYTES


@dataclass
class Damage:
    """One wrong byte in an image, and where it is."""

    image: Path
    place: int

    def flip(self) -> None:
        """Make it wrong, or right again."""
        with self.image.open("r+b") as file:
            file.seek(self.place)
            (byte,) = file.read(1)
            file.seek(self.place)
            file.write(bytes([byte ^ 1]))


def find_damage(image: Path, content: bytes) -> Damage:
    """Find, in the image of a file system, the byte of BAD that is to be flipped."""
    start = POSITION - POSITION % BLOCK_BYTES
    block = content[start : start + BLOCK_BYTES]
    with image.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as disk:
        place = disk.find(block)
        assert place >= 0, "the block is not on the disk"
        assert disk.find(block, place + 1) < 0, "the block is there twice"
    return Damage(image, place + POSITION - start)


def holding(content: bytes) -> Edit:
    return lambda tree: write(tree / BAD, content)


@pytest.fixture
def content(request: pytest.FixtureRequest) -> bytes:
    """What BAD holds: something else in each test, since disks forget nothing."""
    return Random(request.node.nodeid).randbytes(FILE_BYTES)  # noqa: S311


@pytest.mark.parametrize("engine", ["auto", "rsync"])
@pytest.mark.parametrize("before", [[], [writing(a="a"), writing(a="b")]], ids=["first", "later"])
def test_what_btrfs_finds_damaged_fails_and_says_which_file(
    fresh_bed: Bed, state: Path, content: bytes, engine: str, before: list[Edit]
) -> None:
    write_config(fresh_bed, source=f'engine = "{engine}"')
    series = new_series(fresh_bed, "SV", *before, holding(content), writing(b="b"))
    other = new_series(fresh_bed, "CO", writing(a="a"), writing(b="b"))
    bed.run("btrfs", "filesystem", "sync", fresh_bed.source_root)
    damage = find_damage(state / "btrfs.img", content)
    damage.flip()
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    fresh_bed.drop("CO")
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["error"]["code"]) == ("failed", "source_io")
    place = POSITION - POSITION % BLOCK_BYTES
    assert f"reading {BAD!r} at byte {place} failed" in result["error"]["message"]
    assert f"{fresh_bed.parent}/SV" not in bed.run("zfs", "list", "-H", "-o", "name").split()
    assert fresh_bed.wait_result("CO")["outcome"] == "done"
    assert_migrated(fresh_bed, "CO", other.directory, 2)

    damage.flip()
    fresh_bed.drop("SV")
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, series.count)
    assert_clean(fresh_bed)


class Watched(Progress):
    """Progress that does something as soon as a verification begins."""

    before_verify: Callable[[], None]

    def enter(self, step: str, snapshot: object = None) -> None:
        if step == "verify" and self.snapshot == "s2":
            self.before_verify()
        super().enter(step, snapshot)


@pytest.mark.parametrize(
    ("checksum", "expected"), [("off", VerificationFailed), ("on", TargetUnwritable)]
)
def test_what_changed_on_the_target_is_found_before_it_is_published(
    fresh_bed: Bed, state: Path, content: bytes, checksum: str, expected: type[DsgmigdError]
) -> None:
    """The byte changes when the snapshot is on the disk, and before it is verified."""
    bed.run("zfs", "set", f"checksum={checksum}", fresh_bed.parent)
    new_series(fresh_bed, "SV", writing(a="a"), holding(content))
    progress = Watched(repo="SV")
    progress.before_verify = lambda: find_damage(state / "pool.img", content).flip()
    settings = read_config(str(fresh_bed.config)).settings()
    job = Job(RepoName("SV"), Request(), "flip", SPOOL_ID)
    migration = Migration(job, settings, Commands(), progress)
    with pytest.raises(expected) as caught:
        migration.run()
    told = [row.verification for row in migration.report.snapshots if row.verification]
    if expected is VerificationFailed:
        found = [(one.path, one.attribute) for one in told[-1].discrepancies]
        assert found == [(BAD, "content")]
    else:
        assert BAD in caught.value.message
    assert f"{fresh_bed.parent}/SV" not in bed.run("zfs", "list", "-H", "-o", "name").split()
