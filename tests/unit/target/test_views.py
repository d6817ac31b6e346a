"""Views that other programs meet, on a zfs that keeps its pool in memory."""

from pathlib import Path

import pytest

from dsgmigd.errors import TargetBusy
from dsgmigd.names import SnapshotName
from dsgmigd.target.staging import Staging
from dsgmigd.target.zfs import PROPERTY_PREFIX
from tests.unit.fake_zfs import FakeZfs
from tests.unit.staged_series import AREA, chain_names, staging_of, take_snapshot

S1, S2 = SnapshotName(1), SnapshotName(2)
STAGING, VIEW = f"{AREA}/staging/SV", f"{AREA}/views/SV"


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def staged(commands: FakeZfs, staging: Staging, warnings: list[str]) -> Staging:
    """Staging with two snapshots."""
    staging.create()
    take_snapshot(staging, S1, "one")
    take_snapshot(staging, S2, "two")
    return staging_of(commands, "r1", warn=warnings.append)


def views(commands: FakeZfs) -> list[str]:
    return [name for name in commands.names() if name.startswith(VIEW)]


def test_a_snapshot_that_another_program_makes_of_a_view_goes_with_it(
    commands: FakeZfs, staged: Staging, warnings: list[str]
) -> None:
    with staged.view(STAGING, S1):
        commands.output("zfs", "snapshot", f"{VIEW}@auto")
    assert (views(commands), warnings) == ([], [])


def test_a_snapshot_that_is_made_while_a_view_is_destroyed_goes_with_it(
    commands: FakeZfs, staged: Staging
) -> None:
    with staged.view(STAGING, S1):
        commands.output("zfs", "snapshot", f"{VIEW}@auto")
        commands.before_destroying[VIEW] = ["late", "later"]
    assert views(commands) == []


def test_a_view_of_which_snapshots_are_made_without_end_is_left(
    commands: FakeZfs, staged: Staging, warnings: list[str]
) -> None:
    with staged.view(STAGING, S1):
        commands.before_destroying[VIEW] = [f"auto-{number}" for number in range(20)]
    assert "makes snapshots of zsd/.dsgmigd/views/SV all the time" in warnings[0]


def keep(commands: FakeZfs, how: str) -> None:
    """Make the view SV one that cannot be destroyed."""
    if how == "child":
        commands.output("zfs", "create", f"{VIEW}/child")
        return
    commands.output("zfs", "snapshot", f"{VIEW}@auto")
    if how == "hold":
        commands.output("zfs", "hold", "tag", f"{VIEW}@auto")
    elif how == "clone":
        commands.output("zfs", "clone", f"{VIEW}@auto", "zsd/mine")
    else:
        commands.output("zfs", "set", "readonly=off", VIEW)


@pytest.mark.parametrize("how", ["hold", "clone", "child", "writable"])
def test_a_view_that_something_keeps_is_named_and_the_next_one_has_another_name(
    commands: FakeZfs, staged: Staging, warnings: list[str], how: str
) -> None:
    with staged.view(STAGING, S1):
        keep(commands, how)
    for name, text in ((S1, "one"), (S2, "two")):
        with staged.view(STAGING, name) as root:
            assert (Path(root) / "file").read_text() == text
            assert f"{VIEW}:2" in commands.names()
    assert VIEW in commands.names()
    assert f"{VIEW}:2" not in commands.names()
    (warning,) = warnings
    assert warning.startswith(f"{VIEW} could not be destroyed, see dsgmigd doctor: ")


def test_a_run_resumes_although_something_keeps_the_view_of_the_snapshot_before(
    commands: FakeZfs, staged: Staging
) -> None:
    with staged.view(STAGING, S1):
        keep(commands, "hold")
    again = staging_of(commands, "r2")
    again.resume(S1)
    assert chain_names(again) == ["s1"]


def test_a_run_waits_for_what_keeps_the_view_of_a_snapshot_that_has_to_go(
    commands: FakeZfs, staged: Staging
) -> None:
    with staged.view(STAGING, S2):
        keep(commands, "hold")
    with pytest.raises(TargetBusy, match="dependent clones"):
        staging_of(commands, "r2").resume(S1)
    commands.datasets[VIEW].snapshots[0].holds.clear()
    staging_of(commands, "r2").resume(S1)
    assert views(commands) == []


def test_an_interrupted_runs_view_is_dropped_with_its_snapshots_whatever_its_name(
    commands: FakeZfs, staged: Staging
) -> None:
    for name in (VIEW, f"{VIEW}:2"):
        options = ("-o", f"{PROPERTY_PREFIX}request=dead", "-o", "readonly=on")
        commands.output("zfs", "clone", *options, f"{STAGING}@s2", name)
        commands.output("zfs", "snapshot", f"{name}@auto")
    staged.discard()
    assert views(commands) == []


def test_views_of_a_repository_whose_name_begins_alike_are_left_alone(
    commands: FakeZfs, staged: Staging
) -> None:
    other = f"{VIEW}-2020"
    commands.output("zfs", "create", "-o", f"{PROPERTY_PREFIX}request=r9", other)
    staged.discard()
    assert views(commands) == [other]


def test_no_view_is_made_over_all_that_are_kept(commands: FakeZfs, staged: Staging) -> None:
    for name in staged.layout.view_names():
        marks = ("-o", f"{PROPERTY_PREFIX}request=dead")
        commands.output("zfs", "clone", *marks, f"{STAGING}@s1", name)
        commands.output("zfs", "create", f"{name}/child")
    with pytest.raises(TargetBusy, match="something keeps every view"), staged.view(STAGING, S1):
        pass
