"""When a request that failed for a passing reason is tried again."""

from dsgmigd.errors import TargetFull
from dsgmigd.spool.deferral import Deferral, Moment

FULL = TargetFull("no space", hint="make some")


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
