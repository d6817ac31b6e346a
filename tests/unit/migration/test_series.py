"""Which snapshots a dataset has to hold, and what may be missing in the source."""

import pytest

from dsgmigd.errors import NoSnapshots, SnapshotGap
from dsgmigd.migration.series import (
    SourceSnapshot,
    TargetSnapshot,
    TargetState,
    check_meets,
    first_of,
    known_series,
    present_series,
    wanted_numbers,
)
from dsgmigd.names import SnapshotName


def source(*numbers: int) -> list[SourceSnapshot]:
    return [SourceSnapshot(SnapshotName(number), f"u{number}", number) for number in numbers]


def target(*numbers: int, identity: str | None = "u", is_verified: bool = True) -> TargetState:
    return TargetState(
        tuple(
            TargetSnapshot(
                SnapshotName(one),
                identity and f"{identity}{one}",
                one,
                level="complete" if is_verified else None,
            )
            for one in numbers
        )
    )


@pytest.mark.parametrize(("limit", "last"), [(None, 4), (2, 2), (9, 4)])
def test_a_limit_ends_what_is_wanted(limit: int | None, last: int) -> None:
    assert list(wanted_numbers(source(4, 1), limit)) == list(range(1, last + 1))


def test_without_snapshots_nothing_can_be_wanted() -> None:
    with pytest.raises(NoSnapshots):
        wanted_numbers([], None)


def test_a_series_of_the_source_alone_has_no_gap() -> None:
    assert present_series(source(2, 1), range(1, 3), may_renumber=True) == tuple(source(1, 2))
    for may_renumber in (True, False):
        with pytest.raises(SnapshotGap, match="s1 … s3 has gaps: s2 missing") as caught:
            present_series(source(1, 3), range(1, 4), may_renumber=may_renumber)
        assert ("renumber" in caught.value.hint) is may_renumber


def test_the_target_stands_for_what_was_deleted() -> None:
    series = known_series(source(2, 4), target(1, 2, 3), range(1, 5))
    assert [(one.name.number, one.is_present) for one in series] == [
        *((1, False), (2, True), (3, False), (4, True))
    ]
    assert not series[0].is_sendable


@pytest.mark.parametrize(
    "state", [target(1, identity=None), target(1, is_verified=False)], ids=["foreign", "unverified"]
)
def test_what_is_not_known_to_be_the_sources_stands_for_nothing(state: TargetState) -> None:
    (series,) = known_series(source(2), state, range(1, 3))
    assert series.name.number == 2


@pytest.mark.parametrize(
    ("numbers", "held", "missing"),
    [
        ((2, 3, 4), (1, 2, 3), None),
        ((2,), (1, 2, 3), None),
        ((1, 2, 4), (1, 2, 3), "s3"),
        ((5,), (1, 2, 3), "s3, s4"),
    ],
)
def test_source_and_target_must_meet(
    numbers: tuple[int, ...], held: tuple[int, ...], missing: str | None
) -> None:
    wanted = wanted_numbers(source(*numbers), None)
    series = known_series(source(*numbers), target(*held), wanted)
    if missing is None:
        check_meets(series, target(*held), wanted)
        return
    with pytest.raises(SnapshotGap, match=f"gaps: {missing} missing"):
        check_meets(series, target(*held), wanted)


def test_of_much_evidence_the_first_pieces_are_shown() -> None:
    assert first_of(list("abcdefg"), ", ") == "a, b, c, d, e and 2 more"
