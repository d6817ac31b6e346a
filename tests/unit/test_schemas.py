"""The JSON Schemas say the same as the code that reads requests and writes results."""

import json
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dsgmigd.errors import InvalidRequest, RequestCancelled, TargetFull
from dsgmigd.migration.plan import Create, Plan, Step
from dsgmigd.migration.report import Outcome, Report, SnapshotRow, SourceFacts
from dsgmigd.migration.result import SCHEMA, Ending, Result
from dsgmigd.names import SnapshotName
from dsgmigd.request import LOSSES, VERIFY_LEVELS, parse_request
from dsgmigd.target.publication import TargetFacts
from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.findings import Verification
from tests.result_schema import REQUEST, RESULT, faults

KEYS = ["limit", "verify", "replace", "allow_loss", "note", "migration_tag"]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 0.5, 999_999_999, 1_000_000_000, "", "x", [], {}, [[]]),
    *VERIFY_LEVELS,
    *("Complete", "v1", "v1.2.3", "v1.2.3.4", "v1-x", "v1-", "v", "v1\n", "v1234567890", "v1-ä"),
    *("n" * 1000, "n" * 1001, "ü" * 1000, "\U0001f600" * 1000, "\ud800"),
    *([loss] for loss in LOSSES),
    *(["acl", "acl"], ["acl", "colour"], ["acl", 1], [None], {"acl": True}),
]


def takes(document: object) -> bool:
    """Tell whether the code takes a body."""
    try:
        parse_request(json.dumps(document).encode())
    except InvalidRequest:
        return False
    return True


def is_said(document: object) -> bool:
    """Tell whether the schema does."""
    return bool(Draft202012Validator(REQUEST).is_valid(document))


@pytest.mark.parametrize("key", [*KEYS, "Limit", "", "colour"])
def test_code_and_schema_agree_on_every_value_of_every_key(key: str) -> None:
    answers = [(value, takes({key: value}), is_said({key: value})) for value in VALUES]
    assert [answer for answer in answers if answer[1] != answer[2]] == []
    assert {taken for _, taken, _ in answers} == ({True, False} if key in KEYS else {False})


# 5.0 is a whole number for JSON Schema, and none for the code: the schema's description says so.
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not number.is_integer()
)
ANY = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text() | st.sampled_from(VALUES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)  # tests do not time
@given(ANY | st.dictionaries(st.sampled_from(KEYS) | st.text(), ANY, max_size=4))
@example({"limit": 2**70})
@example({"migration_tag": "v1\n"})
def test_code_and_schema_agree_on_any_document(document: object) -> None:
    assert takes(document) == is_said(document)


def test_the_schema_names_every_outcome_level_and_loss() -> None:
    outcomes = RESULT["properties"]["outcome"]["enum"]
    assert outcomes == [
        *("done", "up_to_date", "verified", "differs", "failed", "cancelled", "rejected")
    ]
    assert set(get_args(Outcome)) <= set(outcomes)
    assert RESULT["properties"]["schema"]["const"] == SCHEMA
    assert RESULT["$defs"]["level"]["enum"] == list(VERIFY_LEVELS)
    losses = RESULT["$defs"]["losses"]["items"]["properties"]["loss"]["enum"]
    assert losses == list(LOSSES)


def whole_report() -> Report:
    name = SnapshotName(1)
    report = Report(
        source=SourceFacts("/source/SV", 1),
        target=TargetFacts("zsd/SV"),
        plan=Plan((name,), Create(), (Step(name, None, "send"),)),
        level="complete",
    )
    row = SnapshotRow(str(name), "send", is_pinned=True)
    row.verification = Verification("complete")
    row.verification.add([Discrepancy("a", "content", "x", "y")])
    row.verification.add_loss("acl", "b")
    report.snapshots.append(row)
    return report


def result(ending: Ending) -> dict[str, Any]:
    return Result(
        ending,
        request_id="1",
        repo="SV",
        request={"limit": 1},
        instance=1,
        started_at=0,
        finished_at=1.5,
    ).to_json()


ENDINGS = [
    Ending(),
    Ending(whole_report()),
    Ending(error=TargetFull("full", hint="free some")),
    Ending(whole_report(), RequestCancelled()),
    Ending(Report(has_source=False), InvalidRequest("no", hint="yes")),
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.outcome)
def test_what_is_written_is_as_the_schema_says(ending: Ending) -> None:
    assert faults(result(ending)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": 1}, "'colour' was unexpected"),
        ({"outcome": "perhaps"}, "'perhaps' is not one of"),
        ({"error": {"code": "x", "class": "operator", "message": "", "hint": ""}}, "not of type"),
        ({"seconds": "1"}, "not of type 'number'"),
        ({"request": {"limit": 0}}, "less than the minimum"),
        ({"started_at": "1970-01-01"}, "does not match"),
    ],
)
def test_what_is_not_as_the_schema_says_is_found(change: dict[str, Any], words: str) -> None:
    assert words in "\n".join(faults(result(ENDINGS[1]) | change))


def test_a_key_that_is_missing_is_found() -> None:
    whole = result(ENDINGS[1])
    del whole["snapshots"][0]["verification"]["level"]
    assert faults(whole) != []
