"""What a replacement or an extension moved aside comes back, or is destroyed, by a verb."""

import os
import re

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
    assert (nothing.returncode, "nothing is kept" in nothing.stderr) == (1, True)
