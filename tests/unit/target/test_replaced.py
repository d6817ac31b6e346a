"""What stood in a target's place before: brought back, or destroyed if it is ours."""

from pathlib import Path

import pytest

from dsgmigd.errors import CommandFailed, TargetChanged, TargetMissing
from dsgmigd.names import SnapshotName
from dsgmigd.replaced import ReplacedTargets, free_moment, moment
from dsgmigd.staging import Staging
from tests.unit.fake_zfs import FailingZfs, FakeZfs
from tests.unit.staged_series import AREA, publish_series, staging_of, take_snapshot

S1, S2, S3 = (SnapshotName(number) for number in (1, 2, 3))
THEN, LATER, NOW = (f"2026010{day}T000000Z" for day in (1, 2, 3))


@pytest.fixture
def commands(tmp_path: Path) -> FakeZfs:
    return FakeZfs(tmp_path)


@pytest.fixture
def staging(commands: FakeZfs) -> Staging:
    staging = staging_of(commands, "r1")
    staging.prepare_area()
    return staging


def replaced_of(commands: FakeZfs) -> ReplacedTargets:
    return ReplacedTargets(commands, staging_of(commands, "r2").places)


def extend(staging: Staging, after: SnapshotName, name: SnapshotName, when: str) -> None:
    staging.clone_target(after)
    take_snapshot(staging, name, str(name))
    staging.publish(when, staging.read_target())
    staging.mount_target()


def replace(staging: Staging, text: str, when: str) -> None:
    staging.create()
    take_snapshot(staging, S1, text)
    staging.publish(when, staging.read_target())
    staging.mount_target()


def what_stands(staging: Staging) -> tuple[list[str], str]:
    """Return the target's snapshots, and what its file says."""
    target = staging.read_target()
    assert target is not None
    assert target.is_mounted
    return [one.name for one in target.snapshots], (Path(target.mountpoint) / "file").read_text()


def test_a_moment_is_a_part_of_a_dataset_name() -> None:
    assert moment(0) == "19700101T000000Z"


def test_two_that_are_moved_aside_within_a_second_have_names_of_their_own() -> None:
    taken = {moment(7), moment(8)}
    assert free_moment(7.5, taken.__contains__) == moment(9)
    assert free_moment(9.5, taken.__contains__) == moment(9)


def test_an_extension_is_taken_back_and_forth(commands: FakeZfs, staging: Staging) -> None:
    publish_series(staging, S1, S2)
    extend(staging, S2, S3, THEN)
    replaced = replaced_of(commands)
    done = replaced.bring_back(None, LATER)
    assert what_stands(staging) == (["s1", "s2"], "s2")
    assert (done.brought, done.aside) == (
        f"{AREA}/replaced/SV-{THEN}",
        f"{AREA}/replaced/SV-{LATER}",
    )
    assert replaced.moments() == [LATER]
    replaced.bring_back(LATER, NOW)
    assert what_stands(staging) == (["s1", "s2", "s3"], "s3")


def test_a_replaced_target_comes_back_and_the_new_one_is_kept(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1, S2)
    replace(staging, "new", THEN)
    replaced_of(commands).bring_back(None, NOW)
    assert what_stands(staging) == (["s1", "s2"], "s2")
    replaced_of(commands).bring_back(NOW, LATER)
    assert what_stands(staging) == (["s1"], "new")


def test_any_of_several_can_be_brought_back(commands: FakeZfs, staging: Staging) -> None:
    publish_series(staging, S1)
    extend(staging, S1, S2, THEN)
    extend(staging, S2, S3, LATER)
    replaced = replaced_of(commands)
    assert replaced.moments() == [THEN, LATER]
    replaced.bring_back(THEN, NOW)
    assert what_stands(staging) == (["s1"], "s1")
    assert replaced.moments() == [LATER, NOW]
    for when in (LATER, NOW):
        replaced.destroy(when)
    assert replaced.moments() == []
    assert what_stands(staging) == (["s1"], "s1")


def test_a_target_that_is_gone_is_brought_back_too(commands: FakeZfs, staging: Staging) -> None:
    publish_series(staging, S1)
    replace(staging, "new", THEN)
    for name in ("zsd/SV@s1", "zsd/SV"):
        commands.output("zfs", "destroy", name)
    assert replaced_of(commands).bring_back(None, NOW).aside is None
    assert what_stands(staging) == (["s1"], "s1")


@pytest.mark.parametrize("when", [None, THEN, "../other", "2026"])
def test_what_is_not_kept_cannot_come_back(
    commands: FakeZfs, staging: Staging, when: str | None
) -> None:
    publish_series(staging, S1)
    before = commands.names()
    with pytest.raises(TargetMissing):
        replaced_of(commands).bring_back(when, NOW)
    assert commands.names() == before


@pytest.mark.usefixtures("staging")
def test_the_area_of_another_repository_is_not_looked_at(commands: FakeZfs) -> None:
    for name in (f"SV-X-{THEN}", f"SVX-{THEN}", "SV-not-a-time"):
        commands.output("zfs", "create", f"{AREA}/replaced/{name}")
    assert replaced_of(commands).moments() == []


def test_what_dsgmigd_did_not_make_is_never_destroyed(commands: FakeZfs, staging: Staging) -> None:
    commands.output("zfs", "create", "zsd/SV")
    replace(staging, "new", THEN)
    replace(staging, "newer", LATER)
    commands.output("zfs", "snapshot", f"{AREA}/replaced/SV-{LATER}@mine")
    before = commands.names()
    for when, words in ((THEN, "no mark of ours"), (LATER, "not ours: mine")):
        with pytest.raises(TargetChanged, match=words):
            replaced_of(commands).destroy(when)
    assert commands.names() == before


@pytest.mark.parametrize("is_extension", [True, False])
def test_a_rollback_that_is_cut_off_anywhere_loses_nothing(
    tmp_path: Path, *, is_extension: bool
) -> None:
    """The n-th zfs command fails, for every n, until none fails any more."""
    for count in range(100):
        directory = tmp_path / str(count)
        directory.mkdir()
        commands = FailingZfs(directory)
        staging = staging_of(commands, "r1")
        staging.prepare_area()
        publish_series(staging, S1)
        if is_extension:
            extend(staging, S1, S2, THEN)
        else:
            replace(staging, "new", THEN)
        replaced = replaced_of(commands)
        commands.fail_after(count)
        try:
            replaced.bring_back(None, NOW)
        except CommandFailed:
            commands.fail_after(None)
            kept = replaced.moments()
            assert staging.read_target() is not None or kept == [THEN, NOW]
            if kept != [NOW]:  # it came to its end, but for the mount
                replaced.bring_back(THEN, LATER)
            staging.mount_target()
        else:
            assert count > 5
            break
        assert what_stands(staging) == (["s1"], "s1")
