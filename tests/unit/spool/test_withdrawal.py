"""A request that is taken out of the spool before any work on it, and its one result."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dsgmigd.errors import StateTooNew
from dsgmigd.request import Request
from dsgmigd.spool.claim_record import RECORD_MODE, Attempt
from dsgmigd.spool.claiming import finish_claim
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from dsgmigd.spool.withdrawal import (
    claimed_request_id,
    publish_withdrawn,
    read_withdrawn,
    withdraw_orphan,
    withdraw_request,
)
from tests.unit.spool.claims import SV, claimed, kept_results, result_of
from tests.unit.spool.crashes import CutOffError, cut_off_after
from tests.unit.spool.occupants import make_directory, make_fifo, make_hard_link, make_symlink


def withdrawn(spool: Spool) -> str:
    """Submit a request and withdraw it; return its id."""
    submit_request(spool, SV, Request(limit=3))
    request_id = withdraw_request(spool, SV)
    assert request_id is not None
    return request_id


def test_a_claim_has_an_id_from_its_first_attempt_on(spool: Spool) -> None:
    assert claimed_request_id(spool, SV) is None
    submit_request(spool, SV, Request())
    assert claimed_request_id(spool, SV) is None
    claim = claimed(spool)
    assert claimed_request_id(spool, SV) == ""

    spool.records.begin_attempt(claim, Attempt(1))

    assert claimed_request_id(spool, SV) == claim.request_id


def test_the_id_in_a_record_of_a_newer_version_is_not_guessed(
    spool: Spool, directory: Path
) -> None:
    (directory / "SV.claim.1").write_text('{"dsgmigd_claim": 99, "request_id": "id"}')
    (directory / "SV.claim.1").chmod(RECORD_MODE)

    with pytest.raises(StateTooNew):
        claimed_request_id(spool, SV)


def test_a_withdrawn_request_waits_no_more_and_keeps_its_body(spool: Spool) -> None:
    request_id = withdrawn(spool)

    assert spool.waiting() == []
    assert spool.control.withdrawn() == [(SV, request_id)]
    record = read_withdrawn(spool, SV, request_id)
    assert record.request == Request(limit=3)
    assert record.rejection is None
    assert record.submitted_by["uid"] == os.getuid()


def test_each_withdrawal_has_an_id_of_its_own(spool: Spool) -> None:
    one, other = withdrawn(spool), withdrawn(spool)
    assert sorted(spool.control.withdrawn()) == sorted([(SV, one), (SV, other)])
    assert one != other


def test_without_a_request_nothing_is_withdrawn(spool: Spool) -> None:
    assert withdraw_request(spool, SV) is None
    submit_request(spool, SV, Request())
    claimed(spool)

    assert withdraw_request(spool, SV) is None

    assert spool.control.withdrawn() == []


@pytest.mark.parametrize("make", [make_fifo, make_symlink, make_directory, make_hard_link])
def test_a_file_that_cannot_be_a_request_is_left_for_a_worker_to_reject(
    spool: Spool, directory: Path, make: Callable[[Path], None]
) -> None:
    make(directory / "SV.request")

    assert withdraw_request(spool, SV) is None

    assert spool.waiting() == [SV]


def test_a_body_that_is_no_request_is_withdrawn_with_the_reason(
    spool: Spool, directory: Path
) -> None:
    (directory / "SV.request").write_bytes(b"{")
    request_id = withdraw_request(spool, SV)
    assert request_id is not None

    record = read_withdrawn(spool, SV, request_id)

    assert record.rejection is not None
    assert record.request == Request()


def test_a_claim_without_a_record_is_withdrawn_once_its_worker_is_gone(spool: Spool) -> None:
    submit_request(spool, SV, Request(note="orphan"))
    claim = claimed(spool)
    assert withdraw_orphan(spool, SV) is None
    claim.lock.release()

    request_id = withdraw_orphan(spool, SV)

    assert request_id is not None
    assert spool.records.claims() == []
    assert read_withdrawn(spool, SV, request_id).request.note == "orphan"
    lock = spool.lock_repository(SV)
    assert lock is not None
    lock.release()


def test_a_claim_that_was_begun_or_ended_meanwhile_is_no_orphan(spool: Spool) -> None:
    assert withdraw_orphan(spool, SV) is None
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    spool.records.begin_attempt(claim, Attempt(1))
    claim.lock.release()

    assert withdraw_orphan(spool, SV) is None

    assert spool.records.claims() == [("SV", 1)]
    lock = spool.lock_repository(SV)
    assert lock is not None
    lock.release()


@pytest.mark.parametrize("make", [make_fifo, make_symlink, make_directory, make_hard_link])
def test_what_was_exchanged_at_the_last_moment_is_never_read(
    spool: Spool, make: Callable[[Path], None]
) -> None:
    path = Path(spool.control.withdrawn_path(SV, "id"))
    make(path)
    if (secret := path.with_name("secret")).exists():
        secret.write_text('{"note": "the secret"}')

    record = read_withdrawn(spool, SV, "id")

    assert record.request == Request()
    assert "the secret" not in json.dumps(record.to_json())


def test_a_withdrawn_request_is_gone_when_its_result_is_published(
    spool: Spool, directory: Path
) -> None:
    request_id = withdrawn(spool)

    publish_withdrawn(spool, SV, request_id, {"request_id": request_id})

    assert spool.results.newest(SV) == {"request_id": request_id}
    assert kept_results(directory) == [{"request_id": request_id}]
    assert spool.control.withdrawn() == []


def test_a_directory_in_its_place_is_moved_away_unread(spool: Spool, directory: Path) -> None:
    make_directory(Path(spool.control.withdrawn_path(SV, "id")))

    publish_withdrawn(spool, SV, "id", {"request_id": "id"})

    assert (directory / "rejected/id/inside").exists()
    assert spool.control.withdrawn() == []


def test_a_newer_result_stays_shown(spool: Spool) -> None:
    request_id = withdrawn(spool)
    body = Path(spool.control.withdrawn_path(SV, request_id)).read_bytes()
    publish_withdrawn(spool, SV, request_id, {"request_id": request_id, "finished_at": "2001"})
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    finish_claim(spool, claim, result_of(claim, finished_at="2002"))
    Path(spool.control.withdrawn_path(SV, request_id)).write_bytes(body)

    publish_withdrawn(spool, SV, request_id, {"request_id": request_id, "finished_at": "2003"})

    assert (spool.results.newest(SV) or {})["finished_at"] == "2002"
    assert (spool.results.of_request(SV, request_id) or {})["finished_at"] == "2001"
    assert spool.control.withdrawn() == []


def test_a_crash_anywhere_gives_a_withdrawn_request_one_result(
    spool: Spool, directory: Path
) -> None:
    """It is there until its result is, and another try says what the first one said."""
    left = set()
    for count in range(20):
        request_id = withdrawn(spool)
        effects = cut_off_after(count)
        try:
            publish_withdrawn(spool, SV, request_id, {"at": "first", "finished_at": f"{count:02}"})
        except CutOffError:
            effects.undo()
        else:
            effects.undo()
            break
        kept = spool.results.of_request(SV, request_id)
        is_left = bool(spool.control.withdrawn())
        assert kept or is_left
        left.add((kept is not None, is_left))
        if is_left:
            again = {"at": "again", "finished_at": f"{count:02}"}
            publish_withdrawn(spool, SV, request_id, again)
            assert spool.results.newest(SV) == (kept or again)
        assert spool.control.withdrawn() == []
        assert len(kept_results(directory)) == count + 1
    assert left == {(False, True), (True, True), (True, False)}
