"""Push logs: lines that say something, lines that do not, and which file wins."""

import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.dsg import pushlog
from dsgmigd.dsg.metadata import make_metadata
from dsgmigd.dsg.pushlog import LogFile, Push, find_pushes
from dsgmigd.names import RepoName, SnapshotName, parse_repo_name

SV = parse_repo_name("SV")
TIME = "2014-05-07 17:27:26 UTC (Wed)"
MOMENT = 1399483646.0
S1, S2, S3 = (SnapshotName(number) for number in (1, 2, 3))
WANTED = [SnapshotName(number) for number in range(1, 10)]


@dataclass
class Found:
    pushes: dict[SnapshotName, Push]
    warnings: list[str]


def parse(*contents: str | bytes) -> Found:
    """Read log1, log2, …, the newest first."""
    files = [
        LogFile(f"log{number}", content.encode() if isinstance(content, str) else content)
        for number, content in enumerate(contents, 1)
    ]
    return Found(*find_pushes(files, SV, WANTED))


def only_push(line: str) -> Push:
    log = parse(line + "\n")
    assert log.warnings == []
    (push,) = log.pushes.values()
    return push


def test_a_line_says_who_when_and_why() -> None:
    log = parse(f"SV/s7 | pball | {TIME} | message text\n")
    assert log == Found({SnapshotName(7): Push("pball", MOMENT, "message text")}, [])


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
    assert log.warnings == []


def test_the_last_of_several_lines_on_one_snapshot_counts_and_both_are_named() -> None:
    log = parse(f"SV/s1 | u | {TIME} | first\nSV/s1 | u | {TIME} | second\n")
    assert log.pushes[S1].message == "second"
    assert log.warnings == ["s1: taken from log1, line 2; log1, line 1 says something else"]


def test_a_line_that_stands_twice_is_no_contradiction() -> None:
    assert parse(f"SV/s1 | u | {TIME} | m\n" * 2).warnings == []


def test_of_lines_that_come_and_go_in_one_file_the_last_still_counts() -> None:
    one, other = (f"SV/s1 | u | {TIME} | {message}\n" for message in ("one", "other"))
    assert parse(one + other + one).pushes[S1].message == "one"


def test_bytes_that_are_no_text_are_kept_as_escapes_with_a_warning() -> None:
    log = parse(b"SV/s1 | ren\xe9 | " + TIME.encode() + b" | caf\xe9 \xed\xa0\x80 \xc3\xa9\n")
    assert log.pushes[S1] == Push("ren\\xe9", MOMENT, "caf\\xe9 \\xed\\xa0\\x80 é")
    assert log.warnings == ["log1, line 1: not UTF-8; odd bytes are written as \\xNN"]


def test_the_normalised_name_is_the_same_repository() -> None:
    assert only_push(f"SV-norm/s1 | u | {TIME} | m").message == "m"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "not REPO/sN"),
        ("\0" * 1000, "not REPO/sN"),
        (f"SV-normal/s1 | u | {TIME} | m", "is not a snapshot of SV"),
        ("SV/s1 | u | 0001-01-01 00:00:00 UTC | m", "before 1970"),
        ("SV/s1 | u | 1969-12-31 23:59:59 UTC | m", "before 1970"),
        ("SV/s1 | u", "not REPO/sN"),
        (f"SV/s1|u|{TIME}|m", "not REPO/sN"),
        (f"CO/s1 | u | {TIME} | m", "'CO/s1' is not a snapshot of SV"),
        (f"SVx/s1 | u | {TIME} | m", "'SVx/s1' is not a snapshot of SV"),
        (f"SV/s01 | u | {TIME} | m", "is not a snapshot of SV"),
        (f"SV/s1/x | u | {TIME} | m", "is not a snapshot of SV"),
        (f"SV | u | {TIME} | m", "is not a snapshot of SV"),
        ("SV/s1 | u | yesterday | m", "yesterday"),
        ("SV/s1 | u | 2014-02-30 17:27:26 UTC | m", "not a time"),
        ("SV/s1 | u | 2014-05-07 17:27:26 PST | m", "PST"),
    ],
)
def test_a_line_that_says_nothing_usable_is_a_warning_with_its_number(
    line: str, words: str
) -> None:
    log = parse(f"SV/s2 | u | {TIME} | m\n{line}\n")
    assert list(log.pushes) == [S2]
    (warning,) = log.warnings
    assert warning.startswith("log1, line 2: ")
    assert words in warning
    assert len(warning) < 500


def test_of_a_file_full_of_junk_some_lines_are_named_and_the_rest_counted() -> None:
    junk = "".join(f"junk {number}\n" for number in range(1000))
    log = parse(junk + f"SV/s1 | u | {TIME} | m")
    assert list(log.pushes) == [S1]
    assert log.warnings[19].startswith("log1, line 20: ")
    assert log.warnings[20:] == ["log1: 980 more such lines"]


def test_a_repository_name_is_data_and_not_a_pattern() -> None:
    dotted = parse_repo_name("S.V")
    file = LogFile("log", f"SxV/s1 | u | {TIME} | m\n".encode())
    assert find_pushes([file], dotted, WANTED)[0] == {}


NEAR_LINES = st.tuples(
    st.sampled_from([b"SV/s1", b"SV/s2", b"SV-norm/s3", b"CO/s1", b"SV/s", b"", b"\xff"]),
    st.sampled_from([b"u", b"", b"\x00", b"\xe9", "\N{PILE OF POO}".encode()]),
    st.sampled_from([TIME.encode(), b"0001-01-01 00:00:00 UTC", b"9999-12-31 23:59:59 UTC", b"x"]),
    st.binary(max_size=10) | st.sampled_from([b"--", b"a | b", b"\r", b"\xed\xa0\x80"]),
).map(b" | ".join)


@given(
    st.lists(st.binary(max_size=200) | st.lists(NEAR_LINES, max_size=5).map(b"\n".join), max_size=4)
)
def test_no_bytes_are_an_error_and_what_is_found_can_be_written(contents: list[bytes]) -> None:
    for name, push in parse(*contents).pushes.items():
        metadata = make_metadata(name, 0, "", push, None)
        assert metadata["created_by"].encode()
        assert metadata["snapshot_message"].encode()


def lines(user: str, *numbers: int) -> str:
    return "".join(f"SV/s{number} | {user} | {TIME} | m\n" for number in numbers)


def users(log: Found) -> dict[str, str]:
    return {str(name): push.user for name, push in log.pushes.items()}


def test_the_newest_log_that_has_a_line_wins_for_each_snapshot() -> None:
    log = parse(lines("new", 2), lines("older", 1, 2), lines("oldest", 1, 2, 3))
    assert users(log) == {"s2": "new", "s1": "older", "s3": "oldest"}
    assert log.warnings == [
        "s2: taken from log1, line 1; log2, line 2 says something else",
        "s1: taken from log2, line 1; log3, line 1 says something else",
        "s2: taken from log1, line 1; log3, line 2 says something else",
    ]


def test_a_snapshot_without_a_line_is_left_out_and_never_gets_anothers() -> None:
    assert users(parse(lines("u", 1, 3))) == {"s1": "u", "s3": "u"}


def test_of_snapshots_that_nobody_wants_nothing_is_said() -> None:
    log = parse(lines("u", 50), lines("v", 50))
    assert log == Found({}, [])


def test_a_log_that_cannot_be_read_is_a_warning_and_the_next_counts() -> None:
    files = [LogFile("bad", problem="Input/output error"), LogFile("good", lines("u", 1).encode())]
    found, warnings = find_pushes(files, SV, WANTED)
    assert list(found) == [S1]
    assert warnings == ["bad cannot be read: Input/output error"]


def test_a_warning_that_every_log_repeats_is_given_once() -> None:
    log = parse(f"junk\n{lines('u', 1, 2)}", "junk\n" + lines("u", 1), f"{lines('u', 1)}junk\n")
    assert len(log.warnings) == 1


def test_a_log_cut_short_in_the_middle_of_a_line_contradicts_nothing() -> None:
    assert parse(lines("u", 1, 2), lines("u", 1, 2)[:-3]).warnings == []


def test_every_distinct_line_is_parsed_once_however_many_files_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Logs that grow, with one line in the middle that differs between old and new files."""
    parsed: list[str] = []
    parse_line = pushlog._parse_line

    def noted(text: str, repo: RepoName) -> tuple[SnapshotName, Push]:
        parsed.append(text)
        return parse_line(text, repo)

    monkeypatch.setattr(pushlog, "_parse_line", noted)
    new = [f"SV/s{number} | u | {TIME} | m\n" for number in range(1, 101)]
    old = [*new[:50], f"SV/s51 | other | {TIME} | m\n", *new[51:]]
    logs = ["".join((new if length > 80 else old)[:length]) for length in range(100, 0, -1)]
    wanted = [SnapshotName(number) for number in range(1, 101)]
    files = [LogFile(f"{100 - index}", log.encode()) for index, log in enumerate(logs)]
    found, warnings = find_pushes(files, SV, wanted)
    assert len(found) == 100
    assert len(parsed) == 101
    assert warnings == ["s51: taken from 100, line 51; 80, line 51 says something else"]


def test_a_hundred_logs_of_many_lines_cost_little_more_than_one() -> None:
    whole = b"".join(
        f"SV/s{number} | u | {TIME} | message {number * 7919}\n".encode()
        for number in range(1, 20_001)
    )
    wanted = [SnapshotName(1)]
    began = time.process_time()
    find_pushes([LogFile("1", whole)], SV, wanted)
    alone = time.process_time() - began
    began = time.process_time()
    find_pushes([LogFile(f"{cut}", whole[: len(whole) - cut]) for cut in range(100)], SV, wanted)
    assert time.process_time() - began < 5 * alone
