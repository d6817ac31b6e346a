"""The previous targets of a repository: brought back, or destroyed if dsgmigd made them."""

from pathlib import Path

import pytest

from dsgmigd.errors import CommandFailed, TargetChanged, TargetMissing
from dsgmigd.names import SnapshotName
from dsgmigd.target import published_mount
from dsgmigd.target.replaced import ReplacedTargets
from dsgmigd.target.staging import Staging
from tests.unit.fake_zfs import FailingZfs, FakeZfs
from tests.unit.staged_series import (
    AREA,
    T1,
    T2,
    T3,
    mounted_root,
    publish,
    publish_series,
    staging_of,
    take_snapshot,
)

S1, S2, S3 = (SnapshotName(number) for number in (1, 2, 3))
THEN, LATER, NOW = T1, T2, T3


def replaced_of(commands: FakeZfs) -> ReplacedTargets:
    return ReplacedTargets(commands, staging_of(commands, "r2").layout)


def extend(staging: Staging, after: SnapshotName, name: SnapshotName, when: str) -> None:
    staging.clone_target(after)
    take_snapshot(staging, name, str(name))
    publish(staging, when)


def replace(staging: Staging, text: str, when: str) -> None:
    staging.create()
    take_snapshot(staging, S1, text)
    publish(staging, when)


def what_stands(staging: Staging) -> tuple[list[str], str]:
    """Return the target's snapshots, and what its file says."""
    target = staging.read_target()
    assert target is not None
    assert target.is_mounted
    return [one.name for one in target.snapshots], (Path(target.mountpoint) / "file").read_text()


def test_an_extension_is_rolled_back_and_forth(commands: FakeZfs, staging: Staging) -> None:
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
def test_a_target_that_is_not_kept_cannot_come_back(
    commands: FakeZfs, staging: Staging, when: str | None
) -> None:
    publish_series(staging, S1)
    before = commands.names()
    with pytest.raises(TargetMissing):
        replaced_of(commands).bring_back(when, NOW)
    assert commands.names() == before


@pytest.mark.usefixtures("staging")
def test_kept_targets_of_other_repositories_are_not_listed(commands: FakeZfs) -> None:
    for name in (f"SV-X-{THEN}", f"SVX-{THEN}", "SV-not-a-time"):
        commands.output("zfs", "create", f"{AREA}/replaced/{name}")
    assert replaced_of(commands).moments() == []


def test_what_dsgmigd_did_not_make_is_never_destroyed(commands: FakeZfs, staging: Staging) -> None:
    commands.output("zfs", "create", "zsd/SV")
    replace(staging, "new", THEN)
    replace(staging, "newer", LATER)
    commands.output("zfs", "snapshot", f"{AREA}/replaced/SV-{LATER}@mine")
    before = commands.names()
    for when, words in (
        (THEN, "it was not made by"),
        (LATER, "its snapshots mine were not made by"),
    ):
        with pytest.raises(TargetChanged, match=words):
            replaced_of(commands).destroy(when)
    assert commands.names() == before


@pytest.mark.parametrize("is_extension", [True, False])
def test_a_rollback_that_is_interrupted_at_any_point_loses_nothing(
    tmp_path: Path, *, is_extension: bool
) -> None:
    """The n-th zfs command fails, for every n, until none fails any more."""
    for count in range(100):
        directory = tmp_path / str(count)
        directory.mkdir()
        commands = FailingZfs(directory)
        staging = staging_of(commands, "r1")
        staging.area.prepare()
        publish_series(staging, S1)
        if is_extension:
            extend(staging, S1, S2, THEN)
        else:
            replace(staging, "new", THEN)
        replaced = replaced_of(commands)
        commands.fail_after(count)
        try:
            done = replaced.bring_back(None, NOW)
        except CommandFailed:
            commands.fail_after(None)
            kept = replaced.moments()
            assert staging.read_target() is not None or kept == [THEN, NOW]
            if kept != [NOW]:  # it came to its end, but for the mount
                replaced.bring_back(THEN, LATER)
            mounted_root(staging)
        else:
            commands.fail_after(None)
            if not done.mounted.warnings:
                assert count > 5
                break
            mounted_root(staging)
        assert what_stands(staging) == (["s1"], "s1")


def test_nothing_is_hidden_by_what_comes_back(commands: FakeZfs, staging: Staging) -> None:
    publish_series(staging, S1)
    replace(staging, "new", THEN)
    commands.output("zfs", "unmount", "zsd/SV")
    taken = commands.datasets["zsd/SV"].mountpoint
    taken.mkdir(exist_ok=True)
    (taken / "k").touch()
    mounted = replaced_of(commands).bring_back(None, NOW).mounted
    assert mounted.mountpoint is None
    (warning,) = mounted.warnings
    assert f"zsd/SV is published, but not mounted: {taken} has 'k' in it" in warning
    assert [one.name for one in commands.datasets["zsd/SV"].snapshots] == ["s1"]
    assert not commands.datasets["zsd/SV"].is_mounted


def test_what_the_present_target_hides_already_does_not_keep_the_old_one_unmounted(
    commands: FakeZfs, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_series(staging, S1)
    replace(staging, "new", THEN)
    monkeypatch.setattr(published_mount, "find_obstacle", lambda _: "it has 'k' in it")
    mounted = replaced_of(commands).bring_back(None, NOW).mounted
    assert mounted.warnings == ("zsd/SV is mounted over something: it has 'k' in it",)
    assert what_stands(staging) == (["s1"], "s1")
