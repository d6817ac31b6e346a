"""Push logs: lines that say something, lines that do not, and which file wins."""

import codecs
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.dsg import pushlog
from dsgmigd.dsg.metadata import make_metadata
from dsgmigd.dsg.push_line import Push, parse_line
from dsgmigd.dsg.pushlog import LogFile, PushLogs
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
    unread: dict[SnapshotName, str] = field(default_factory=dict)


def parse(*contents: str | bytes) -> Found:
    """Read log1, log2, …, the newest first."""
    files = [
        LogFile(f"log{number}", content.encode() if isinstance(content, str) else content)
        for number, content in enumerate(contents, 1)
    ]
    return find(files)


def find(files: Iterable[LogFile], wanted: Iterable[SnapshotName] = WANTED) -> Found:
    logs = PushLogs(SV, wanted)
    for file in files:
        logs.take(file)
    return Found(logs.pushes(), logs.warnings, logs.unread())


def only_push(line: str) -> Push:
    log = parse(line + "\n")
    assert log.warnings == []
    (push,) = log.pushes.values()
    return push


def test_a_line_has_user_time_and_message() -> None:
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
    assert log.warnings == ["s1: log1, line 2 and log1, line 1 differ; the first is used"]


def test_a_repeated_line_is_not_a_contradiction() -> None:
    assert parse(f"SV/s1 | u | {TIME} | m\n" * 2).warnings == []


def test_of_lines_that_come_and_go_in_one_file_the_last_still_counts() -> None:
    one, other = (f"SV/s1 | u | {TIME} | {message}\n" for message in ("one", "other"))
    assert parse(one + other + one).pushes[S1].message == "one"


def test_bytes_that_are_no_text_are_kept_as_escapes_with_a_warning() -> None:
    log = parse(b"SV/s1 | ren\xe9 | " + TIME.encode() + b" | caf\xe9 \xed\xa0\x80 \xc3\xa9\n")
    assert log.pushes[S1] == Push("ren\\xe9", MOMENT, "caf\\xe9 \\xed\\xa0\\x80 é")
    assert log.warnings == ["log1, line 1: not UTF-8; the invalid bytes are written as \\xNN"]


def test_the_normalised_name_is_the_same_repository() -> None:
    assert only_push(f"SV-norm/s1 | u | {TIME} | m").message == "m"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "not of the form REPO/sN"),
        ("\0" * 1000, "not of the form REPO/sN"),
        (f"SV-normal/s1 | u | {TIME} | m", "is not a snapshot of SV"),
        ("SV/s1 | u | 0001-01-01 00:00:00 UTC | m", "before 1970"),
        ("SV/s1 | u | 1969-12-31 23:59:59 UTC | m", "before 1970"),
        ("SV/s1 | u", "not of the form REPO/sN"),
        (f"SV/s1 u {TIME} m", "not of the form REPO/sN"),
        (f"CO/s1 | u | {TIME} | m", "'CO/s1' is not a snapshot of SV"),
        (f"SVx/s1 | u | {TIME} | m", "'SVx/s1' is not a snapshot of SV"),
        (f"SV/s01 | u | {TIME} | m", "is not a snapshot of SV"),
        (f"SV/s1/x | u | {TIME} | m", "is not a snapshot of SV"),
        (f"SV | u | {TIME} | m", "is not a snapshot of SV"),
        ("SV/s1 | u | yesterday | m", "yesterday"),
        ("SV/s1 | u | 2014-02-30 17:27:26 UTC | m", "not a time"),
        ("SV/s1 | u | 2014-05-07 17:27:26 CEST | m", "CEST"),
    ],
)
def test_an_invalid_line_is_a_warning_with_its_number(line: str, words: str) -> None:
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
    logs = PushLogs(dotted, WANTED)
    logs.take(LogFile("log", f"SxV/s1 | u | {TIME} | m\n".encode()))
    assert logs.pushes() == {}


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
        "s2: log1, line 1 and log2, line 2 differ; the first is used",
        "s1: log2, line 1 and log3, line 1 differ; the first is used",
        "s2: log1, line 1 and log3, line 2 differ; the first is used",
    ]


def test_a_snapshot_without_a_line_is_left_out_and_never_gets_anothers() -> None:
    assert users(parse(lines("u", 1, 3))) == {"s1": "u", "s3": "u"}


def test_lines_of_other_snapshots_are_ignored_without_a_warning() -> None:
    log = parse(lines("u", 50), lines("v", 50))
    assert log == Found({}, [])


def test_a_log_that_cannot_be_read_is_a_warning_and_the_next_counts() -> None:
    files = [LogFile("bad", problem="Input/output error"), LogFile("good", lines("u", 1).encode())]
    found = find(files)
    assert list(found.pushes) == [S1]
    assert found.warnings == ["bad cannot be read: Input/output error"]


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

    def noted(text: str, repo: RepoName) -> tuple[SnapshotName, Push]:
        parsed.append(text)
        return parse_line(text, repo)

    monkeypatch.setattr(pushlog, "parse_line", noted)
    new = [f"SV/s{number} | u | {TIME} | m\n" for number in range(1, 101)]
    old = [*new[:50], f"SV/s51 | other | {TIME} | m\n", *new[51:]]
    logs = ["".join((new if length > 80 else old)[:length]) for length in range(100, 0, -1)]
    wanted = [SnapshotName(number) for number in range(1, 101)]
    files = [LogFile(f"{100 - index}", log.encode()) for index, log in enumerate(logs)]
    found = find(files, wanted)
    assert len(found.pushes) == 100
    assert len(parsed) == 101
    assert found.warnings == ["s51: 100, line 51 and 80, line 51 differ; the first is used"]


def test_memory_has_a_bound_whatever_is_in_the_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushlog, "_DIGESTS_KEPT", 100)
    logs = pushlog.PushLogs(SV, WANTED)
    for number in range(50):
        junk = "".join(f"{number} {line}\n" for line in range(200))
        logs.take(LogFile(f"log{number}", (junk + lines("u", 1 + number % 9)).encode()))
    assert len(logs._digests) == 100
    assert len(logs._contents) == 8
    assert len(logs.pushes()) == 9


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: text.replace("\n", "\r\n").encode("utf-16"),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode(),
    ],
)
def test_byte_order_marks_and_other_ends_of_lines_are_read(
    encode: Callable[[str], bytes],
) -> None:
    text = f"SV/s1 | ana | {TIME} | Überblick\nSV/s2 | ben | {TIME} |\n"
    found = parse(encode(text))
    assert found.pushes == {S1: Push("ana", MOMENT, "Überblick"), S2: Push("ben", MOMENT, "--")}
    assert (found.warnings, found.unread) == ([], {})


# What could not be read, and for which snapshots that matters.


@pytest.mark.parametrize(
    ("content", "unread"),
    [
        ("", {}),
        (lines("u", 1), {}),
        ("SV/s1 | u | yesterday | m\n", {"s1"}),
        ("CO/s1 | u | 2014-05-07 17:27:26 UTC | m\n", {"s1"}),
        ("SV/s1\tu\tyesterday\n", {"s1"}),
        ("SV/s4 | u | yesterday | m\n", set()),
        ("junk\n", {"s1", "s2", "s3"}),
        ("junk\n" + lines("u", 1, 3), {"s2"}),
        ("SV/s1 | u | yesterday | m\n" + lines("u", 1), set()),
    ],
)
def test_a_snapshot_lacks_what_could_not_be_read_unless_it_has_another_line(
    content: str, unread: set[str]
) -> None:
    found = find([LogFile("log", content.encode())], [S1, S2, S3])
    assert {str(name) for name in found.unread} == set(unread)
    assert all(what.startswith("log, line ") for what in found.unread.values())


def test_of_a_log_that_is_no_file_any_snapshot_may_lack_something() -> None:
    bad, good = LogFile("bad", problem="it is larger than 7 bytes"), lines("u", 1).encode()
    found = find([bad, LogFile("log", good)], [S1, S2])
    assert found.unread == {S2: "bad cannot be read: it is larger than 7 bytes"}


def test_a_hundred_logs_of_many_lines_cost_little_more_than_one() -> None:
    whole = b"".join(
        f"SV/s{number} | u | {TIME} | message {number * 7919}\n".encode()
        for number in range(1, 20_001)
    )
    wanted = [SnapshotName(1)]
    began = time.process_time()
    find([LogFile("1", whole)], wanted)
    alone = time.process_time() - began
    began = time.process_time()
    find([LogFile(f"{cut}", whole[: len(whole) - cut]) for cut in range(100)], wanted)
    assert time.process_time() - began < 5 * alone
