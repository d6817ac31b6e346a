"""What other programs on the host do to our datasets, and the pool's administrator sets on them."""

import itertools
import os
from contextlib import AbstractContextManager
from dataclasses import replace

import bed

from tests.integration import zfs_kind
from tests.integration.conftest import Bed, write_config
from tests.integration.meanwhile import meanwhile
from tests.integration.processes import assert_clean
from tests.integration.trees import assert_migrated, new_series, writing

COUNT = 4


def snapshots_of(dataset: str) -> AbstractContextManager[list[str]]:
    """Make snapshots of a dataset whenever it is there, as a timer may; give what worked."""
    numbers = itertools.count(1)
    return meanwhile(lambda: ("snapshot", f"{dataset}@auto-{next(numbers)}"), lambda: 0.02)


def test_snapshots_that_a_timer_makes_of_views_end_no_migration(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", *[writing(a=f"{one}") for one in range(COUNT)])
    with snapshots_of(f"{fresh_bed.parent}/.dsgmigd/views/SV"):
        result = fresh_bed.migrate("SV")
        # With the kernel's ZFS, only a published dataset is read through clones.
        assert fresh_bed.verified("SV")["outcome"] == "verified"
    assert result["outcome"] == "done", result["error"]
    assert_migrated(fresh_bed, "SV", series.directory, COUNT)
    assert fresh_bed.dsgmigd("doctor", "--fix").returncode == 0
    assert_clean(fresh_bed)


def test_snapshots_that_a_timer_makes_of_staging_are_named_and_not_published(
    fresh_bed: Bed,
) -> None:
    series = new_series(fresh_bed, "SV", *[writing(a=f"{one}") for one in range(COUNT)])
    with snapshots_of(f"{fresh_bed.parent}/.dsgmigd/staging/SV") as made:
        result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done", result["error"]
    _, _, first = made[0].partition("@")
    assert any(f"@{first} is not part of" in warning for warning in result["warnings"])
    late = fresh_bed.snapshots("SV")[COUNT:]  # between the last look and the rename
    assert not late or not zfs_kind.TELLS_WHERE_A_SNAPSHOT_WAS_MADE
    for name in late:
        assert any(f"@{name} was made by another" in warning for warning in result["warnings"])
        bed.destroy(f"{fresh_bed.parent}/SV@{name}")
    assert_migrated(fresh_bed, "SV", series.directory, COUNT)


@zfs_kind.target_with_holds
def test_a_held_snapshot_of_a_view_ends_no_migration_and_doctor_removes_it_later(
    fresh_bed: Bed,
) -> None:
    series = new_series(fresh_bed, "SV", *[writing(a=f"{one}") for one in range(COUNT)])
    assert fresh_bed.migrate("SV", "--limit", "1")["outcome"] == "done"
    area = f"{fresh_bed.parent}/.dsgmigd"
    view = f"{area}/views/SV"
    mark = ("-o", "org.hrdag.dsgmigd:request=dead", "-o", "readonly=on")
    bed.run("zfs", "clone", *mark, f"{fresh_bed.parent}/SV@s1", view)
    bed.run("zfs", "snapshot", f"{view}@auto")
    bed.run("zfs", "hold", "kept", f"{view}@auto")
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done", result["error"]
    assert any(view in warning for warning in result["warnings"])
    assert_migrated(fresh_bed, "SV", series.directory, COUNT)
    bed.run("zfs", "release", "kept", f"{view}@auto")
    assert fresh_bed.dsgmigd("doctor", "--fix").returncode == 0
    assert_clean(fresh_bed)


@zfs_kind.target_that_mounts_snapshots
def test_a_view_that_somebody_works_in_ends_no_migration_and_doctor_unmounts_it_later(
    fresh_bed: Bed,
) -> None:
    series = new_series(fresh_bed, "SV", *[writing(a=f"{one}") for one in range(COUNT)])
    new_series(fresh_bed, "OTHER", writing(a="a"))
    assert fresh_bed.migrate("OTHER")["outcome"] == "done"
    place = fresh_bed.mountpoint / ".dsgmigd/views/SV"
    place.mkdir(exist_ok=True)
    # One of SV's own would keep SV from being extended: ZFS promotes no clone of it then.
    bed.run("mount", "-t", "zfs", f"{fresh_bed.parent}/OTHER@s1", place)
    with (place / "a").open("rb"):
        result = fresh_bed.migrate("SV")
        assert result["outcome"] == "done", result["error"]
        assert any("views/SV could not be" in warning for warning in result["warnings"])
        assert_migrated(fresh_bed, "SV", series.directory, COUNT)
        done = fresh_bed.dsgmigd("doctor", "--fix", check=False)
        assert (done.returncode, str(place) in done.stdout) == (3, True), done.stdout
    assert fresh_bed.dsgmigd("doctor", "--fix").returncode == 0
    assert_clean(fresh_bed)


def test_tools_that_make_snapshots_by_a_timetable_are_told_to_leave_the_area_alone(
    fresh_bed: Bed,
) -> None:
    bed.run("zfs", "set", "com.sun:auto-snapshot=true", fresh_bed.parent)
    new_series(fresh_bed, "SV", writing(a="a"))
    assert fresh_bed.migrate("SV")["outcome"] == "done"

    def value(name: str) -> str:
        return bed.run("zfs", "get", "-H", "-o", "value", "com.sun:auto-snapshot", name).strip()

    assert value(f"{fresh_bed.parent}/.dsgmigd/views") == "false"
    assert value(f"{fresh_bed.parent}/SV") == "true"


def test_names_as_long_as_zfs_takes_are_published_and_longer_ones_refused_in_the_plan(
    fresh_bed: Bed,
) -> None:
    repo = "r" * 150
    beside = len(f"{fresh_bed.parent}//.dsgmigd/staging/{repo}@s1")
    parent = f"{fresh_bed.parent}/{'p' * (255 - beside)}"
    bed.run("zfs", "create", parent)
    made = replace(fresh_bed, parent=parent)
    write_config(made)
    new_series(made, repo, writing(a="a"), *[writing(a=f"{one}") for one in range(9)])
    result = made.migrate(repo, "--limit", "1")
    assert result["outcome"] == "done", result["error"]
    assert "cannot be extended or replaced later" in result["warnings"][0]
    result = made.migrate(repo)
    assert (result["error"]["code"], result["snapshots"]) == ("invalid_name", [])
    bed.destroy("-r", f"{parent}/{repo}")
    assert made.migrate(repo, "--limit", "9")["outcome"] == "done"
    bed.destroy("-r", f"{parent}/{repo}")
    result = made.migrate(repo)
    assert (result["error"]["code"], result["snapshots"]) == ("invalid_name", [])


@zfs_kind.target_with_volumes
def test_a_volume_with_the_name_of_a_repository_is_refused_in_the_plan(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    bed.run("zfs", "create", "-s", "-V", "10M", f"{fresh_bed.parent}/SV")
    done = fresh_bed.dsgmigd("plan", "SV", "--replace", check=False)
    assert (done.returncode, "SV is a volume" in done.stderr) == (1, True)


@zfs_kind.target_with_snapdir
def test_a_parent_that_shows_its_snapshots_takes_every_repository(fresh_bed: Bed) -> None:
    bed.run("zfs", "set", "snapdir=visible", fresh_bed.parent)
    series = new_series(fresh_bed, "SV", *[writing(a=f"{one}") for one in range(COUNT)])
    assert fresh_bed.migrate("SV", "--limit", "2")["outcome"] == "done"
    assert ".zfs" in os.listdir(fresh_bed.mountpoint / "SV")
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done", result["error"]
    assert_migrated(fresh_bed, "SV", series.directory, COUNT)
    for options in ((), ("--without-source",)):
        assert fresh_bed.verified("SV", *options)["outcome"] == "verified"
    done = fresh_bed.dsgmigd("repair-metadata", "SV", "--dry-run", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
