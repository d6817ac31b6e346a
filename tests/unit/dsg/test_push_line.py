"""Lines of push logs in the forms that people and their tools write, and what is none of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.dsg.entry import local_time
from dsgmigd.dsg.push_line import Push, named_snapshot, parse_line, parse_time
from dsgmigd.names import SnapshotName, parse_repo_name

SV = parse_repo_name("SV")
MOMENT = 1399483646.0
PUSH = Push("ana", MOMENT, "a | b")


@pytest.mark.parametrize(
    "time",
    [
        "2014-05-07 17:27:26 UTC (Wed)",
        "2014-05-07 17:27:26 UTC",
        "2014-05-07 17:27:26  UTC",
        "2014-05-07 17:27:26 Z",
        "2014-05-07T17:27:26Z",
        "2014-05-07T17:27:26+00:00",
        "2014-05-07T10:27:26-07:00",
        "2014-05-07 19:27:26 +0200",
        "2014-05-07 19:27:26+02",
        "20140507T172726Z",
        "2014/05/07 17:27:26 GMT",
        "2014-05-07 10:27:26 PDT (Wed)",
        "2014-05-07 12:27:26 CDT",
        "Wed, 07 May 2014 17:27:26 +0000",
        "7 May 2014 13:27:26 EDT",
        "Wed May  7 17:27:26 UTC 2014",
        "Wed May  7 05:27:26 PM UTC 2014",
        "Wed 07 May 2014 05:27:26 PM UTC",
        "@1399483646",
        "1399483646",
    ],
)
def test_times_are_read_in_every_usual_form_with_a_zone(time: str) -> None:
    assert parse_time(time) == MOMENT


def test_fractions_and_missing_seconds_are_read() -> None:
    assert parse_time("2014-05-07T17:27:26.500Z") == MOMENT + 0.5
    assert parse_time("2014-05-07T17:27:26,123456789Z") == pytest.approx(MOMENT + 0.123456)
    assert parse_time("2014-05-07 17:27Z") == MOMENT - 26
    assert parse_time("7 May 2014 12:05 AM UTC") == parse_time("2014-05-07 00:05Z")
    assert parse_time("7 May 2014 12:05 PM UTC") == parse_time("2014-05-07 12:05Z")


@pytest.mark.parametrize(
    "time",
    [
        "",
        "yesterday",
        "2014-05-07",
        "17:27:26 UTC",
        "2014-05-07 17:27:26",
        "2014-05-07T17:27:26",
        "2014-05-07 17:27:26 CEST",
        "2014-05-07 17:27:26 IST",
        "07/05/2014 17:27:26 UTC",
        "05-07-2014 17:27:26 UTC",
        "2014-05/07 17:27:26 UTC",
        "2014-02-30 17:27:26 UTC",
        "2014-05-07 25:27:26 UTC",
        "2014-05-07 13:27:26 PM UTC",
        "2014-05-07 17:27:26 +9900",
        "7 Mai 2014 17:27:26 UTC",
        "Wed May  7 17:27:26 2014",
        "1969-12-31 23:59:59 UTC",
        "0001-01-01 00:00:00 UTC",
        "9999-12-31 23:59:59 -0100",
        "12345",
    ],
)
def test_what_could_mean_two_times_or_none_is_not_a_time(time: str) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_time(time)


@given(st.text("0123456789-:/TZ+., @AMPUC", max_size=30) | st.text(max_size=30))
def test_every_time_that_is_read_can_be_written(text: str) -> None:
    try:
        seconds = parse_time(text)
    except ValueError:
        return
    assert local_time(seconds)


@pytest.mark.parametrize(
    "line",
    [
        "SV/s7 | ana | 2014-05-07 17:27:26 UTC (Wed) | a | b",
        "SV-norm/s7 | ana | 2014-05-07T17:27:26Z | a | b\r\n",
        "SV/s7|ana|2014-05-07 17:27:26 UTC|a | b",
        "SV/s7\t|\tana\t|\t2014-05-07 17:27:26 UTC\t|\ta | b",
        "SV/s7\tana\t2014-05-07 17:27:26 UTC\ta | b",
        "SV/s7\t\tana\t\t2014-05-07 17:27:26 UTC\ta | b",
    ],
)
def test_fields_are_parted_by_bars_or_by_tabs(line: str) -> None:
    assert parse_line(line, SV) == (SnapshotName(7), PUSH)


@pytest.mark.parametrize(
    "line", ["SV/s7\t\t@1399483646\tm", "SV/s7 |  | @1399483646 | m", "SV/s7||@1399483646|m"]
)
def test_an_empty_user_is_unknown_in_every_form(line: str) -> None:
    assert parse_line(line, SV)[1] == Push("unknown", MOMENT, "m")


def test_a_line_of_the_usual_form_is_never_read_in_another() -> None:
    line = "SV/s7 | a|b | 2014-05-07 17:27:26 UTC (Wed) | m"
    assert parse_line(line, SV)[1].user == "a|b"


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("SV/s7 | u | yesterday | m", 7),
        ("CO/s7|u", 7),
        ("SV/s7\tu", 7),
        ("SV/s7", 7),
        ("SV/s07 | u", None),
        ("SV/s7x | u", None),
        ("junk", None),
        ("u | SV/s7", None),
    ],
)
def test_the_snapshot_of_a_line_that_cannot_be_read_is_seen_all_the_same(
    line: str, number: int | None
) -> None:
    assert named_snapshot(line) == (None if number is None else SnapshotName(number))
