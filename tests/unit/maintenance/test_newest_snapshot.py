"""Which snapshot is the newest, on a zfs that keeps its pool in memory."""

from pathlib import Path

import pytest

from dsgmigd.errors import NoSnapshots, TargetMissing, TargetUnavailable
from dsgmigd.maintenance.newest_snapshot import newest_snapshot
from dsgmigd.names import parse_dataset_name, parse_repo_name
from dsgmigd.target.layout import DatasetLayout
from tests.unit.fake_zfs import FakeZfs

PLACES = DatasetLayout(parse_dataset_name("zsd"), "zsd/.dsgmigd", parse_repo_name("SV"))


@pytest.fixture
def commands(tmp_path: Path) -> FakeZfs:
    made = FakeZfs(tmp_path)
    made.output("zfs", "create", "zsd/SV")
    return made


def take(commands: FakeZfs, *names: str) -> None:
    for name in names:
        (commands.mountpoint("zsd/SV") / "file").write_text(name)
        commands.output("zfs", "snapshot", f"zsd/SV@{name}")


def test_the_newest_is_the_one_with_the_highest_number(commands: FakeZfs) -> None:
    take(commands, "s10", "s9", "sync-temp-1")
    (commands.mountpoint("zsd/SV") / "file").write_text("live")
    with newest_snapshot(commands, PLACES) as newest:
        assert (str(newest.name), newest.target.name) == ("s10", "zsd/SV")
        assert (Path(newest.root) / "file").read_text() == "s10"
    assert "zsd/.dsgmigd/views/SV" not in commands.names()


def test_a_dataset_without_snapshots_has_no_newest(commands: FakeZfs) -> None:
    take(commands, "sync-temp-1")
    with pytest.raises(NoSnapshots), newest_snapshot(commands, PLACES):
        pass


def test_a_repository_that_is_not_published_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TargetMissing, match="SV is not published"):
        newest_snapshot(FakeZfs(tmp_path), PLACES).__enter__()


def test_a_suspended_pool_is_not_asked_for_snapshots(commands: FakeZfs) -> None:
    take(commands, "s1")
    commands.health = "SUSPENDED"
    with pytest.raises(TargetUnavailable), newest_snapshot(commands, PLACES):
        pass
    assert commands.calls[-1][0] == "zpool"
