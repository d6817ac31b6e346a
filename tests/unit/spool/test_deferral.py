"""When a request that failed for a passing reason is tried again."""

import pytest

from dsgmigd.deferral import Deferral, Moment, Retries
from dsgmigd.errors import TargetFull

FULL = TargetFull("no space", hint="make some")


@pytest.mark.parametrize(
    ("retries", "waits"),
    [
        (Retries(30, 900, for_seconds=3000), [30, 60, 120, 240, 480, 900, 900, 900]),
        (Retries(10, 25, for_seconds=60), [10, 20, 25, 25]),
        (Retries(60, 20, for_seconds=50), [20, 20, 20]),
        (Retries(for_seconds=0), []),
        (Retries(1, 1, for_seconds=1), [1]),
    ],
)
def test_each_wait_is_twice_the_last_until_the_longest_and_the_end(
    retries: Retries, waits: list[int]
) -> None:
    delays = [retries.delay_seconds(deferred) for deferred in range(len(waits) + 2)]
    assert delays == [*waits, None, None]


def test_a_wait_ends_by_the_clock_since_boot_or_with_the_boot() -> None:
    deferral = Deferral.of(
        FULL, now=Moment("boot", 100), delay_seconds=30, not_before="2026-01-01T00:00:00Z"
    )
    assert not deferral.is_due(Moment("boot", 129.9))
    assert deferral.is_due(Moment("boot", 130))
    assert deferral.is_due(Moment("the next boot", 1))


def test_a_record_says_all_of_it() -> None:
    deferral = Deferral.of(FULL, now=Moment("boot", 1), delay_seconds=2, not_before="then")
    assert deferral.to_json() == {
        "boot_id": "boot",
        "seconds": 3,
        "not_before": "then",
        "error": {"code": "target_full", "message": "no space", "hint": "make some"},
    }
    assert Deferral.from_json(deferral.to_json()) == deferral
    assert Deferral.from_json(None) is None


def test_this_moment_is_of_this_boot_and_later_than_the_last() -> None:
    first, second = Moment.now(), Moment.now()
    assert first.boot_id == second.boot_id
    assert first.boot_id
    assert 0 < first.seconds <= second.seconds
