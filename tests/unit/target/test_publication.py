"""From staging to the target and back, on a zfs that keeps its pool in memory.

Files are real, so that the effect of a publication on them shows.
"""

from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.errors import CommandFailed, TargetBusy, TargetChanged, TargetExists
from dsgmigd.names import SnapshotName
from dsgmigd.target.dataset import PROPERTY_PREFIX, Dataset
from dsgmigd.target.publication import Publication, TargetFacts
from dsgmigd.target.staging import Staging
from tests.unit.fake_zfs import FailingZfs, FakeZfs
from tests.unit.staged_series import (
    AREA,
    T0,
    T1,
    T2,
    chain_names,
    mounted_root,
    publish_series,
    staging_of,
    take_snapshot,
    target_names,
)

S1, S2, S3 = SnapshotName(1), SnapshotName(2), SnapshotName(3)


def test_a_repository_is_built_beside_the_target_and_appears_with_all_snapshots_at_once(
    commands: FakeZfs, staging: Staging
) -> None:
    root = Path(staging.create())
    take_snapshot(staging, S1, "one")
    take_snapshot(staging, S2, "two")
    assert staging.read_target() is None
    assert Publication(staging).publish(T1, None, {}).replaced is None
    assert staging.read_staging() is None
    assert not root.exists() or not any(root.iterdir())
    mountpoint = mounted_root(staging)
    assert (mountpoint / "file").read_text() == "two"
    assert target_names(staging) == ["s1", "s2"]
    properties = commands.properties("zsd/SV@s1")
    mark = properties.pop(PROPERTY_PREFIX + "verified")
    assert mark.startswith("complete ")
    assert properties == {
        PROPERTY_PREFIX + "request": "r1",
        PROPERTY_PREFIX + "source_uuid": "uuid-s1",
        PROPERTY_PREFIX + "source_ctransid": "1",
    }


@pytest.mark.parametrize("lost", ["s1", "s2"])
def test_staging_is_whole_while_it_has_every_verified_snapshot(
    commands: FakeZfs, staging: Staging, lost: str
) -> None:
    staging.create()
    for name in (S1, S2):
        take_snapshot(staging, name, str(name))
    identities = {S1: "uuid-s1", S2: "uuid-s2"}
    Publication(staging).check_whole(identities)
    Publication(staging).check_whole({S1: "uuid-s1"})
    commands.output("zfs", "destroy", f"{AREA}/staging/SV@{lost}")
    with pytest.raises(TargetChanged, match=f"verified snapshots were removed .*: {lost}$"):
        Publication(staging).check_whole(identities)


def test_a_snapshot_of_another_source_or_without_a_mark_does_not_count_as_verified(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "one")
    with pytest.raises(TargetChanged, match="s1"):
        Publication(staging).check_whole({S1: "another uuid"})
    commands.output("zfs", "destroy", f"{AREA}/staging/SV@s1")
    commands.output("zfs", "snapshot", f"{AREA}/staging/SV@s1")
    with pytest.raises(TargetChanged, match="s1"):
        Publication(staging).check_whole({S1: "uuid-s1"})


def test_what_other_programs_snapshotted_between_ours_is_not_published(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1)
    commands.output("zfs", "snapshot", "zsd/SV@users-own")
    warnings: list[str] = []
    staging = staging_of(commands, "r1", warn=warnings.append)
    staging.clone_target(S1)
    full = f"{AREA}/staging/SV"
    commands.output("zfs", "snapshot", f"{full}@auto-1")
    take_snapshot(staging, S2, "two")
    ours = f"{PROPERTY_PREFIX}request=r1"
    commands.output("zfs", "snapshot", "-o", ours, f"{full}@renamed")
    commands.output("zfs", "snapshot", f"{full}@s9")
    Publication(staging).publish(T1, staging.read_target(), {})
    assert target_names(staging) == ["s1", "s2"]
    assert f"{AREA}/replaced/SV-{T1}@users-own" in commands.names()
    names = [
        warning.partition(" is not part of the series, and was destroyed") for warning in warnings
    ]
    assert [name for name, _, _ in names] == [f"{full}@s9", f"{full}@renamed", f"{full}@auto-1"]


def test_nothing_is_moved_while_something_keeps_a_snapshot_that_is_not_ours(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1)
    staging.clone_target(S1)
    take_snapshot(staging, S2, "two")
    commands.output("zfs", "snapshot", f"{AREA}/staging/SV@auto")
    commands.output("zfs", "hold", "tag", f"{AREA}/staging/SV@auto")
    before = commands.names()
    with pytest.raises(TargetBusy, match=f"a hold keeps {AREA}/staging/SV@auto") as caught:
        Publication(staging).publish(T1, staging.read_target(), {})
    assert "zfs release" in caught.value.hint
    assert commands.names() == before


def test_an_extension_is_published_with_the_old_snapshots_and_the_old_dataset_is_kept(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1, S2)
    staging.clone_target(S2)
    take_snapshot(staging, S3, "three")
    assert not Publication(staging).has_replaced(T1)
    assert (
        Publication(staging).publish(T1, staging.read_target(), {}).replaced
        == f"{AREA}/replaced/SV-{T1}"
    )
    assert Publication(staging).has_replaced(T1)
    assert (mounted_root(staging) / "file").read_text() == "three"
    assert target_names(staging) == ["s1", "s2", "s3"]
    target = staging.read_target()
    assert target is not None
    assert target.origin is None
    assert f"{AREA}/replaced/SV-{T1}" in commands.names()
    assert staging.read_staging() is None


def test_a_replaced_target_is_kept_with_its_files_and_snapshots(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1)
    staging.create()
    take_snapshot(staging, S1, "new")
    assert (
        Publication(staging).publish(T1, staging.read_target(), {}).replaced
        == f"{AREA}/replaced/SV-{T1}"
    )
    assert (mounted_root(staging) / "file").read_text() == "new"
    commands.output("zfs", "mount", f"{AREA}/replaced/SV-{T1}")
    assert (commands.mountpoint(f"{AREA}/replaced/SV-{T1}") / "file").read_text() == "s1"
    assert f"{AREA}/replaced/SV-{T1}@s1" in commands.names()


def test_a_target_that_another_user_created_meanwhile_is_not_touched(
    commands: FakeZfs, staging: Staging
) -> None:
    staging.create()
    take_snapshot(staging, S1, "ours")
    commands.output("zfs", "create", "zsd/SV")
    (commands.mountpoint("zsd/SV") / "file").write_text("theirs")
    names = commands.names()
    with pytest.raises(TargetExists, match="another program or user created zsd/SV"):
        Publication(staging).publish(T1, None, {})
    assert commands.names() == names
    assert (commands.mountpoint("zsd/SV") / "file").read_text() == "theirs"
    assert staging.read_staging() is not None


def destroy_target(commands: FakeZfs, _planned: Dataset) -> None:
    for name in ("@s2", "@s1", ""):
        commands.output("zfs", "destroy", f"zsd/SV{name}")


def create_alike(commands: FakeZfs, planned: Dataset) -> None:
    """Make another dataset, with snapshots of the same names and times."""
    destroy_target(commands, planned)
    commands.output("zfs", "create", "zsd/SV")
    for one in planned.snapshots:
        commands.output("zfs", "snapshot", f"zsd/SV@{one.name}")
        commands.datasets["zsd/SV"].snapshots[-1].creation = one.created_at


def exchange_snapshot(commands: FakeZfs, _planned: Dataset) -> None:
    """Make the last snapshot anew."""
    commands.output("zfs", "destroy", "zsd/SV@s2")
    commands.output("zfs", "snapshot", "zsd/SV@s2")


CHANGES: dict[str, Callable[[FakeZfs, Dataset], object]] = {
    "gone": destroy_target,
    "another": create_alike,
    "snapshot lost": lambda commands, _: commands.output("zfs", "destroy", "zsd/SV@s2"),
    "first snapshot lost": lambda commands, _: commands.output("zfs", "destroy", "zsd/SV@s1"),
    "snapshot exchanged": exchange_snapshot,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_target_that_is_no_longer_the_planned_one_is_not_moved(
    commands: FakeZfs, staging: Staging, change: str
) -> None:
    publish_series(staging, S1, S2)
    planned = staging.read_target()
    assert planned is not None
    staging.create()
    take_snapshot(staging, S1, "ours")
    CHANGES[change](commands, planned)
    names, count = commands.names(), len(commands.calls)
    with pytest.raises(TargetChanged, match="since the work was planned"):
        Publication(staging).publish(T1, planned, {})
    assert commands.names() == names
    assert {call[1] for call in commands.calls[count:]} == {"get"}


def test_a_target_that_got_a_snapshot_more_is_still_the_planned_one(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1)
    planned = staging.read_target()
    staging.create()
    take_snapshot(staging, S1, "ours")
    commands.output("zfs", "snapshot", "zsd/SV@s2")
    assert Publication(staging).publish(T1, planned, {}).replaced == f"{AREA}/replaced/SV-{T1}"


def begin(staging: Staging, *, is_extension: bool) -> None:
    """Begin staging with s1: that of the target, or another one that replaces it."""
    if is_extension:
        staging.clone_target(S1)
    else:
        staging.create()
        take_snapshot(staging, S1, "new")


@pytest.mark.parametrize("is_extension", [True, False])
@pytest.mark.parametrize("moment", ["unmount", "rename"])
@pytest.mark.parametrize("lost", ["s2", "s3"])
@pytest.mark.parametrize("how", ["destroy", "rename"])
def test_a_snapshot_that_somebody_removes_in_the_last_moment_is_missed(
    commands: FakeZfs,
    staging: Staging,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_extension: bool,
    moment: str,
    lost: str,
    how: str,
) -> None:
    publish_series(staging, S1)
    begin(staging, is_extension=is_extension)
    take_snapshot(staging, S2, "two")
    take_snapshot(staging, S3, "three")
    identities = {one: f"uuid-{one}" for one in (S1, S2, S3)}
    plain, dataset = commands.output, commands.datasets[f"{AREA}/staging/SV"]
    (snapshot,) = (one for one in dataset.snapshots if one.name == lost)

    def output(*argv: str, **options: Any) -> str:
        if argv[1] == moment and dataset.name in argv:
            monkeypatch.undo()
            if how == "destroy":
                dataset.snapshots.remove(snapshot)
            else:
                snapshot.name = "kept"
        return plain(*argv, **options)

    monkeypatch.setattr(commands, "output", output)
    publication = Publication(staging)
    with pytest.raises(TargetChanged, match=f"verified snapshots were removed from .*: {lost}$"):
        publication.publish(T1, staging.read_target(), identities)
    publication.take_back()
    assert target_names(staging) == ["s1"]
    assert (mounted_root(staging) / "file").read_text() == "s1"
    assert {*chain_names(staging)} >= {"s1", "s2", "s3"} - {lost}


# What is published is what was verified, of its source.
MARKS: dict[str, dict[str, str | None]] = {
    "complete": {},
    "no mark": {"verified": None},
    "unknown mark": {"verified": "partly"},
    "another source": {"source_uuid": "uuid-of-another"},
    "no source": {"source_uuid": None},
}


@pytest.mark.parametrize("is_extension", [True, False])
@pytest.mark.parametrize("marks", MARKS)
def test_staging_is_whole_if_each_snapshot_is_verified_and_of_its_source(
    commands: FakeZfs, staging: Staging, marks: str, *, is_extension: bool
) -> None:
    if is_extension:
        publish_series(staging, S1)
        staging.clone_target(S1)
        first = "zsd/SV@s1"
    else:
        staging.create()
        take_snapshot(staging, S1, "one")
        first = f"{AREA}/staging/SV@s1"
    take_snapshot(staging, S2, "two")
    for key, value in MARKS[marks].items():
        properties = commands.properties(first)
        del properties[PROPERTY_PREFIX + key]
        if value is not None:
            properties[PROPERTY_PREFIX + key] = value
    publication = Publication(staging)
    if marks == "complete":
        publication.check_whole({S1: "uuid-s1", S2: "uuid-s2"})
        return
    with pytest.raises(TargetChanged, match=r"removed from .*: s1$"):
        publication.check_whole({S1: "uuid-s1", S2: "uuid-s2"})


def test_a_kept_target_stays_while_there_is_a_target(commands: FakeZfs, staging: Staging) -> None:
    """Staging names it, as after a publication that somebody else's dataset overtook."""
    publish_series(staging, S1)
    commands.output("zfs", "create", f"{AREA}/replaced/SV-{T1}")
    staging.create()
    aside = f"{PROPERTY_PREFIX}aside={AREA}/replaced/SV-{T1}"
    commands.output("zfs", "set", aside, f"{AREA}/staging/SV")
    count = len(commands.calls)
    assert Publication(staging).take_back() is None
    assert {call[1] for call in commands.calls[count:]} == {"get"}


def test_snapshots_with_other_names_may_come_and_go_and_are_kept_with_the_target(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1)
    commands.output("zfs", "snapshot", "zsd/SV@hourly")
    planned = staging.read_target()
    staging.create()
    take_snapshot(staging, S1, "ours")
    commands.output("zfs", "destroy", "zsd/SV@hourly")
    commands.output("zfs", "snapshot", "zsd/SV@mine")
    assert Publication(staging).publish(T1, planned, {}).replaced == f"{AREA}/replaced/SV-{T1}"
    assert f"{AREA}/replaced/SV-{T1}@mine" in commands.names()


@pytest.mark.parametrize("is_extension", [True, False])
def test_a_publication_that_is_interrupted_at_any_point_is_finished_by_another(
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
        begin(staging, is_extension=is_extension)
        take_snapshot(staging, S2, "two")
        commands.fail_after(count)
        try:
            Publication(staging).publish(T1, staging.read_target(), {})
        except CommandFailed:
            commands.fail_after(None)
            if staging.read_staging() is not None:
                assert chain_names(staging)[-1:] == ["s2"]
                Publication(staging).publish(T2, staging.read_target(), {})
        else:
            assert count > 5
            break
        assert target_names(staging) == ["s1", "s2"]
        assert (mounted_root(staging) / "file").read_text() == "two"


@pytest.mark.parametrize("is_extension", [True, False])
def test_a_publication_that_is_interrupted_at_any_point_can_be_undone(
    tmp_path: Path, *, is_extension: bool
) -> None:
    """The undoing too may be interrupted: the n-th zfs command of each fails, for every n."""
    for count, again in product(range(100), range(9)):
        directory = tmp_path / f"{count}-{again}"
        directory.mkdir()
        commands = FailingZfs(directory)
        staging = staging_of(commands, "r1")
        staging.area.prepare()
        publish_series(staging, S1)
        staging.clone_target(S1)  # an earlier kept target must not come back
        take_snapshot(staging, S2, "s2")
        Publication(staging).publish(T0, staging.read_target(), {})
        mounted_root(staging)
        if is_extension:
            staging.clone_target(S2)
        else:
            staging.create()
            take_snapshot(staging, S1, "one")
            take_snapshot(staging, S2, "two")
        take_snapshot(staging, S3, "three")
        commands.fail_after(count)
        with suppress(CommandFailed):
            Publication(staging).publish(T1, staging.read_target(), {})
        commands.fail_after(None)
        if staging.read_staging() is None:
            assert count > 5
            break
        commands.fail_after(again)
        with suppress(CommandFailed):
            Publication(staging).take_back()
        commands.fail_after(None)
        Publication(staging).take_back()
        assert target_names(staging) == ["s1", "s2"]
        assert (mounted_root(staging) / "file").read_text() == "s2"
        assert chain_names(staging) == ["s1", "s2", "s3"]
        kept = Publication(staging).publish(T2, staging.read_target(), {}).replaced
        assert kept == f"{AREA}/replaced/SV-{T2}"
        assert target_names(staging) == ["s1", "s2", "s3"]


def test_a_target_that_an_administrator_moved_or_that_was_replaced_earlier_does_not_come_back(
    commands: FakeZfs, staging: Staging
) -> None:
    publish_series(staging, S1)
    commands.output("zfs", "unmount", "zsd/SV")
    commands.output("zfs", "rename", "zsd/SV", f"{AREA}/replaced/SV-{T0}")
    before = commands.names()
    assert Publication(staging).take_back() is None
    staging.create()
    take_snapshot(staging, S1, "new")
    assert Publication(staging).take_back() is None
    assert commands.names() == sorted([*before, f"{AREA}/staging/SV", f"{AREA}/staging/SV@s1"])


def test_a_kept_target_of_a_repository_whose_name_begins_alike_does_not_come_back(
    commands: FakeZfs, staging: Staging
) -> None:
    """SV and SV-2020 both have a kept target, and staging of SV names that of SV-2020."""
    for repo in ("SV", "SV-2020"):
        commands.output("zfs", "create", f"{AREA}/replaced/{repo}-{T1}")
    staging.create()
    commands.output(
        *("zfs", "set", f"{PROPERTY_PREFIX}aside={AREA}/replaced/SV-2020-{T1}"),
        f"{AREA}/staging/SV",
    )
    before = commands.names()
    assert Publication(staging).take_back() is None
    assert commands.names() == before


def test_the_facts_of_a_target_are_the_object_of_a_result() -> None:
    facts = TargetFacts("zsd/SV", mountpoint="/zsd/SV")
    assert facts.to_json() == {"dataset": "zsd/SV", "mountpoint": "/zsd/SV", "replaced": None}
