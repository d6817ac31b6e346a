"""The ledger is recounted, and every result is compared with its line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.maintenance.ledger_check import LedgerCheck, Problem, check_ledger
from dsgmigd.request import Request
from dsgmigd.spool.claim import Unclaimable
from dsgmigd.spool.claim_record import Attempt
from dsgmigd.spool.claiming import claim_request, finish_claim, reject_claim, reject_file
from dsgmigd.spool.ledger_line import BEGUN, Entry
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from dsgmigd.spool.withdrawal import withdraw_request
from tests.unit.spool.claims import SV, claimed, result_of

ENDED = 5


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool with the results of some requests."""
    spool = Spool(str(tmp_path), instance=1)
    spool.prepare()
    spool.instances.lock().release()
    for number in range(ENDED):
        answer(spool, note=str(number))
    return spool


def answer(spool: Spool, **more: Any) -> str:
    """Submit a request and end it; return its id."""
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    finish_claim(spool, claim, result_of(claim, **more))
    claim.lock.release()
    return claim.request_id


def lines(spool: Spool) -> list[bytes]:
    return Path(spool.layout.ledger).read_bytes().splitlines(keepends=True)


def rewrite(spool: Spool, *changed: bytes) -> None:
    Path(spool.layout.ledger).write_bytes(b"".join(changed))


def misfit_of(found: LedgerCheck) -> tuple[int, str]:
    assert found.misfit is not None
    assert not found.is_intact
    return found.misfit.line, found.misfit.why


def kept(spool: Spool) -> list[Path]:
    return sorted(Path(spool.layout.results).glob("*.json"))


def test_a_ledger_that_nobody_touched_is_intact(spool: Spool) -> None:
    found = check_ledger(spool)
    assert found.is_intact
    assert (found.results, found.pruned, found.unended) == (ENDED, 0, [])
    assert found.head is not None
    assert found.head.line == ENDED
    assert found.to_json()["is_intact"] is True


def test_without_a_ledger_there_is_nothing_to_find(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    spool.prepare()
    found = check_ledger(spool)
    assert found.is_intact
    assert found.head is None


def edit(there: list[bytes]) -> list[bytes]:
    return [*there[:2], there[2].replace(b'"done"', b'"fine"'), *there[3:]]


def remove(there: list[bytes]) -> list[bytes]:
    return there[:2] + there[3:]


def exchange(there: list[bytes]) -> list[bytes]:
    return [*there[:2], there[3], there[2], *there[4:]]


@pytest.mark.parametrize(
    ("change", "why"), [(edit, "edited"), (remove, "removed"), (exchange, "reordered")]
)
def test_the_first_line_that_does_not_fit_is_named(
    spool: Spool, change: Callable[[list[bytes]], list[bytes]], why: str
) -> None:
    rewrite(spool, *change(lines(spool)))
    assert misfit_of(check_ledger(spool)) == (3, why)


def test_a_torn_line_is_found_until_it_is_recovered(spool: Spool) -> None:
    rewrite(spool, *lines(spool), b'{"seq"')
    assert misfit_of(check_ledger(spool)) == (ENDED + 1, "torn")
    answer(spool)
    found = check_ledger(spool)
    assert found.is_intact
    assert (found.recovered, found.results) == (1, ENDED + 1)


def test_a_tail_that_was_cut_off_shows_by_a_hash_that_was_noted(spool: Spool) -> None:
    head = check_ledger(spool).head
    assert head is not None
    assert check_ledger(spool, wanted=head.sha256).is_intact
    answer(spool)
    assert check_ledger(spool, wanted=head.sha256).is_intact, "it is not the last, but there"

    cut = lines(spool)[: ENDED - 1]
    rewrite(spool, *cut)
    for path in kept(spool):
        if path.name.encode() not in b"".join(cut):
            path.unlink()

    assert check_ledger(spool).is_intact, "the chain fits"
    found = check_ledger(spool, wanted=head.sha256)
    assert (found.has_wanted, found.is_intact) == (False, False)


def test_a_result_that_was_changed_or_is_gone_is_named_with_its_line(spool: Spool) -> None:
    first, second = (name_of(spool, number) for number in (1, 2))
    Path(spool.layout.recorded_result(first)).write_text("{}")
    Path(spool.layout.recorded_result(second)).unlink()
    found = check_ledger(spool)
    assert found.problems == [
        Problem(first, 1, "it is not what it was when its line was written"),
        Problem(second, 2, "it is gone"),
    ]
    assert (found.misfit, found.is_intact) == (None, False)


def name_of(spool: Spool, number: int) -> str:
    (name,) = (path.name for path in kept(spool) if path.name.encode() in lines(spool)[number - 1])
    return name


def test_a_result_that_somebody_put_there_is_named(spool: Spool) -> None:
    (Path(spool.layout.results) / "SV.forged.json").write_text('{"outcome": "done"}')
    found = check_ledger(spool)
    assert found.problems == [Problem("SV.forged.json", None, "no line names it")]


def test_results_from_before_the_ledger_are_counted_and_are_no_problem(spool: Spool) -> None:
    path = Path(spool.layout.results) / "SV.old.json"
    path.write_text('{"outcome": "done"}')
    os.utime(path, (1_000_000_000, 1_000_000_000))
    found = check_ledger(spool)
    assert (found.is_intact, found.older) == (True, 1)


def test_results_of_rejected_requests_may_be_gone_or_have_no_line(spool: Spool) -> None:
    member = {"uid": 4_000_000_000, "user": "ana"}
    for _ in range(8):
        submit_request(spool, SV, Request())
        claim = claimed(spool)
        result = result_of(claim, outcome="rejected", submitted_by=member)
        reject_claim(spool, claim, result)
        claim.lock.release()
    found = check_ledger(spool)
    assert (found.is_intact, found.results) == (True, ENDED + 5)
    Path(spool.layout.recorded_result(name_of(spool, ENDED + 1))).unlink()
    found = check_ledger(spool)
    assert (found.is_intact, found.results, found.pruned) == (True, ENDED + 4, 1)


def test_the_answer_to_a_bad_name_is_checked_where_it_lies(spool: Spool) -> None:
    os.mkfifo(os.path.join(spool.directory, "no name.request"))
    refused = claim_request(spool, "no name")
    assert isinstance(refused, Unclaimable)
    reject_file(spool, refused, {"outcome": "rejected"})
    assert check_ledger(spool).results == ENDED + 1
    Path(spool.layout.rejected_result(refused.request_id)).write_text("{}")
    assert not check_ledger(spool).is_intact


def test_a_result_whose_request_has_not_ended_needs_no_line_yet(spool: Spool) -> None:
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    spool.records.begin_attempt(claim, Attempt(1))
    spool.results.publish(SV, claim.request_id, result_of(claim))
    assert check_ledger(spool).is_intact
    finish_claim(spool, claim, result_of(claim))
    claim.lock.release()
    submit_request(spool, SV, Request())
    request_id = withdraw_request(spool, SV)
    assert request_id is not None
    spool.results.publish(SV, request_id, {"request_id": request_id})
    assert check_ledger(spool).is_intact


def test_a_command_that_was_begun_and_never_ended_is_listed(spool: Spool) -> None:
    seq = spool.ledger.append(Entry("migrate", BEGUN, 0, request_id="run")).seq
    spool.results.reserve_foreground(SV)
    spool.results.keep_foreground(SV, "run", {"outcome": "done"})
    found = check_ledger(spool)
    assert (found.unended, found.is_intact) == ([seq], True)
    ended = Entry("migrate", "done", 0, request_id="run", begun=seq)
    spool.ledger.append(spool.ledger.with_result(ended, spool.layout.kept_result(SV, "run")))
    found = check_ledger(spool)
    assert (found.unended, found.is_intact, found.results) == ([], True, ENDED + 1)


def test_two_lines_about_one_request_are_told(spool: Spool) -> None:
    spool.ledger.append(Entry("request", "done", 1, request_id="one", again=True))
    seq = spool.ledger.append(Entry("request", "done", 1, request_id="one", again=True)).seq
    found = check_ledger(spool)
    assert (found.repeated, found.is_intact) == ([seq], True)
