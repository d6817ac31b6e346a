"""Statements and their files."""

import json
from dataclasses import asdict

import pytest

from dsgmigd.custody.statement import is_stem, parse_statement
from dsgmigd.custody.table import Table
from tests.unit.custody.test_store import statement_of

STATEMENT = statement_of(Table(), 3)


def test_a_statement_is_read_as_it_was_written() -> None:
    assert parse_statement(STATEMENT.to_bytes()) == STATEMENT
    assert is_stem(STATEMENT.stem)
    assert STATEMENT.stem == "s3-103"


@pytest.mark.parametrize(
    "change",
    [
        *({"schema": 2}, {"root": "ab"}, {"snapshot": "x"}, {"entries": "1"}, {"entries": True}),
        *({"base": 3}, {"more": 1}, {"repo": None}, {"host": 7}, {"snapshot_guid": "../1"}),
    ],
)
def test_another_object_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="statement"):
        parse_statement(json.dumps(asdict(STATEMENT) | change).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"3"])
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="statement"):
        parse_statement(content)


@pytest.mark.parametrize("text", ["s3", "s0-1", "s3-", "s3-x", "../s3-1"])
def test_other_names_are_no_stems(text: str) -> None:
    assert not is_stem(text)
