"""Request bodies: what a submitter may write, and what is refused instead of guessed."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.errors import InvalidRequest
from dsgmigd.request import BODY_LIMIT_BYTES, Request, parse_request, request_from_mapping

BODIES = st.fixed_dictionaries(
    {},
    optional={
        "limit": st.integers(1, 999_999_999),
        "verify": st.sampled_from(["complete", "exhaustive", "structure"]),
        "replace": st.booleans(),
        "allow_loss": st.lists(
            st.sampled_from(["xattr", "acl", "subsecond_mtime", "mtime_range"]), unique=True
        ),
        "note": st.text(max_size=20),
        "migration_tag": st.sampled_from(["v1", "v1.0.0", "v02.1", "v2-moved-to_zfs.x"]),
    },
)


@pytest.mark.parametrize("body", [b"", b"\n", b" \t\r\n ", b"{}"])
def test_an_empty_body_asks_for_the_defaults(body: bytes) -> None:
    assert parse_request(body) == Request()


@given(BODIES)
def test_a_body_says_what_it_says_and_nothing_more(document: dict[str, Any]) -> None:
    request = parse_request(json.dumps(document).encode())
    assert json.loads(json.dumps(request.to_json())) == document


def test_a_whole_body_is_read_into_its_fields() -> None:
    body = b'{"limit": 3, "verify": "structure", "replace": true, "allow_loss": ["xattr"]}'
    assert parse_request(body) == Request(
        limit=3, verify="structure", replace=True, allow_loss=("xattr",)
    )


def test_an_empty_list_of_losses_is_not_the_same_as_none() -> None:
    assert parse_request(b'{"allow_loss": []}').allow_loss == ()
    assert parse_request(b"{}").allow_loss is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"yes", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"{} {}", "not JSON"),
        (b'{"limit": NaN}', "NaN is not JSON"),
        (b'{"limit": -Infinity}', "-Infinity is not JSON"),
        (b'{"limit": 1, "limit": 1}', "the key 'limit' occurs twice"),
        (b'{"note": {"a": 1, "a": 2}}', "the key 'a' occurs twice"),
        (b"[" * 60_000, "not JSON"),
        (b'{"limit": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "a JSON list, not an object"),
        (b"null", "is null, not an object"),
        (b'"limit"', "a JSON string, not an object"),
        (b"true", "a JSON boolean, not an object"),
        (b"1.5", "a JSON number, not an object"),
    ],
)
def test_a_body_that_is_not_one_plain_json_object_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse_request(body)


BYTE_ORDER_MARK = r"begins with a byte order mark \(UTF-{}\)"


@pytest.mark.parametrize(
    ("body", "words", "hint"),
    [
        ("{}".encode("utf-8-sig"), BYTE_ORDER_MARK.format(8), "save it as UTF-8 without"),
        (b"\xef\xbb\xbf", BYTE_ORDER_MARK.format(8), "save it as UTF-8 without"),
        ("{}".encode("utf-16"), BYTE_ORDER_MARK.format(16), "save it as UTF-8 without"),
        (b"{}\xff", "it is not UTF-8 text", "write one JSON object"),
        (b'{"limit": 5,}', "a comma before '}' in line 1", "remove this comma"),
        (b'{"limit": 5,\n}\n', "a comma before '}' in line 1", "remove this comma"),
        (b'{"limit": 5,\n"allow_loss": ["acl" , ]}', "comma before ']' in line 2", "remove this"),
        (
            b'{"note": ",}", "limit": 5 "verify": "complete"}',
            "Expecting ',' delimiter",
            "write one",
        ),
        (b"limit: 5\n", "it looks like YAML", "write one JSON object"),
        (b"\n# why\n---\n{}", "it looks like YAML", "write one JSON object"),
        (b"- limit: 5", "it looks like YAML", "write one JSON object"),
        (b"{limit: 5}", "Expecting property name", "write one JSON object"),
        (b"limit=5", "Expecting value", "write one JSON object"),
    ],
)
def test_a_frequent_mistake_is_named_with_what_to_write(body: bytes, words: str, hint: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^the request is not JSON: .*{words}") as caught:
        parse_request(body)
    assert caught.value.hint.startswith(hint)
    assert "leave the file empty" in caught.value.hint
    assert '{"limit": 5, "verify": "complete"}' in caught.value.hint


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("migration_tag", "1.0"),
        ("migration_tag", "v1.0.0.0"),
        ("migration_tag", "v1\n"),
        ("migration_tag", "v1-"),
        ("migration_tag", "v1-a b"),
        ("migration_tag", 1),
        ("limit", 0),
        ("limit", -1),
        ("limit", 1_000_000_000),
        ("limit", 1.0),
        ("limit", "1"),
        ("limit", True),
        ("limit", None),
        ("verify", "Complete"),
        ("verify", ""),
        ("verify", None),
        ("verify", ["complete"]),
        ("replace", 1),
        ("replace", "true"),
        ("replace", None),
        ("allow_loss", "xattr"),
        ("allow_loss", ["owner"]),
        ("allow_loss", [["xattr"]]),
        ("allow_loss", None),
        ("note", 5),
        ("note", None),
        ("note", "x" * 1001),
        ("note", "half \ud800 of a pair"),
        ("rebuild_from", "7"),
        ("rebuild_from", "s0"),
        ("rebuild_from", 7),
        ("verify_only", 1),
        ("without_source", "yes"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_by_its_key(key: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=f"'{key}'"):
        request_from_mapping({key: value})


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"verify_only": True, "limit": 2}, "'limit' means nothing beside it"),
        ({"verify_only": True, "rebuild_from": "s1"}, "'rebuild_from' means nothing beside it"),
        ({"without_source": True}, "only for 'verify_only'"),
        (
            {"verify_only": True, "without_source": True, "verify": "changes"},
            "the level 'changes' needs the source",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(
    document: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        request_from_mapping(document)


def test_a_misspelt_key_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(InvalidRequest, match="unknown key 'verfy'; did you mean 'verify'"):
        request_from_mapping({"verfy": "complete"})


def test_a_key_like_no_other_is_refused_with_all_that_are_known() -> None:
    with pytest.raises(
        InvalidRequest,
        match="use one of: allow_loss, evidence, limit, migration_tag, note, ",
    ):
        request_from_mapping({"zzz": 1})


def test_a_misspelt_level_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(InvalidRequest, match="did you mean 'exhaustive'"):
        request_from_mapping({"verify": "exhaustiv"})


def test_a_body_may_be_as_long_as_the_limit_and_no_longer() -> None:
    body = b"{}".ljust(BODY_LIMIT_BYTES)
    assert parse_request(body) == Request()
    with pytest.raises(InvalidRequest, match="longer than 65536 bytes"):
        parse_request(body + b" ")


@given(st.binary(max_size=60))
def test_no_bytes_leave_another_error_than_invalid_request(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(parse_request(body), Request)


def test_what_a_request_says_can_be_read_again() -> None:
    """A claim keeps it as it stands in a body."""
    request = parse_request(b'{"allow_loss": ["xattr", "acl"], "limit": 3}')
    assert request_from_mapping(request.to_json()) == request
