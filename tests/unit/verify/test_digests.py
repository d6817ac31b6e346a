"""A compact set, against Python's own."""

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.verify.digests import Digests


@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)))
def test_what_was_added_is_in_and_nothing_else_is(added: set[int], asked: set[int]) -> None:
    digests = Digests()
    assert not digests
    for number in added:
        digests.add(_digest(number))
        digests.add(_digest(number))
    assert bool(digests) == bool(added)
    assert {number for number in asked if _digest(number) in digests} == added & asked


def test_digests_that_begin_alike_are_told_apart() -> None:
    digests = Digests()
    digests.add(b"ab" + b"0" * 14)
    digests.add(b"ab" + b"1" * 14)
    found = [b"ab" + digit * 14 in digests for digit in (b"0", b"1", b"2")]
    assert found == [True, True, False]


def test_many_digests_are_found_again() -> None:
    digests = Digests()
    for number in range(200_000):
        digests.add(_digest(number))
    assert all(_digest(number) in digests for number in range(0, 200_000, 997))
    assert not any(_digest(number) in digests for number in range(200_000, 201_000))


def _digest(number: int) -> bytes:
    return xxhash.xxh3_128_digest(number.to_bytes(8, "little"))
