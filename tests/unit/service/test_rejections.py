"""After how many rejected requests of one owner the next ones have to wait."""

import os

import pytest

from dsgmigd.service.rejections import LIMIT, WITHIN_SECONDS, Rejections

ANA, BEN = 4_000_000_000, 4_000_000_001


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_owner_reaches_the_limit_by_himself(clock: Clock) -> None:
    rejections = Rejections(clock)
    for _ in range(LIMIT - 1):
        rejections.add(ANA)
        rejections.add(BEN)
    assert rejections.limited() == set()
    rejections.add(ANA)
    assert rejections.limited() == {ANA}


def test_as_many_are_answered_in_each_hour(clock: Clock) -> None:
    rejections, answered = Rejections(clock), 0
    for _ in range(3 * 60):  # one a minute is tried, for three hours
        for _ in range(10):
            if ANA not in rejections.limited():
                rejections.add(ANA)
                answered += 1
        clock.seconds += 60
    assert answered == 3 * LIMIT


def test_an_hour_later_nothing_is_remembered(clock: Clock) -> None:
    rejections = Rejections(clock)
    for _ in range(LIMIT):
        rejections.add(ANA)
    clock.seconds += WITHIN_SECONDS
    assert rejections.limited() == set()
    assert len(rejections._answered) == 0  # what it keeps does not grow


@pytest.mark.parametrize("uid", [0, os.geteuid()])
def test_root_and_the_daemons_user_have_no_limit(clock: Clock, uid: int) -> None:
    rejections = Rejections(clock)
    for _ in range(2 * LIMIT):
        rejections.add(uid)
    assert rejections.limited() == set()


def test_the_limit_is_told_once_an_hour_for_each_owner(clock: Clock) -> None:
    rejections = Rejections(clock)
    assert [rejections.is_news(ANA), rejections.is_news(ANA), rejections.is_news(BEN)] == [
        True,
        False,
        True,
    ]
    clock.seconds += WITHIN_SECONDS
    assert rejections.is_news(ANA)
