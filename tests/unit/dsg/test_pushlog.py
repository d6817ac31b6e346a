"""Push logs: lines that say something, lines that do not, and which file wins."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.dsg.pushlog import Push, PushLog, find_pushes, parse_push_log
from dsgmigd.names import SnapshotName, parse_repo_name

SV = parse_repo_name("SV")
TIME = "2014-05-07 17:27:26 UTC (Wed)"
MOMENT = 1399483646.0


def parse(text: str | bytes) -> PushLog:
    content = text.encode() if isinstance(text, str) else text
    return parse_push_log(content, SV, origin="log")


def only_push(line: str) -> Push:
    log = parse(line + "\n")
    assert log.warnings == ()
    (push,) = log.pushes.values()
    return push


def test_a_line_says_who_when_and_why() -> None:
    log = parse(f"SV/s7 | pball | {TIME} | message text\n")
    assert log == PushLog({SnapshotName(7): Push("pball", MOMENT, "message text")}, ())


def test_a_message_may_hold_the_separator() -> None:
    assert only_push(f"SV/s1 | u | {TIME} | a | b |c| d").message == "a | b |c| d"


@pytest.mark.parametrize("end", [" | ", " |", "", " |  ", " | --"])
def test_an_empty_message_is_two_dashes(end: str) -> None:
    assert only_push(f"SV/s1 | u | {TIME}{end}").message == "--"


def test_an_empty_user_is_unknown() -> None:
    assert only_push(f"SV/s1 |  | {TIME} | m").user == "unknown"


def test_the_day_of_the_week_may_be_missing() -> None:
    assert only_push("SV/s1 | u | 2014-05-07 17:27:26 UTC | m").pushed_at == MOMENT


def test_times_are_utc_whatever_the_local_time_zone_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert only_push(f"SV/s1 | u | {TIME} | m").pushed_at == MOMENT


def test_carriage_returns_empty_lines_and_a_missing_last_newline_do_not_matter() -> None:
    log = parse(f"\r\n\nSV/s1 | u | {TIME} | m\r\n  \nSV/s2 | u | {TIME} | n")
    assert [push.message for push in log.pushes.values()] == ["m", "n"]
    assert log.warnings == ()


def test_the_last_of_several_lines_on_one_snapshot_counts() -> None:
    log = parse(f"SV/s1 | u | {TIME} | first\nSV/s1 | u | {TIME} | second\n")
    assert log.pushes[SnapshotName(1)].message == "second"


def test_bytes_that_are_no_text_cost_a_character_and_not_the_line() -> None:
    log = parse(b"SV/s1 | u | " + TIME.encode() + b" | caf\xe9\n")
    assert log.pushes[SnapshotName(1)].message == "caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "not REPO/sN"),
        ("SV/s1 | u", "not REPO/sN"),
        (f"SV/s1|u|{TIME}|m", "not REPO/sN"),
        (f"CO/s1 | u | {TIME} | m", "'CO/s1' is not a snapshot of SV"),
        (f"SVx/s1 | u | {TIME} | m", "'SVx/s1' is not a snapshot of SV"),
        (f"SV/s01 | u | {TIME} | m", "is not a snapshot of SV"),
        (f"SV/s1/x | u | {TIME} | m", "is not a snapshot of SV"),
        (f"SV | u | {TIME} | m", "is not a snapshot of SV"),
        ("SV/s1 | u | yesterday | m", "yesterday"),
        ("SV/s1 | u | 2014-02-30 17:27:26 UTC | m", "day"),
        ("SV/s1 | u | 2014-05-07 17:27:26 PST | m", "PST"),
    ],
)
def test_a_line_that_says_nothing_usable_is_a_warning_with_its_number(
    line: str, words: str
) -> None:
    log = parse(f"SV/s2 | u | {TIME} | m\n{line}\n")
    assert list(log.pushes) == [SnapshotName(2)]
    assert log.warnings[0].startswith("log, line 2: ")
    assert words in log.warnings[0]


def test_a_repository_name_is_data_and_not_a_pattern() -> None:
    dotted = parse_repo_name("S.V")
    log = parse_push_log(f"SxV/s1 | u | {TIME} | m\n".encode(), dotted, origin="log")
    assert log.pushes == {}


@given(st.binary(max_size=100) | st.text(max_size=60).map(str.encode))
def test_no_bytes_are_an_error(content: bytes) -> None:
    assert isinstance(parse(content), PushLog)


def log_of(user: str, *numbers: int, warnings: tuple[str, ...] = ()) -> PushLog:
    return PushLog({SnapshotName(one): Push(user, MOMENT, "m") for one in numbers}, warnings)


def test_the_newest_log_that_has_a_line_wins_for_each_snapshot() -> None:
    logs = [log_of("newest", 2), log_of("older", 1, 2), log_of("oldest", 1, 2, 3)]
    found, warnings = find_pushes(logs, [SnapshotName(1), SnapshotName(2)])
    assert {str(name): push.user for name, push in found.items()} == {"s1": "older", "s2": "newest"}
    assert warnings == []


def test_a_snapshot_without_a_line_is_left_out_and_never_gets_anothers() -> None:
    found, _ = find_pushes([log_of("u", 1)], [SnapshotName(1), SnapshotName(2)])
    assert list(found) == [SnapshotName(1)]


def test_no_more_logs_are_read_than_are_needed() -> None:
    def logs() -> Iterator[PushLog]:
        yield log_of("u", 1)
        raise AssertionError

    found, _ = find_pushes(logs(), [SnapshotName(1)])
    assert list(found) == [SnapshotName(1)]


def test_a_warning_that_every_log_repeats_is_given_once() -> None:
    logs = [log_of("u", warnings=("a", "b")), log_of("u", warnings=("b", "c"))]
    assert find_pushes(logs, [SnapshotName(1)])[1] == ["a", "b", "c"]
