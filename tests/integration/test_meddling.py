"""An administrator who works in the staging area while a worker does."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random

import bed
import pytest

from dsgmigd.names import SnapshotName
from tests.amounts import amount
from tests.integration import zfs_kind
from tests.integration.conftest import Bed, write_config
from tests.integration.meanwhile import meanwhile
from tests.integration.processes import assert_clean, wait_for, wait_started, wait_verified
from tests.integration.trees import assert_migrated, new_series, writing
from tests.invariants import Asked, observe, violations

SNAPSHOTS = 8


def staging(made: Bed) -> str:
    return f"{made.parent}/.dsgmigd/staging/SV"


def test_a_verified_snapshot_that_somebody_destroys_is_missed_before_publication(
    fresh_bed: Bed,
) -> None:
    changes = [writing(a=f"{number}") for number in range(SNAPSHOTS)]
    series = new_series(fresh_bed, "SV", *changes)
    fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    fresh_bed.drop("SV")
    wait_verified(fresh_bed, "SV", "s2")
    bed.destroy(f"{staging(fresh_bed)}@s1")
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["error"]["code"]) == ("failed", "target_changed")
    assert "@s1" in result["error"]["message"] or result["error"]["message"].endswith(": s1")
    fresh_bed.drop("SV")
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, SNAPSHOTS)
    assert_clean(fresh_bed)


def test_a_target_whose_mountpoint_is_taken_is_published_and_said_not_to_be_mounted(
    fresh_bed: Bed,
) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"))
    taken = fresh_bed.mountpoint / "SV"
    taken.mkdir()
    (taken / "something").touch()
    planned = fresh_bed.dsgmigd("plan", "SV").stdout
    assert f"SV will be published, but not mounted: {taken} has 'something' in it" in planned
    for outcome in ("done", "up_to_date"):
        result = fresh_bed.migrate("SV")
        assert (result["outcome"], result["target"]["mountpoint"]) == (outcome, None)
        assert "is published, but not mounted" in result["warnings"][-1]
        assert os.listdir(taken) == ["something"]
    (taken / "something").unlink()
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["target"]["mountpoint"]) == ("up_to_date", str(taken))
    assert_migrated(fresh_bed, "SV", series.directory, 1)


def test_a_link_at_the_mountpoint_is_not_followed(fresh_bed: Bed, tmp_path: Path) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    (fresh_bed.mountpoint / "SV").symlink_to(tmp_path)
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["target"]["mountpoint"]) == ("done", None)
    assert "is a symbolic link to" in result["warnings"][-1]
    assert os.listdir(tmp_path) == []


@zfs_kind.target_that_mounts_over_files
def test_what_a_published_dataset_hides_already_is_named_when_it_is_extended(
    fresh_bed: Bed,
) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"), writing(a="b"))
    assert fresh_bed.migrate("SV", "--limit", "1")["outcome"] == "done"
    dataset, taken = f"{fresh_bed.parent}/SV", fresh_bed.mountpoint / "SV"
    bed.run_when_free("zfs", "unmount", dataset)
    (taken / "hidden").touch()
    bed.run_when_free("zfs", "mount", dataset)
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["target"]["mountpoint"]) == ("done", str(taken))
    assert result["warnings"][-1].endswith(f"mounted over something: {taken} has 'hidden' in it")
    assert_migrated(fresh_bed, "SV", series.directory, 2)


def meddling(made: Bed, seed: int) -> AbstractContextManager[list[str]]:
    """Do random things to staging and its snapshots; give the list of what was done."""
    chance = Random(seed)  # noqa: S311

    def choose() -> tuple[str, ...]:
        one, other = (f"s{chance.randint(1, SNAPSHOTS)}" for _ in range(2))
        commands: list[tuple[str, ...]] = [
            ("destroy", f"{staging(made)}@{one}"),
            ("rename", f"{staging(made)}@{one}", f"{staging(made)}@{other}"),
            ("rename", f"{staging(made)}@{one}", f"{staging(made)}@kept-{other}"),
            ("snapshot", f"{staging(made)}@{one}"),
            ("snapshot", f"{staging(made)}@autosnap-{chance.getrandbits(32)}"),
            ("rollback", f"{staging(made)}@{one}"),
            ("unmount", staging(made)),
            ("rename", staging(made), f"{made.parent}/.dsgmigd/staging/MINE"),
            ("inherit", "org.hrdag.dsgmigd:request", staging(made)),
        ]
        if zfs_kind.CAN_DESTROY_CLONES_IN_USE:
            commands.append(("destroy", f"{made.parent}/.dsgmigd/views/SV"))
        return chance.choice(commands)

    return meanwhile(choose, lambda: chance.uniform(0.05, 0.4))


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(int(amount("DSGMIGD_MEDDLERS"))))
def test_whatever_somebody_does_in_staging_nothing_half_made_is_published(
    fresh_bed: Bed, seed: int
) -> None:
    series = new_series(fresh_bed, "SV", *[writing(a=f"{one}") for one in range(SNAPSHOTS)])
    world = observe(
        spool=fresh_bed.spool, source_root=fresh_bed.source_root, parent=fresh_bed.parent
    )
    write_config(fresh_bed)
    fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    asked = 0
    with meddling(fresh_bed, seed) as done:
        while asked < (6 if done else 30) and len(done) < 8:
            fresh_bed.drop("SV")
            asked += 1
            outcome = fresh_bed.wait_result("SV")["outcome"]
            if outcome in {"done", "up_to_date"}:
                _destroy_others_snapshots(fresh_bed)
                assert_migrated(fresh_bed, "SV", series.directory, SNAPSHOTS)
                if not done:  # the worker was too quick for the administrator
                    bed.destroy("-r", f"{fresh_bed.parent}/SV")
    assert "Traceback" not in fresh_bed.words()
    wait_for(lambda: not list(fresh_bed.spool.glob("SV.claim.*")), "the end", made=fresh_bed)
    _take_back(fresh_bed)
    fresh_bed.drop("SV")
    assert fresh_bed.wait_result("SV")["outcome"] in {"done", "up_to_date"}, done
    _destroy_others_snapshots(fresh_bed)
    assert_migrated(fresh_bed, "SV", series.directory, SNAPSHOTS)
    found = violations(world, Asked({"SV": asked + 1}))
    if any(command.startswith("inherit") for command in done):
        # He may have taken the mark away between dsgmigd's last look and its rename.
        found = [one for one in found if not one.startswith(f"I3 {fresh_bed.parent}/SV:")]
    assert found == []


def _destroy_others_snapshots(made: Bed) -> None:
    """Destroy what the administrator added between dsgmigd's last look and its rename."""
    for name in made.snapshots("SV"):
        if not SnapshotName.is_valid(name):
            bed.destroy(f"{made.parent}/SV@{name}")


def _take_back(made: Bed) -> None:
    """Destroy what the administrator made his own, and unmount nothing that is published."""
    # A view that an interrupted run left is a clone of the staging dataset.
    for area in (f"{made.parent}/.dsgmigd/views", f"{made.parent}/.dsgmigd/staging"):
        names = bed.run("zfs", "list", "-H", "-o", "name", "-r", area).splitlines()
        for name in names[:0:-1]:
            bed.destroy("-r", name)
