"""What marks say, and how they are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.request import VERIFY_LEVELS, VERIFY_STRENGTH, VerifyLevel
from dsgmigd.target.marks import (
    Against,
    Differs,
    Verified,
    differs_mark,
    mark_time,
    verified_mark,
    weakest,
)

LEVELS = st.sampled_from(VERIFY_LEVELS)
AGAINST = st.sampled_from(["source", "manifests"])
WORDS = st.text("abc0123456789:-TZ", min_size=1, max_size=30)


@given(LEVELS, WORDS, WORDS)
def test_a_mark_is_read_as_it_was_written(level: VerifyLevel, at: str, request_id: str) -> None:
    mark = Verified(level, at, request_id)
    assert verified_mark({"verified": str(mark)}) == mark


@given(st.integers(0, 10**12), LEVELS, AGAINST, WORDS, WORDS)
def test_a_mark_of_differences_is_read_as_it_was_written(
    count: int, level: VerifyLevel, against: Against, at: str, request_id: str
) -> None:
    mark = Differs(count, level, against, at, request_id)
    assert differs_mark({"differs": str(mark)}) == mark


@pytest.mark.parametrize("level", VERIFY_LEVELS)
def test_a_mark_of_an_older_version_has_neither_time_nor_request(level: VerifyLevel) -> None:
    assert verified_mark({"verified": level}) == Verified(level)


@pytest.mark.parametrize("text", ["", "yes", "completely 2026", " complete"])
def test_a_mark_without_a_level_is_none(text: str) -> None:
    assert verified_mark({"verified": text}) is None


def test_without_properties_nothing_is_marked() -> None:
    assert verified_mark({}) is None
    assert differs_mark({}) is None


@given(st.text().filter(lambda text: text != "none"))
def test_a_mark_of_differences_that_cannot_be_read_counts_all_the_same(text: str) -> None:
    assert differs_mark({"differs": text}) is not None


def test_what_was_refuted_differs_no_more() -> None:
    assert differs_mark({"differs": "none"}) is None


@pytest.mark.parametrize(
    ("against", "level", "witness", "ends"),
    [
        ("source", "complete", "source", True),
        ("source", "exhaustive", "source", True),
        ("source", "structure", "source", False),
        ("source", "exhaustive", "manifests", False),
        ("manifests", "complete", "manifests", True),
        ("manifests", "complete", "source", True),
        ("manifests", "changes", "source", False),
    ],
)
def test_only_what_is_as_strong_refutes(
    against: Against, level: VerifyLevel, witness: Against, *, ends: bool
) -> None:
    mark = Differs(3, "complete", against, "then", "r1")
    assert mark.is_refuted_by(level, witness) == ends


@given(LEVELS, AGAINST)
def test_only_the_strongest_refutes_what_cannot_be_read(
    level: VerifyLevel, against: Against
) -> None:
    assert Differs().is_refuted_by(level, against) == ((level, against) == ("exhaustive", "source"))


@given(LEVELS, LEVELS)
def test_levels_are_compared_by_their_strength(one: VerifyLevel, other: VerifyLevel) -> None:
    mark = Verified(one)
    assert mark.is_at_least(other) == (VERIFY_STRENGTH[one] >= VERIFY_STRENGTH[other])
    assert mark.exceeds(other) == (VERIFY_STRENGTH[one] > VERIFY_STRENGTH[other])
    assert mark.is_at_least(None)


def test_of_all_snapshots_the_weakest_may_be_said_and_of_these_the_oldest() -> None:
    old, new = Verified("complete", "2026-01-01"), Verified("complete", "2026-02-01")
    strong = Verified("exhaustive", "2025-01-01")
    assert weakest([new, strong, old]) == old
    assert weakest([strong]) == strong
    assert weakest([]) is None
    assert weakest([old, None]) is None


def test_a_time_is_in_utc_to_the_second() -> None:
    assert mark_time(0.9) == "1970-01-01T00:00:00Z"


def test_in_words_a_mark_says_how_many_against_what_and_when() -> None:
    found = Differs(3, "complete", "source", "then", "r1").describe()
    assert found == "has 3 differences to its source, found at then"
    alone = Differs(3, "complete", "manifests", "then", "r1").describe()
    assert alone == "has 3 differences to its own manifests, found at then"
    assert Differs().describe() == "is marked as different"
