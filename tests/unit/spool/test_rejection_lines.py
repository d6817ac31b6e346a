"""Which rejected requests of members have a line in the ledger."""

from dsgmigd.spool.rejection_lines import LISTED, WITHIN_SECONDS, RejectionLines

ANA, BEN = 4001, 4002


def listed(lines: RejectionLines, owner: int, count: int, start: int = 0) -> dict[int, int]:
    """Reject `count` requests; return which of them have a line, and how many before have none."""
    answers = {
        number: lines.count_unlisted(owner, f"{owner}-{number}")
        for number in range(start + 1, start + count + 1)
    }
    return {number: answer for number, answer in answers.items() if answer is not None}


def test_the_first_of_a_day_are_listed_and_then_ever_fewer() -> None:
    assert listed(RejectionLines(), ANA, 100) == {
        **dict.fromkeys(range(1, LISTED + 1), 0),
        10: 4,
        20: 9,
        40: 19,
        80: 39,
    }


def test_a_member_who_floods_all_day_gets_a_score_of_lines() -> None:
    assert len(listed(RejectionLines(), ANA, 24 * 3600)) < 20


def test_lines_and_those_without_one_are_all_that_were_rejected() -> None:
    found = listed(RejectionLines(), ANA, 320)
    assert len(found) + sum(found.values()) == 320


def test_each_member_is_counted_for_himself() -> None:
    lines = RejectionLines()
    listed(lines, ANA, 50)
    assert listed(lines, BEN, 2) == {1: 0, 2: 0}


def test_the_next_day_begins_with_what_the_last_one_left_out() -> None:
    now = [0.0]
    lines = RejectionLines(clock=lambda: now[0])
    listed(lines, ANA, 12)
    now[0] += WITHIN_SECONDS
    assert listed(lines, ANA, 2, start=12) == {13: 2, 14: 0}


def test_a_request_that_is_recorded_again_after_a_failure_is_counted_once() -> None:
    lines = RejectionLines()
    listed(lines, ANA, 8)
    assert [lines.count_unlisted(ANA, "same") for _ in range(3)] == [None] * 3
    assert [lines.count_unlisted(ANA, "tenth") for _ in range(3)] == [4] * 3
