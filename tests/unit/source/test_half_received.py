"""What an interrupted `btrfs receive` leaves is named."""

from dataclasses import replace

import pytest

from dsgmigd.names import SnapshotName
from dsgmigd.source.half_received import describe_half_received
from dsgmigd.source.repository import Repository, SnapshotDirectory
from tests.unit.source.fake_btrfs import subvolume
from tests.unit.source.repositories import SV

RECEIVED = replace(subvolume("u"), received_uuid="r")
OURS = subvolume("u")
WRITABLE = subvolume("u", is_read_only=False)
FORCED = replace(RECEIVED, is_read_only=False)


def warnings(
    kinds: list[object], limit: int | None = None, original: list[object] | None = None
) -> list[str]:
    def series(directory: str, kinds: list[object]) -> Repository:
        snapshots = [
            SnapshotDirectory(SnapshotName(number), f"{directory}/s{number}", kind)  # type: ignore[arg-type]
            for number, kind in enumerate(kinds, 1)
        ]
        return Repository(SV, "/source", directory, tuple(snapshots))

    made = series("SV-norm", kinds)
    vars(made)["_original"] = series("SV", original) if original else None
    return [one.partition(":")[0] for one in describe_half_received(made, limit)]


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ([RECEIVED, RECEIVED, WRITABLE], "s3 in SV-norm is writable and has no received UUID"),
        ([WRITABLE, RECEIVED, WRITABLE], "s1, s3 in SV-norm are writable and have no received"),
        ([RECEIVED, RECEIVED, RECEIVED], None),
        # Made here after the others were received, and finished.
        ([RECEIVED, RECEIVED, OURS], None),
        ([RECEIVED, FORCED], None),
        # Nothing was received: writable snapshots are as good as others.
        ([OURS, OURS, WRITABLE], None),
        ([WRITABLE, WRITABLE], None),
        ([RECEIVED, None], None),
        ([], None),
    ],
)
def test_a_writable_snapshot_in_a_received_series_is_named(
    kinds: list[object], words: str | None
) -> None:
    found = warnings(kinds)
    assert bool(found) == bool(words)
    assert not words or found[0].startswith(words)


def test_only_what_is_wanted_is_named() -> None:
    kinds: list[object] = [RECEIVED, RECEIVED, WRITABLE]
    assert warnings(kinds, limit=2) == []
    assert len(warnings(kinds, limit=3)) == 1


def test_the_original_of_a_copy_is_looked_at_too() -> None:
    (warning,) = warnings([WRITABLE] * 2, original=[RECEIVED, WRITABLE])
    assert warning == "s2 in SV is writable and has no received UUID, unlike s1"
