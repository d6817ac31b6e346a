"""What stays in rejected/, and what goes when newer files come."""

import os
from pathlib import Path

import pytest

from dsgmigd.names import RepoName
from dsgmigd.spool import rejected
from dsgmigd.spool.claim import Unclaimable
from dsgmigd.spool.claiming import claim_request, reject_claim, reject_file
from dsgmigd.spool.rejected import Rejected, move_to_rejected, surplus
from dsgmigd.spool.spool import Spool
from tests.unit.spool.claims import SV, claimed, kept_results, result_of
from tests.unit.spool.occupants import make_directory, make_fifo

CO = RepoName("CO")


@pytest.fixture(autouse=True)
def few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected.surplus, "__defaults__", (3,))
    monkeypatch.setattr(rejected, "is_administrator", lambda _: False)


def reject(spool: Spool, name: str) -> str:
    """Submit what is no request, and have it answered; return its id."""
    Path(spool.layout.request(name)).write_text("{")
    claim = claimed(spool, name)
    reject_claim(spool, claim, result_of(claim, outcome="rejected"))
    claim.lock.release()
    return claim.request_id


def reject_fifo(spool: Spool, directory: Path, name: str) -> None:
    """Submit what can be no request, and have it answered."""
    make_fifo(directory / f"{name}.request")
    refused = claim_request(spool, name)
    assert isinstance(refused, Unclaimable)
    assert reject_file(spool, refused, {"outcome": "rejected"})


def test_the_oldest_of_each_owner_go_and_those_of_others_stay() -> None:
    files = [Rejected(f"a{number}", 1000, number) for number in range(5)]
    files += [Rejected(f"b{number}", 1001, number) for number in range(3)]
    assert surplus(reversed(files), kept=3) == ["a0", "a1"]
    assert surplus(files, kept=5) == []


@pytest.mark.parametrize("names", [["SV"], ["A", "B", "C", "D", "E", "F", "G", "H"]])
def test_rejected_requests_are_bounded_with_all_that_their_answers_leave(
    spool: Spool, directory: Path, names: list[str]
) -> None:
    """The same name over and over is under a lock that the caller holds."""
    ids = [reject(spool, name) for _ in range(8 // len(names)) for name in names]

    assert len(os.listdir(directory / "rejected")) == 3
    assert {result["request_id"] for result in kept_results(directory)} == set(ids[-3:])
    shown = [path.name for path in directory.glob("*.result.json")]
    assert sorted(shown) == sorted({f"{name}.result.json" for name in names[-3:]})


def test_what_an_administrator_submitted_stays_however_much_it_is(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "is_administrator", lambda uid: uid == os.geteuid())
    ids = {reject(spool, name) for name in "ABCDEFGH"}
    assert {result["request_id"] for result in kept_results(directory)} == ids
    assert len(os.listdir(directory / "rejected")) == 8


def test_files_without_a_valid_name_are_bounded_with_their_results(
    spool: Spool, directory: Path
) -> None:
    for _ in range(8):
        reject_fifo(spool, directory, "no name")
    assert len(os.listdir(directory / "rejected")) == 6


def test_files_that_can_be_no_request_are_bounded_with_their_results(
    spool: Spool, directory: Path
) -> None:
    for _ in range(8):
        reject_fifo(spool, directory, "SV")
    assert len(os.listdir(directory / "rejected")) == 3
    assert len(kept_results(directory)) == 3


def test_a_newer_result_of_the_same_repository_stays_shown(spool: Spool, directory: Path) -> None:
    reject(spool, "SV")
    spool.results.publish(SV, "done", {"request_id": "done"})
    for _ in range(3):
        reject(spool, "CO")
    assert spool.results.newest(SV) == {"request_id": "done"}
    assert len(kept_results(directory)) == 4
    assert len(os.listdir(directory / "rejected")) == 3


def test_an_answer_stays_while_somebody_works_on_its_repository(
    spool: Spool, directory: Path
) -> None:
    first = reject(spool, "SV")
    lock = spool.lock_repository(SV)
    assert lock is not None
    for _ in range(3):
        reject(spool, "CO")
    assert spool.results.of_request(SV, first)
    assert (directory / f"rejected/SV.{first}").exists()
    lock.release()
    reject(spool, "CO")
    assert not spool.results.of_request(SV, first)
    assert len(os.listdir(directory / "rejected")) == 3


def test_a_directory_of_a_user_stays_with_what_is_in_it(spool: Spool, directory: Path) -> None:
    make_directory(directory / "full")
    (directory / "empty").mkdir()
    for name in ("full", "empty"):
        move_to_rejected(spool.layout, str(directory / name), name)
    for _ in range(3):
        reject(spool, "CO")
    assert (directory / "rejected/full/inside").exists()
    assert not (directory / "rejected/empty").exists()
