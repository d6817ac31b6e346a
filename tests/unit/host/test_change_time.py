"""What a ctime proves."""

import pytest

from dsgmigd.host.change_time import came_before

SECOND = 10**9


@pytest.mark.parametrize(
    ("ctime_ns", "moment_ns", "is_before"),
    [
        (5 * SECOND + 1, 6 * SECOND, True),
        (5 * SECOND + 1, 5 * SECOND + 20_000_001, False),
        (5 * SECOND + 1, 5 * SECOND + 20_000_002, True),
        (6 * SECOND + 1, 5 * SECOND, False),
        # It may have been cut: the change came at any time of that second.
        (5 * SECOND, 5 * SECOND + 900_000_000, False),
        (5 * SECOND, 6 * SECOND + 20_000_000, True),
        (0, 0, False),
    ],
)
def test_a_change_came_before_a_moment_only_if_that_is_certain(
    ctime_ns: int, moment_ns: int, *, is_before: bool
) -> None:
    assert came_before(ctime_ns, moment_ns) == is_before
