"""What was found equal once need not be read again, and when that does not follow."""

import os
from dataclasses import dataclass, replace

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.verification.proof import Digests, Moments, Proofs

SECOND = 1_000_000_000


@dataclass(frozen=True)
class Side:
    """The four numbers that tell whether a file was touched."""

    inode: int = 300
    ctime_ns: int = 100 * SECOND
    mtime_ns: int = 90 * SECOND
    size: int = 5

    @property
    def status(self) -> os.stat_result:
        fields = (0o100644, self.inode, 1, 1, 0, 0, self.size, 0, 0, 0)
        times = {
            "st_mtime_ns": self.mtime_ns,
            "st_ctime_ns": self.ctime_ns,
            "st_atime_ns": 0,
        }
        floats = {name.removesuffix("_ns"): value / 1e9 for name, value in times.items()}
        return os.stat_result(fields, floats | times)


SOURCE = Side()
TARGET = Side(inode=7, ctime_ns=150 * SECOND)
LATER = Moments(source=(200.5, 300.5), target=250.5)


def holds(
    source: Side = SOURCE,
    target: Side = TARGET,
    entry_hash: int = 1,
    moments: Moments = LATER,
) -> bool:
    """Say whether the second walk takes a file as proven that the first found equal."""
    proofs = Proofs()
    proofs.add(SOURCE.status, TARGET.status, 1)
    proofs.begin_snapshot()
    return proofs.renew(source.status, target.status, entry_hash, moments)


def test_a_file_that_is_unchanged_on_both_sides_is_proven() -> None:
    assert holds()


@pytest.mark.parametrize("attribute", ["inode", "ctime_ns", "mtime_ns", "size"])
@pytest.mark.parametrize("is_source", [True, False])
def test_a_file_that_differs_in_anything_on_either_side_is_not_proven(
    attribute: str, *, is_source: bool
) -> None:
    side = SOURCE if is_source else TARGET
    changed = replace(side, **{attribute: getattr(side, attribute) + 1})
    assert not (holds(source=changed) if is_source else holds(target=changed))


def test_a_file_with_another_entry_in_the_manifest_is_not_proven() -> None:
    assert not holds(entry_hash=2)


def test_what_was_not_found_equal_in_the_walk_before_is_not_proven() -> None:
    proofs = Proofs()
    proofs.begin_snapshot()
    assert not proofs.renew(SOURCE.status, TARGET.status, 1, LATER)


def test_every_name_of_a_hard_link_is_proven_by_its_own_entry() -> None:
    proofs = Proofs()
    for entry_hash in (1, 2):
        proofs.add(SOURCE.status, TARGET.status, entry_hash)
    proofs.begin_snapshot()
    answers = [proofs.renew(SOURCE.status, TARGET.status, one, LATER) for one in (1, 2, 3)]
    assert answers == [True, True, False]


def test_a_proof_lasts_for_one_walk_only() -> None:
    proofs = Proofs()
    proofs.add(SOURCE.status, TARGET.status, 1)
    proofs.begin_snapshot()
    proofs.begin_snapshot()
    assert not proofs.renew(SOURCE.status, TARGET.status, 1, LATER)


def test_a_walk_does_not_prove_by_itself() -> None:
    proofs = Proofs()
    proofs.add(SOURCE.status, TARGET.status, 1)
    assert not proofs.renew(SOURCE.status, TARGET.status, 1, LATER)


def test_without_a_target_snapshot_before_nothing_is_proven() -> None:
    assert not holds(moments=Moments(source=(200.5,), target=None))
    assert not holds(moments=Moments())


@pytest.mark.parametrize(
    ("ctime_ns", "is_proven"),
    [
        (250 * SECOND + SECOND // 2 - 21_000_000, True),
        # Within a tick of the clock, and after it.
        (250 * SECOND + SECOND // 2 - 19_000_000, False),
        (250 * SECOND + SECOND // 2 + 1, False),
        (260 * SECOND + 1, False),
        # A target that keeps whole seconds.
        (249 * SECOND, True),
        (250 * SECOND, False),
        (260 * SECOND, False),
    ],
)
def test_a_target_file_that_may_have_been_touched_after_the_snapshot_is_not_proven(
    ctime_ns: int, *, is_proven: bool
) -> None:
    proofs = Proofs()
    target = replace(TARGET, ctime_ns=ctime_ns)
    proofs.add(SOURCE.status, target.status, 1)
    proofs.begin_snapshot()
    assert proofs.renew(SOURCE.status, target.status, 1, LATER) == is_proven


@pytest.mark.parametrize("distance", [0, 1, -249_000_000, 19_000_000])
@pytest.mark.parametrize("moment", [200.5, 300.5])
def test_a_source_file_touched_while_a_source_snapshot_was_created_is_not_proven(
    distance: int, moment: float
) -> None:
    proofs = Proofs()
    source = replace(SOURCE, ctime_ns=int(moment * SECOND) + distance)
    proofs.add(source.status, TARGET.status, 1)
    proofs.begin_snapshot()
    assert not proofs.renew(source.status, TARGET.status, 1, LATER)


@pytest.mark.parametrize("distance", [-251_000_000, 21_000_000, SECOND // 2])
def test_a_source_file_touched_before_or_after_that_is_proven(distance: int) -> None:
    proofs = Proofs()
    source = replace(SOURCE, ctime_ns=int(200.5 * SECOND) + distance)
    proofs.add(source.status, TARGET.status, 1)
    proofs.begin_snapshot()
    assert proofs.renew(source.status, TARGET.status, 1, LATER)


def test_inode_numbers_of_64_bits_are_told_apart() -> None:
    proofs = Proofs()
    large = replace(SOURCE, inode=2**64 - 2)
    proofs.add(large.status, TARGET.status, 2**64 - 1)
    proofs.begin_snapshot()
    assert proofs.renew(large.status, TARGET.status, 2**64 - 1, LATER)
    assert not proofs.renew(replace(large, inode=2**64 - 3).status, TARGET.status, 2**64 - 1, LATER)


@pytest.mark.parametrize("mtime_ns", [-(2**62), 2**63, 16_725_225_600 * SECOND])
def test_times_of_any_century_are_proof_too(mtime_ns: int) -> None:
    side = Side(mtime_ns=mtime_ns).status
    proofs = Proofs()
    proofs.add(side, side, 1)
    proofs.begin_snapshot()
    assert proofs.renew(side, side, 1, Moments(target=200.0))


# Many files at once.

near = st.integers(-3 * SECOND, 3 * SECOND) | st.sampled_from([0, -250_000_000, 20_000_000])
moments = st.builds(
    Moments,
    source=st.lists(near.map(lambda ns: 100 + ns / SECOND), max_size=2).map(tuple),
    target=st.none() | near.map(lambda ns: 100 + ns / SECOND),
)


@given(moments, near, near, st.integers(0, 2 * SECOND), st.integers(0, 2 * SECOND))
def test_what_is_certain_for_all_files_is_so_for_each(
    moments: Moments, source: int, target: int, earlier: int, later: int
) -> None:
    source, target = 100 * SECOND + source, 100 * SECOND + target
    if moments.allow_all_proofs(source // SECOND, target // SECOND):
        assert moments.allow_proof(source - earlier, target - later)
        assert moments.allow_proof(source // SECOND * SECOND, target // SECOND * SECOND)


@pytest.mark.parametrize(
    ("source", "target", "is_certain"),
    [(100, 150, True), (199, 150, True), (200, 150, False), (100, 249, True), (100, 250, False)],
)
def test_it_is_certain_for_all_files_that_were_touched_long_before(
    source: int, target: int, *, is_certain: bool
) -> None:
    assert LATER.allow_all_proofs(source, target) == is_certain
    assert not Moments(LATER.source).allow_all_proofs(source, target)
    assert Moments(target=LATER.target).allow_all_proofs(source, target) == (target < 250)


# The compact set of digests, against Python's own.


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
