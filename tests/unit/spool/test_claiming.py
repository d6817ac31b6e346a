"""From a request to a claim, and from a claim to a result, on a real directory."""

import errno
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from dsgmigd.errors import InvalidRequest
from dsgmigd.request import Request
from dsgmigd.spool import claiming as claiming_module
from dsgmigd.spool.claim import Claim, Unclaimable
from dsgmigd.spool.claim_record import Attempt
from dsgmigd.spool.claiming import (
    adopt_claim,
    claim_request,
    finish_claim,
    reject_claim,
    reject_file,
)
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from tests.unit.failing import failing
from tests.unit.spool.claims import SV, claimed, kept_results, result_of
from tests.unit.spool.crashes import CutOffError, cut_off_after
from tests.unit.spool.occupants import (
    make_directory,
    make_fifo,
    make_hard_link,
    make_huge,
    make_symlink,
)


@pytest.mark.parametrize("action", ["claim", "adopt"])
def test_a_lock_is_let_go_when_the_spool_fails(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    dead = Spool(spool.directory, 9)
    submit_request(dead, SV, Request())
    if action == "adopt":
        claim = claim_request(dead, SV)
        assert isinstance(claim, Claim)
        claim.lock.release()
    monkeypatch.setattr(claiming_module, "rename_noreplace", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        claim_request(spool, SV) if action == "claim" else adopt_claim(spool, SV, 9)
    lock = spool.lock_repository(SV)
    assert lock is not None
    lock.release()


def test_an_empty_request_is_claimed_with_default_options(spool: Spool, directory: Path) -> None:
    (directory / "SV.request").touch()

    claim = claimed(spool)

    assert claim.options == Request()
    assert [path.name for path in directory.glob("SV.*")] == ["SV.claim.1"]
    assert claim.record.submitted_by["uid"] == os.getuid()


def test_while_a_repository_is_locked_its_next_request_waits(spool: Spool, directory: Path) -> None:
    (directory / "SV.request").touch()
    first = claimed(spool)
    (directory / "SV.request").touch()
    other = Spool(str(directory), instance=2)

    assert claim_request(other, "SV") is None
    finish_claim(spool, first, result_of(first))
    first.lock.release()

    assert claimed(other).path.endswith("SV.claim.2")


def test_a_request_beside_an_orphan_claim_waits_until_the_claim_is_done(
    spool: Spool, directory: Path
) -> None:
    (directory / "SV.request").touch()
    claimed(spool).lock.release()
    (directory / "SV.request").touch()

    assert claim_request(spool, "SV") is None
    assert claim_request(Spool(str(directory), instance=2), "SV") is None


def test_a_request_that_somebody_still_writes_is_left_alone(spool: Spool, directory: Path) -> None:
    with (directory / "SV.request").open("w") as writer:
        writer.write('{"limit"')
        writer.flush()
        assert claim_request(spool, "SV") is None
        writer.write(": 2}")

    assert claimed(spool).options.limit == 2


def test_of_many_claimants_exactly_one_gets_the_request(directory: Path) -> None:
    (directory / "SV.request").touch()
    barrier = threading.Barrier(8)
    found: list[Claim] = []

    def claim(instance: int) -> None:
        spool = Spool(str(directory), instance)
        barrier.wait()
        claim = claim_request(spool, "SV")
        if isinstance(claim, Claim):
            found.append(claim)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 1


OPENED: list[str] = []
sys.addaudithook(lambda event, args: OPENED.append(str(args[0])) if event == "open" else None)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_fifo, "is a FIFO"),
        (make_symlink, "is a symbolic link"),
        (make_directory, "is a directory"),
        (make_hard_link, "has 2 hard links"),
        (make_huge, "has 1048576 bytes"),
    ],
)
def test_what_is_no_request_file_is_refused_without_being_opened(
    spool: Spool, directory: Path, make: Any, words: str
) -> None:
    make(directory / "SV.request")
    OPENED.clear()

    refused = claim_request(spool, "SV")

    assert not [path for path in OPENED if path.endswith((".request", "secret"))]
    assert isinstance(refused, Unclaimable)
    assert words in refused.message
    assert spool.lock_repository(SV) is not None


def test_a_refused_file_is_moved_aside_and_its_result_lies_in_the_spool(
    spool: Spool, directory: Path
) -> None:
    make_fifo(directory / "SV.request")
    refused = claim_request(spool, "SV")
    assert isinstance(refused, Unclaimable)

    assert reject_file(spool, refused, {"at": 1})
    assert not reject_file(spool, refused, {"at": 2})

    assert spool.results.newest(SV) == {"at": 1}
    assert (directory / "rejected" / f"SV.{refused.request_id}").is_fifo()


@pytest.mark.parametrize("name", ["SV", "no name"])
def test_a_refusal_that_a_crash_cuts_off_is_answered_once(
    spool: Spool, directory: Path, name: str
) -> None:
    """At whatever effect it dies: what was refused is there still, or its answer is."""
    for count in range(40):
        make_fifo(directory / f"{name}.request")
        effects = cut_off_after(count)
        refused = claim_request(spool, name)
        assert isinstance(refused, Unclaimable)
        try:
            reject_file(spool, refused, {"at": count})
        except CutOffError:
            effects.undo()
            again = claim_request(spool, name)
            if isinstance(again, Unclaimable):
                assert again.request_id == refused.request_id
                reject_file(spool, again, {"at": "later"})
            assert spool.waiting() == []
        else:
            effects.undo()
            assert count > 3
            break
        answers = [*directory.glob(".dsgmigd/results/*.json"), *directory.glob("rejected/*.json")]
        assert len(answers) == count + 1


@pytest.mark.parametrize(
    "name", ["..", "a@b", "-x", "a b", "x" * 201, "SV-norm", "a\nb", "ä", "\udcff"]
)
def test_a_file_with_an_impossible_name_is_refused_and_its_result_lies_beside_it(
    spool: Spool, directory: Path, name: str
) -> None:
    (directory / f"{name}.request").touch()
    refused = claim_request(spool, name)
    assert isinstance(refused, Unclaimable)
    assert refused.repo is None

    reject_file(spool, refused, {"outcome": "rejected"})

    moved = refused.request_id
    assert sorted(os.listdir(directory / "rejected")) == [moved, f"{moved}.result.json"]
    assert spool.waiting() == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"limi": 2}', b"\xff", b"[" * 60_000])
def test_a_body_that_is_no_request_is_claimed_and_says_why(
    spool: Spool, directory: Path, body: bytes
) -> None:
    (directory / "SV.request").write_bytes(body)
    claim = claimed(spool)

    with pytest.raises(InvalidRequest):
        _ = claim.options

    reject_claim(spool, claim, result_of(claim, outcome="rejected"))
    assert (directory / "rejected" / f"SV.{claim.request_id}").exists()
    assert spool.records.claims() == []


def test_a_claim_whose_worker_lives_is_not_adopted(spool: Spool, directory: Path) -> None:
    submit_request(spool, SV, Request())
    claimed(spool)

    assert adopt_claim(Spool(str(directory), instance=2), SV, 1) is None


def test_a_lock_inherited_by_a_child_outlives_its_worker(spool: Spool, directory: Path) -> None:
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    child = os.dup(claim.lock.descriptor)
    claim.lock.release()

    assert adopt_claim(Spool(str(directory), instance=2), SV, 1) is None
    os.close(child)
    assert adopt_claim(Spool(str(directory), instance=2), SV, 1) is not None


def test_a_claim_that_was_never_recorded_is_adopted_with_its_body(
    spool: Spool, directory: Path
) -> None:
    (directory / "SV.claim.1").write_text('{"limit": 7}')

    claim = adopt_claim(spool, SV, 1)

    assert claim is not None
    assert claim.options.limit == 7
    assert claim.attempts == ()


def test_a_body_that_poses_as_our_record_is_refused(spool: Spool, directory: Path) -> None:
    forged = {"dsgmigd_claim": 1, "request_id": "theirs", "attempts": [], "options": {}}
    (directory / "SV.request").write_text(json.dumps(forged))

    claim = claimed(spool)

    assert claim.request_id != "theirs"
    with pytest.raises(InvalidRequest, match="unknown key"):
        _ = claim.options


def test_the_record_of_a_result_is_there_before_its_claim_is_gone(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    were_there = []
    monkeypatch.setattr(
        "dsgmigd.spool.claiming.log_result", lambda _: were_there.append(Path(claim.path).exists())
    )
    finish_claim(spool, claim, result_of(claim))
    assert were_there == [True]


@pytest.mark.parametrize("is_shown", [True, False])
def test_after_a_crash_between_result_and_claim_only_the_claim_goes(
    spool: Spool, directory: Path, *, is_shown: bool
) -> None:
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    spool.records.begin_attempt(claim, Attempt(1))
    record = Path(claim.path).read_bytes()
    finish_claim(spool, claim, result_of(claim))
    claim.lock.release()
    Path(claim.path).write_bytes(record)
    Path(claim.path).chmod(0o600)
    if not is_shown:
        (directory / "SV.result.json").unlink()

    with structlog.testing.capture_logs() as logs:
        assert adopt_claim(spool, SV, 1) is None

    (told,) = logs
    assert (told["event"], told["replayed"]) == ("request.finished", 1)
    assert (told["repo"], told["request_id"]) == ("SV", claim.request_id)
    assert spool.records.claims() == []
    assert spool.results.newest(SV) == result_of(claim)
    assert len(kept_results(directory)) == 1


# What a user exchanges between two looks at it.


def exchange_after(
    monkeypatch: pytest.MonkeyPatch, name: str, exchange: Callable[[], None]
) -> None:
    """Let `exchange` happen right after the spool called its function `name`."""
    real = getattr(claiming_module, name)

    def called(*arguments: Any) -> Any:
        value = real(*arguments)
        monkeypatch.undo()
        exchange()
        return value

    monkeypatch.setattr(claiming_module, name, called)


@pytest.mark.parametrize("make", [make_fifo, make_symlink, make_directory])
@pytest.mark.parametrize("moment", ["why_no_request", "is_being_written", "rename_noreplace"])
def test_what_is_exchanged_while_it_is_claimed_is_no_claim_and_holds_nothing_up(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch, make: Any, moment: str
) -> None:
    request = directory / "SV.request"
    request.touch()
    ours = directory / ("SV.claim.1" if moment == "rename_noreplace" else "SV.request")

    def exchange() -> None:
        ours.unlink()
        make(ours)

    exchange_after(monkeypatch, moment, exchange)
    assert not isinstance(claim_request(spool, "SV"), Claim)

    assert spool.records.claims() == []
    if os.path.lexists(request):
        request.rename(directory / "theirs")
    request.touch()
    assert claimed(spool).options == Request()


def test_a_hard_link_that_came_after_the_look_is_rejected_and_nothing_of_it_is_told(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = directory / "SV.request"
    request.touch()
    secret = directory.with_name("secret.json")
    secret.write_text('{"the secret": 1}')

    def exchange() -> None:
        request.unlink()
        request.hardlink_to(secret)

    exchange_after(monkeypatch, "is_being_written", exchange)
    claim = claimed(spool)

    with pytest.raises(InvalidRequest, match="has 2 hard links"):
        _ = claim.options
    assert "the secret" not in json.dumps(claim.record.to_json())


def test_a_file_of_somebody_who_may_not_submit_is_claimed_to_be_rejected_unread(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        claiming_module, "why_not_allowed", lambda *_: ("not in the group", "join it")
    )
    (directory / "SV.request").write_text('{"note": "let me in"}')

    claim = claimed(spool)

    with pytest.raises(InvalidRequest, match="not in the group"):
        _ = claim.options
    assert "let me in" not in json.dumps(claim.record.to_json())
