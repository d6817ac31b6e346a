"""The previous target of a replacement or an extension comes back, or is destroyed, on command."""

import os
import re
from pathlib import Path

import bed

from tests.integration.conftest import Bed
from tests.integration.trees import assert_migrated, new_series, write, writing


def kept(made: Bed) -> list[str]:
    return re.findall(r"^([0-9]{8}T[0-9]{6}Z) ", made.dsgmigd("purge", "SV").stdout, re.MULTILINE)


def test_an_extension_is_taken_back_extended_again_and_purged(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", writing(a="1"), writing(a="2"))
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    series.push(writing(a="3"))
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    said = fresh_bed.dsgmigd("rollback", "SV").stdout
    assert f"is {fresh_bed.parent}/SV again" in said
    assert fresh_bed.snapshots("SV") == ["s1", "s2"]
    assert fresh_bed.verified("SV")["outcome"] == "verified"
    assert (fresh_bed.mountpoint / "SV/a").read_text() == "2"
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, 3)
    assert len(kept(fresh_bed)) == 2
    fresh_bed.dsgmigd("purge", "SV", "--all")
    assert kept(fresh_bed) == []
    assert_migrated(fresh_bed, "SV", series.directory, 3)


def test_a_foreign_dataset_that_was_replaced_comes_back_and_is_never_destroyed(
    fresh_bed: Bed,
) -> None:
    bed.run("zfs", "create", f"{fresh_bed.parent}/SV")
    write(fresh_bed.mountpoint / "SV/precious")
    new_series(fresh_bed, "SV", writing(a="1"))
    assert fresh_bed.migrate("SV", "--replace")["outcome"] == "done"
    (when,) = kept(fresh_bed)
    refused = fresh_bed.dsgmigd("purge", "SV", when, check=False)
    assert (refused.returncode, "target_changed" in refused.stderr) == (1, True)
    fresh_bed.dsgmigd("rollback", "SV")
    assert os.listdir(fresh_bed.mountpoint / "SV") == ["precious"]
    (aside,) = kept(fresh_bed)
    fresh_bed.dsgmigd("purge", "SV", aside)
    assert kept(fresh_bed) == []
    nothing = fresh_bed.dsgmigd("rollback", "SV", check=False)
    assert (nothing.returncode, "no previous target" in nothing.stderr) == (1, True)


def test_a_hold_that_prevents_a_purge_is_named(fresh_bed: Bed) -> None:
    """ZFS itself only says that the snapshot is busy."""
    series = new_series(fresh_bed, "SV", writing(a="1"))
    fresh_bed.migrate("SV")
    series.push(writing(a="2"))
    fresh_bed.migrate("SV")
    fresh_bed.dsgmigd("rollback", "SV")
    (when,) = kept(fresh_bed)
    snapshot = f"{fresh_bed.parent}/.dsgmigd/replaced/SV-{when}@s2"
    bed.run("zfs", "hold", "backup", snapshot)
    try:
        refused = fresh_bed.dsgmigd("purge", "SV", when, check=False)
    finally:
        bed.run("zfs", "release", "backup", snapshot)
    assert f"a hold keeps {snapshot}" in refused.stderr
    assert f"zfs release TAG {snapshot}" in refused.stderr
    fresh_bed.dsgmigd("purge", "SV", when)
    assert kept(fresh_bed) == []


def test_what_is_kept_is_not_mounted_where_users_look_for_the_target(
    fresh_bed: Bed, tmp_path: Path
) -> None:
    """As it would be at the next boot."""
    target, place = f"{fresh_bed.parent}/SV", tmp_path / "users"
    series = new_series(fresh_bed, "SV", writing(a="1"))
    fresh_bed.migrate("SV")
    bed.run("zfs", "set", f"mountpoint={place}", target)
    series.push(writing(a="2"))
    fresh_bed.migrate("SV")
    bed.run("zfs", "mount", "-a")
    assert not place.exists() or os.listdir(place) == []
    assert (fresh_bed.mountpoint / "SV/a").read_text() == "2"

    fresh_bed.dsgmigd("rollback", "SV")

    assert (place / "a").read_text() == "1"
    bed.run("zfs", "unmount", target)
    # zfs-fuse may still be busy with what it has just unmounted.
    bed.run_when_free("zfs", "mount", "-a")
    assert (place / "a").read_text() == "1"
    bed.run("zfs", "inherit", "mountpoint", target)


def test_a_dataset_that_comes_back_hides_no_files(fresh_bed: Bed) -> None:
    """OpenZFS would mount it over them, and through a symbolic link; zfs-fuse refuses files."""
    series = new_series(fresh_bed, "SV", writing(a="1"))
    fresh_bed.migrate("SV")
    series.push(writing(a="2"))
    fresh_bed.migrate("SV")
    bed.run_when_free("zfs", "unmount", f"{fresh_bed.parent}/SV")
    write(fresh_bed.mountpoint / "SV/k")
    done = fresh_bed.dsgmigd("rollback", "SV", check=False)
    assert (done.returncode, "not mounted" in done.stdout) == (3, True)
    assert f"{fresh_bed.mountpoint}/SV has 'k' in it" in done.stderr
    assert os.listdir(fresh_bed.mountpoint / "SV") == ["k"]
    assert fresh_bed.snapshots("SV") == ["s1"]
    (fresh_bed.mountpoint / "SV/k").unlink()
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert (fresh_bed.mountpoint / "SV/a").read_text() == "2"
