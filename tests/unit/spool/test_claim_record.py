"""The record in a claim file: what earlier versions wrote is read, and written the same way."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.errors import StateTooNew
from dsgmigd.names import RepoName
from dsgmigd.request import Request
from dsgmigd.spool.claim_record import (
    RECORD_MODE,
    Attempt,
    ClaimRecord,
    Rejection,
    new_record,
    own_record,
)

SV = RepoName("SV")
WRITTEN: dict[str, Any] = {
    "dsgmigd_claim": 1,
    "request_id": "an-id",
    "repo": "SV",
    "options": {"limit": 3, "allow_loss": ["xattr"]},
    "rejection": None,
    "rejection_hint": None,
    "submitted_by": {"uid": 0, "user": "root", "gid": 0, "group": "root"},
    "submitted_at": 1.5,
    "body_sha256": "00",
    "attempts": [
        {
            "instance": 1,
            "pid": 7,
            "started_at": "then",
            "error": {"code": "target_full", "message": "full", "hint": "free space"},
            "not_before": "later",
            "ended": "deferred",
        },
        {"instance": 2, "pid": 8, "started_at": "now"},
    ],
    "deferral": {
        "boot_id": "b",
        "seconds": 2.5,
        "not_before": "later",
        "error": {"code": "target_full", "message": "full", "hint": "free space"},
    },
}


@pytest.fixture
def status(tmp_path: Path) -> os.stat_result:
    path = tmp_path / "claim"
    path.touch(RECORD_MODE)
    return path.stat()


def test_a_record_that_an_earlier_version_wrote_is_written_byte_for_byte_the_same() -> None:
    record = ClaimRecord.from_json(WRITTEN)

    assert record.request == Request(limit=3, allow_loss=("xattr",))
    assert record.attempts[1] == Attempt(2, 8, "now")
    assert json.dumps(record.to_json()) == json.dumps(WRITTEN)


def test_a_rejected_record_keeps_its_reason() -> None:
    document = WRITTEN | {"options": {}, "rejection": "why", "rejection_hint": "do this"}
    record = ClaimRecord.from_json(document)

    assert record.rejection == Rejection("why", "do this")
    assert record.to_json() == document


def test_options_that_this_version_does_not_know_reject_the_request() -> None:
    record = ClaimRecord.from_json(WRITTEN | {"options": {"zzz": 1}})

    assert record.rejection is not None
    assert "unknown key 'zzz'" in record.rejection.message


def test_an_invalid_body_is_a_rejection_and_a_refusal_hides_the_body(
    status: os.stat_result,
) -> None:
    invalid = new_record(SV, b"{", status)
    refused = new_record(SV, b'{"note": "secret"}', status, ("why", "do this"))

    assert invalid.rejection is not None
    assert "not JSON" in invalid.rejection.message
    assert refused.rejection == Rejection("why", "do this")
    assert "secret" not in json.dumps(refused.to_json())


def test_a_record_of_a_newer_version_is_left_alone(status: os.stat_result) -> None:
    with pytest.raises(StateTooNew):
        own_record(SV, json.dumps(WRITTEN | {"dsgmigd_claim": 2}).encode(), status)


def test_a_record_is_believed_only_for_its_own_repository(status: os.stat_result) -> None:
    content = json.dumps(WRITTEN).encode()

    assert own_record(SV, content, status) == ClaimRecord.from_json(WRITTEN)
    assert own_record(RepoName("CO"), content, status) is None


@pytest.mark.parametrize("request_id", ["../../../etc/x", "a/b", "", ".", None, 7, "a.b", "x" * 65])
def test_a_record_whose_id_would_reach_out_of_a_directory_is_not_believed(
    status: os.stat_result, request_id: object
) -> None:
    content = json.dumps(WRITTEN | {"request_id": request_id}).encode()
    assert own_record(SV, content, status) is None


def _with(
    status: os.stat_result, *, mode: int | None = None, uid: int | None = None
) -> os.stat_result:
    fields = list(status)
    fields[0] = fields[0] if mode is None else stat.S_IFREG | mode
    fields[4] = fields[4] if uid is None else uid
    return os.stat_result(fields)


@pytest.mark.parametrize(
    ("mode", "uid", "content"),
    [
        (0o600 | 0o040, None, WRITTEN),
        (0o666, None, WRITTEN),
        (None, os.geteuid() + 1, WRITTEN),
        (None, None, b""),
        (None, None, b"{"),
        (None, None, b"[" * 100_000),
        (None, None, []),
        (None, None, {key: WRITTEN[key] for key in WRITTEN if key != "dsgmigd_claim"}),
        (None, None, WRITTEN | {"dsgmigd_claim": "1"}),
        (None, None, WRITTEN | {"repo": "CO"}),
        (None, None, {key: WRITTEN[key] for key in WRITTEN if key != "repo"}),
    ],
)
def test_a_record_that_somebody_else_may_have_written_is_none(
    status: os.stat_result, mode: int | None, uid: int | None, content: object
) -> None:
    ours = json.dumps(WRITTEN).encode()
    assert own_record(SV, ours, status) is not None
    given = content if isinstance(content, bytes) else json.dumps(content).encode()
    assert own_record(SV, given, _with(status, mode=mode, uid=uid)) is None
