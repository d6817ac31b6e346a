"""What of the area is ours, and goes, on a zfs that keeps its pool in memory."""

from collections.abc import Callable

import pytest

from dsgmigd.errors import TargetChanged
from dsgmigd.names import SnapshotName
from dsgmigd.target.layout import KEYS
from dsgmigd.target.owned import destroy_with_snapshots, foreign_snapshots
from dsgmigd.target.publication import Publication
from dsgmigd.target.staging import Staging
from dsgmigd.target.zfs import Zfs
from tests.unit.fake_zfs import FakeZfs
from tests.unit.staged_series import AREA, T1, publish_series, take_snapshot

STAGING = f"{AREA}/staging/SV"
VIEW = f"{AREA}/views/SV"
S1, S2, S3 = (SnapshotName(number) for number in (1, 2, 3))
# Each writes to the staging dataset, moves or destroys it, or believes what it says.
USES: dict[str, Callable[[Staging], object]] = {
    "create": lambda staging: staging.create(),
    "clone the target": lambda staging: staging.clone_target(S1),
    "resume": lambda staging: staging.resume(S1),
    "roll back": lambda staging: staging.roll_back(S1),
    "roll back all": lambda staging: staging.roll_back(None),
    "discard": lambda staging: staging.discard(),
    "drop a snapshot": lambda staging: staging.drop_snapshot(S2),
    "drop foreign snapshots": lambda staging: staging.drop_foreign_snapshots(),
    "name an owner": lambda staging: staging.owner_of(S1),
    "continue after": lambda staging: staging.made_snapshot(S1),
    "check": lambda staging: Publication(staging).check_whole({S1: "uuid-s1"}),
    "publish": lambda staging: Publication(staging).publish(T1, staging.read_target(), {}),
}
WRITING = {"set", "create", "clone", "snapshot", "rollback", "destroy", "promote", "rename"}


def test_a_dataset_is_destroyed_after_its_snapshots_the_newest_first(commands: FakeZfs) -> None:
    zfs = Zfs(commands)
    zfs.create("zsd/SV", {}, {})
    for name in ("s1", "s2"):
        zfs.snapshot(f"zsd/SV@{name}", {})
    dataset = zfs.read("zsd/SV", KEYS)
    assert dataset is not None
    destroy_with_snapshots(zfs, dataset)
    destroyed = [call[2] for call in commands.calls if call[1] == "destroy"]
    assert destroyed == ["zsd/SV@s2", "zsd/SV@s1", "zsd/SV"]
    assert commands.names() == ["zsd"]


def test_a_snapshot_without_a_request_of_its_own_is_foreign(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    commands.output("zfs", "snapshot", f"{STAGING}@s1")
    dataset = staging.read_staging()
    assert dataset is not None
    assert [one.name for one in foreign_snapshots(dataset)] == ["s1"]


def test_a_child_of_staging_is_never_destroyed(commands: FakeZfs, staging: Staging) -> None:
    staging.create()
    commands.output("zfs", "create", f"{STAGING}/child")
    with pytest.raises(TargetChanged, match="has children"):
        staging.discard()
    assert f"{STAGING}/child" in commands.names()


def with_staging(commands: FakeZfs, staging: Staging, request: str | None) -> Staging:
    """Make a target with s1, and staging with s1, s2, and a snapshot of somebody else."""
    publish_series(staging, S1)
    staging.create()
    for name in (S1, S2):
        take_snapshot(staging, name, str(name))
    commands.output("zfs", "snapshot", f"{STAGING}@theirs")
    if request is None:
        del commands.properties(STAGING)["org.hrdag.dsgmigd:request"]
    return staging


@pytest.mark.parametrize("use", USES)
def test_a_dataset_that_does_not_carry_a_request_is_not_used_at_all(
    commands: FakeZfs, staging: Staging, use: str
) -> None:
    with_staging(commands, staging, None)
    before, count = commands.names(), len(commands.calls)
    with pytest.raises(TargetChanged, match=f"{STAGING} is not one that dsgmigd made"):
        USES[use](staging)
    assert commands.names() == before
    assert {call[1] for call in commands.calls[count:]} & WRITING == set()


@pytest.mark.parametrize("use", USES)
def test_the_same_of_ours_is_used(commands: FakeZfs, staging: Staging, use: str) -> None:
    USES[use](with_staging(commands, staging, "r1"))


def test_a_view_that_does_not_carry_a_request_is_not_destroyed(
    commands: FakeZfs, staging: Staging
) -> None:
    with_staging(commands, staging, "r1")
    commands.output("zfs", "clone", f"{STAGING}@s1", VIEW)
    (commands.mountpoint(VIEW) / "theirs").write_text("data")
    before = commands.names()
    with pytest.raises(TargetChanged, match=f"{VIEW} is not one that dsgmigd made"):
        staging.discard()
    with (
        pytest.raises(TargetChanged, match=f"{VIEW} is not one that dsgmigd made"),
        staging.view(STAGING, S1),
    ):
        pytest.fail("a view was shown")
    assert commands.names() == before
