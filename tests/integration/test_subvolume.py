"""What a real btrfs says about a subvolume."""

import time

from dsgmigd.source.subvolume import read_subvolume
from tests.integration.conftest import Bed
from tests.integration.trees import new_series, writing

# The kernel's coarse clock ticks every 1 to 10 ms; a creation has the time of the last tick.
_TICK_SECONDS = 0.02


def test_the_creation_of_a_snapshot_is_known_to_a_tick_of_the_clock(fresh_bed: Bed) -> None:
    moments = []
    for repo in ("A", "B", "C", "D"):
        before = time.time()
        series = new_series(fresh_bed, repo, writing(a="a"))
        after = time.time()
        subvolume = read_subvolume(str(series.directory / "s1"))
        assert subvolume is not None
        assert before - _TICK_SECONDS <= subvolume.created_at <= after
        moments.append(subvolume.created_at)
    assert moments == sorted(moments)
    assert any(moment % 1 for moment in moments), "cut to whole seconds"
