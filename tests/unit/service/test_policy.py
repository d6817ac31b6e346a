"""How often a request that failed for a passing reason is tried again."""

import pytest

from dsgmigd.service.policy import Retries


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


def test_by_default_a_request_is_retried_for_a_day_and_at_least_every_quarter_of_an_hour() -> None:
    retries, waits = Retries(), list[int]()
    while (delay := retries.delay_seconds(len(waits))) is not None:
        waits.append(delay)
    assert waits[:6] == [30, 60, 120, 240, 480, 900]
    assert set(waits[5:]) == {900}
    assert 86_400 <= sum(waits) < 86_400 + 900


def test_after_very_many_waits_the_delay_is_still_computed_at_once() -> None:
    assert Retries(1, 2, for_seconds=1_000_000).delay_seconds(10_000) == 2
