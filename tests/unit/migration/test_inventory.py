"""Source and target as the plan sees them: from directories, and from the marks on snapshots."""

from pathlib import Path

import pytest

from dsgmigd.errors import SnapshotGap
from dsgmigd.migration.inventory import describe_source, describe_target
from dsgmigd.migration.plan import make_plan
from dsgmigd.migration.series import SourceSnapshot, TargetSnapshot
from dsgmigd.names import SnapshotName
from dsgmigd.source.pin_names import PINS_DIRECTORY
from dsgmigd.source.pins import Pins
from dsgmigd.source.repository import Repository, SnapshotDirectory
from dsgmigd.target.dataset import Snapshot
from dsgmigd.target.layout import SOURCE_IDENTITY, SOURCE_VERSION, VERIFIED
from tests.unit.source.fake_btrfs import UUIDS, FakeBtrfs, subvolume
from tests.unit.source.repositories import SPOOL_ID, SV, find, make_snapshots

S1, S2 = SnapshotName(1), SnapshotName(2)


# Plain directories.


def test_a_gap_is_left_to_the_plan(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1", "s3")
    described = describe_source(find(tmp_path))
    with pytest.raises(SnapshotGap, match="s2 missing"):
        make_plan(described, target=None, staging=None)


def test_a_plain_directory_cannot_be_sent_and_has_only_its_name_for_identity(
    tmp_path: Path,
) -> None:
    make_snapshots(tmp_path / "SV", "s1", "s2")
    described = describe_source(find(tmp_path))
    assert [one.identity for one in described] == ["directory:s1", "directory:s2"]
    assert not any(one.is_sendable for one in described)
    assert described[0].version != described[1].version


# Subvolumes.


@pytest.fixture
def repository(tmp_path: Path, btrfs: FakeBtrfs) -> Repository:
    """Two subvolumes; request r1 has a pin of the first, made when that was at version 7."""
    pin = tmp_path / PINS_DIRECTORY / SPOOL_ID / "SV.r1" / f"s1.{UUIDS['s1']}"
    btrfs.add(pin, subvolume("pin", UUIDS["s1"], ctransid=7))
    snapshots = (
        SnapshotDirectory(S1, f"{tmp_path}/SV/s1", subvolume(UUIDS["s1"], ctransid=8)),
        SnapshotDirectory(S2, f"{tmp_path}/SV/s2", subvolume(UUIDS["s2"], ctransid=9)),
    )
    return Repository(SV, str(tmp_path), f"{tmp_path}/SV", snapshots)


def test_a_subvolume_has_its_uuid_for_identity_and_can_be_sent(repository: Repository) -> None:
    assert describe_source(repository) == [
        SourceSnapshot(S1, UUIDS["s1"], 8, is_sendable=True),
        SourceSnapshot(S2, UUIDS["s2"], 9, is_sendable=True),
    ]


def test_nothing_is_sent_if_it_must_not_be(repository: Repository) -> None:
    described = describe_source(repository, may_send=False)
    assert [one.is_sendable for one in described] == [False, False]


def test_a_pin_of_this_request_has_the_version_that_is_read(repository: Repository) -> None:
    """Otherwise a source that was only read since the pin would look like one that changed."""
    described = describe_source(repository, Pins(repository, "r1", SPOOL_ID))
    assert [(one.identity, one.version) for one in described] == [
        (UUIDS["s1"], 7),
        (UUIDS["s2"], 9),
    ]


def test_a_pin_of_another_request_does_not_count(repository: Repository) -> None:
    described = describe_source(repository, Pins(repository, "r2", SPOOL_ID))
    assert [one.version for one in described] == [8, 9]


# The marks on a target's snapshots.


def described(**properties: str) -> TargetSnapshot:
    return describe_target([Snapshot("s1", 0, properties, "7")]).snapshots[0]


def test_a_snapshot_is_described_by_its_marks() -> None:
    marks = {SOURCE_IDENTITY: "u", SOURCE_VERSION: "12", VERIFIED: "complete"}
    assert described(**marks) == TargetSnapshot(S1, "u", 12, level="complete")


def test_a_snapshot_without_marks_is_not_ours_and_not_verified() -> None:
    assert described() == TargetSnapshot(S1, None, 0, level=None)


def test_snapshots_of_other_names_are_left_out() -> None:
    names = ["s1", "sync-temp-1", "init-snapshot", "s01", "pre-sync-2", "s2"]
    state = describe_target([Snapshot(name, 0, {}, "7") for name in names])
    assert [str(snapshot.name) for snapshot in state.snapshots] == ["s1", "s2"]


@pytest.mark.parametrize("mark", ["structure", "complete", "exhaustive"])
@pytest.mark.parametrize("weakest", ["structure", "complete", "exhaustive"])
def test_a_mark_counts_for_its_level_and_the_weaker_ones(mark: str, weakest: str) -> None:
    order = ["structure", "complete", "exhaustive"]
    snapshot = Snapshot("s1", 0, {VERIFIED: mark}, "7")
    state = describe_target([snapshot], weakest=weakest)  # type: ignore[arg-type]
    assert state.snapshots[0].is_verified == (order.index(mark) >= order.index(weakest))


def test_a_mark_that_no_level_has_does_not_count() -> None:
    assert not described(**{VERIFIED: "yes"}).is_verified


def test_a_dataset_without_snapshots_is_there_all_the_same() -> None:
    assert describe_target([]).snapshots == ()
