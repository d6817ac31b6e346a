"""A series that `btrfs receive` brought, whose last snapshot it did not finish."""

import subprocess
from pathlib import Path

import bed
import pytest

from tests.integration.conftest import Bed
from tests.integration.trees import new_series, writing

CUT_BYTES = 100


def receive(stream: bytes, directory: Path) -> int:
    done = subprocess.run(
        ["btrfs", "receive", "-q", directory], input=stream, check=False, capture_output=True
    )
    return done.returncode


@pytest.fixture
def received(fresh_bed: Bed) -> Path:
    """SV with s1 and s2 received and s3 cut off; ORIGIN has all three."""
    edits = (writing(a="1"), writing(b="2"), writing(c="3", d="4"))
    # A push log names its repository, and this one gets another name.
    origin = new_series(fresh_bed, "ORIGIN", *edits, has_push_log=False)
    directory = fresh_bed.source_root / "SV"
    directory.mkdir()
    for number in (1, 2, 3):
        parent = ("-p", origin.snapshot(number - 1)) if number > 1 else ()
        command = ["btrfs", "send", "-q", *parent, origin.snapshot(number)]
        stream = subprocess.run(command, check=True, capture_output=True).stdout
        is_cut = number == 3
        assert bool(receive(stream[:-CUT_BYTES] if is_cut else stream, directory)) == is_cut
    assert "rw" not in bed.run("btrfs", "property", "get", "-ts", directory / "s2", "ro")
    assert (directory / "s3").is_dir()
    return directory


def test_a_snapshot_that_was_received_half_is_warned_of_by_name(
    fresh_bed: Bed, received: Path
) -> None:
    warning = (
        f"s3 in {received} is writable and has no received UUID, unlike s1, s2: an interrupted "
        "`btrfs receive` leaves such a snapshot; compare it with its origin"
    )
    assert f"warning: {warning}" in fresh_bed.dsgmigd("plan", "SV").stdout
    result = fresh_bed.migrate("SV")
    assert result["error"] is None
    assert warning in result["warnings"]
    assert warning not in fresh_bed.migrate("SV", "--limit", "2")["warnings"]
    assert "received UUID" not in "".join(fresh_bed.migrate("ORIGIN")["warnings"])


def test_the_original_of_a_normalised_copy_is_looked_at_too(fresh_bed: Bed, received: Path) -> None:
    copy = fresh_bed.source_root / "SV-norm"
    copy.mkdir()
    for number in (1, 2, 3):
        bed.run("btrfs", "subvolume", "snapshot", received / f"s{number}", copy / f"s{number}")
    warnings = fresh_bed.migrate("SV")["warnings"]
    assert [one for one in warnings if one.startswith(f"s3 in {received} is writable")]
