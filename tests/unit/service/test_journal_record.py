"""Log records: what journald receives, and what a terminal shows."""

import os
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.service.journal_record import (
    as_text,
    encode_record,
    field_name,
    journal_fields,
    message_id,
    sentence,
)
from tests.unit.service.journal_records import decode_record


def event(**fields: Any) -> dict[str, Any]:
    return {"event": "snapshot.verified", "level": "info", **fields}


class TestEncoding:
    def test_plain_value_is_one_line(self) -> None:
        assert encode_record({"MESSAGE": "done", "PRIORITY": "6"}) == b"MESSAGE=done\nPRIORITY=6\n"

    def test_value_with_line_break_has_its_length_before_it(self) -> None:
        assert encode_record({"A": "x\ny"}) == b"A\n\x03\0\0\0\0\0\0\0x\ny\n"

    def test_length_counts_bytes_not_characters(self) -> None:
        assert decode_record(encode_record({"A": "ü\n", "B": "b"})) == {
            "A": "ü\n".encode(),
            "B": b"b",
        }

    def test_bytes_go_as_they_are(self) -> None:
        assert encode_record({"A": b"\xff\0="}) == b"A=\xff\0=\n"

    def test_lone_surrogate_does_not_fail(self) -> None:
        assert encode_record({"A": "\udcff"}) == b"A=\\udcff\n"

    @pytest.mark.parametrize("name", ["", "a", "_A", "1A", "A B", "A=B", "A\nB", "A" * 65])
    def test_name_that_journald_ignores_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="journal field"):
            encode_record({name: "x"})


class TestText:
    def test_file_name_is_the_same_as_bytes_and_as_str(self) -> None:
        name = b"caf\xc3\xa9 \xff"
        assert as_text(name) == as_text(os.fsdecode(name)) == "café \\xff"

    def test_path_with_foreign_bytes_is_text_too(self) -> None:
        assert as_text(Path(os.fsdecode(b"/\xff"))) == "/\\xff"

    def test_surrogate_that_no_file_name_gives_is_escaped(self) -> None:
        assert as_text("\ud800") == "\\ud800"


class TestSentence:
    def test_repo_comes_first(self) -> None:
        assert sentence(event(step=3, repo="SV")) == "snapshot.verified repo=SV step=3"

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ("", '""'),
            ("a b", '"a b"'),
            ("a=b", '"a=b"'),
            ('say "x"', r'"say \"x\""'),
            ("\x1b[2J", r'"\x1b[2J"'),
            (r"\x1b", r'"\\x1b"'),
            (7, "7"),
        ],
    )
    def test_value_that_could_be_misread_stands_in_quotes(self, value: object, shown: str) -> None:
        assert sentence(event(path=value)) == f"snapshot.verified path={shown}"

    def test_value_none_is_left_out(self) -> None:
        assert sentence(event(snapshot=None)) == "snapshot.verified"

    def test_traceback_gives_its_last_line(self) -> None:
        shown = sentence(event(exception="Traceback\n  File\nOSError: disk\n"))
        assert shown == 'snapshot.verified exception="OSError: disk"'


class TestFields:
    def test_every_key_has_its_field(self) -> None:
        fields = journal_fields(event(repo="SV", duration_usec=12, error_code=None))
        assert fields == {
            "MESSAGE": "snapshot.verified repo=SV duration_usec=12",
            "MESSAGE_ID": message_id("snapshot.verified"),
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "dsgmigd",
            "DSGMIGD_EVENT": "snapshot.verified",
            "DSGMIGD_REPO": "SV",
            "DSGMIGD_DURATION_USEC": "12",
        }

    def test_message_id_never_changes(self) -> None:
        assert message_id("request.claimed") == "8d5dfa4a67e9588dbc3d6ed0d8439a2d"

    def test_message_id_tells_events_apart(self) -> None:
        assert message_id("request.claimed") != message_id("request.done")

    @pytest.mark.parametrize("key", ["a-b", "ä b", "x" * 100, "a\nb", "a=b"])
    def test_any_key_gives_a_name_that_journald_takes(self, key: str) -> None:
        assert encode_record({field_name(key): "x"})
