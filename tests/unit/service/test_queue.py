"""What one instance takes next from a real spool."""

import errno
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from dsgmigd.errors import SpoolFailing, TargetFull
from dsgmigd.migration.job import Settings
from dsgmigd.names import DatasetName, RepoName
from dsgmigd.request import Request
from dsgmigd.service import permission as permission_module
from dsgmigd.service import queue as queue_module
from dsgmigd.service import rejections as rejections_module
from dsgmigd.service.permission import Permission
from dsgmigd.service.queue import Queue
from dsgmigd.service.rejections import LIMIT
from dsgmigd.spool.claim import Claim
from dsgmigd.spool.claim_record import RECORD_MODE, Attempt
from dsgmigd.spool.claiming import claim_request
from dsgmigd.spool.control import Cancel
from dsgmigd.spool.deferral import Deferral, Moment
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from dsgmigd.spool.withdrawal import withdraw_request
from tests.unit.failing import failing


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(str(tmp_path), instance=3)
    spool.prepare()
    return spool


SETTINGS = Settings("/nowhere", DatasetName("no-such-pool"), "no-such-pool/.dsgmigd")
PERMISSION = Permission(SETTINGS)


def submit(spool: Spool, *names: str) -> None:
    for name in names:
        assert submit_request(spool, RepoName(name), Request())


def orphan(spool: Spool, name: str, instance: int = 4, *, is_begun: bool = True) -> Claim:
    """Leave a claim whose worker has crashed."""
    dead = Spool(spool.directory, instance)
    dead.instances.lock().release()
    submit(dead, name)
    claim = claim_request(dead, name)
    assert isinstance(claim, Claim)
    if is_begun:
        dead.records.begin_attempt(claim, Attempt(instance))
    claim.lock.release()
    return claim


def defer(spool: Spool, claim: Claim, delay_seconds: int) -> None:
    full = TargetFull("no space", hint="make some")
    deferral = Deferral.of(full, now=Moment.now(), delay_seconds=delay_seconds, not_before="then")
    spool.records.defer(claim, deferral)


def taken(spool: Spool) -> list[str]:
    """Take all that the queue gives after one look at the spool; return the repositories."""
    queue, found = Queue(spool, PERMISSION), list[str]()
    queue.scan()
    while queue:
        claim = queue.next_claim()
        if claim:
            found.append(claim.repo)
            claim.lock.release()
    return found


def test_orphan_claims_come_first_then_requests_by_arrival(spool: Spool) -> None:
    submit(spool, "B")
    orphan(spool, "Z")
    submit(spool, "A")
    in_this_order(*(Path(spool.layout.request(name)) for name in ("B", "A")))

    assert taken(spool) == ["Z", "B", "A"]


def in_this_order(*paths: Path) -> None:
    """Let files arrive one after the other; the kernel's clock ticks coarsely."""
    for one, next_one in itertools.pairwise(paths):
        while next_one.stat().st_ctime_ns <= one.stat().st_ctime_ns:
            next_one.chmod(0o644)


def test_a_claim_that_nobody_has_begun_comes_in_the_order_of_its_arrival(spool: Spool) -> None:
    """A member may have made it, to be served before all others."""
    Spool(spool.directory, 4).instances.lock().release()
    names = ("B.request", "JUMPS.claim.4", "LATER.request")
    paths = [Path(spool.directory, name) for name in names]
    for path in paths:
        path.touch()
    in_this_order(*paths)
    orphan(spool, "Z")

    assert taken(spool) == ["Z", "B", "JUMPS", "LATER"]


def test_a_claim_of_an_instance_that_never_ran_is_not_served(spool: Spool) -> None:
    path = Path(spool.directory, "A.claim.7")
    path.touch()
    submit(spool, "B")

    assert taken(spool) == ["B"]
    assert path.exists()


def test_a_claim_that_the_queue_gives_is_ours_and_locked(spool: Spool) -> None:
    orphan(spool, "A")
    queue = Queue(spool, PERMISSION)
    queue.scan()

    claim = queue.next_claim()

    assert claim is not None
    assert spool.records.claims() == [("A", 3)]
    assert spool.lock_repository(RepoName("A")) is None
    claim.lock.release()


def test_the_queue_is_what_the_last_look_found(spool: Spool) -> None:
    queue = Queue(spool, PERMISSION)
    assert not queue
    submit(spool, "A")
    assert not queue
    for _ in range(2):
        queue.scan()
        assert len(queue) == 1


def test_what_another_instance_took_meanwhile_is_none(spool: Spool) -> None:
    submit(spool, "A")
    queue = Queue(spool, PERMISSION)
    queue.scan()
    assert isinstance(claim_request(Spool(spool.directory, 4), "A"), Claim)

    assert queue.next_claim() is None
    assert not queue


@pytest.mark.parametrize("name", ["A", "no name"])
def test_a_file_that_cannot_be_a_request_is_rejected_with_a_result(spool: Spool, name: str) -> None:
    os.mkfifo(spool.layout.request(name))
    with structlog.testing.capture_logs() as logs:
        assert taken(spool) == []

    (told,) = [one for one in logs if one["event"] == "request.rejected"]
    assert told["repo"] == name
    result = spool.results.last(RepoName("A"))
    if name == "A":
        assert result is not None
        assert (result["outcome"], result["instance"]) == ("rejected", 3)
        assert result["submitted_by"]["uid"] == os.getuid()
    assert spool.waiting() == []
    assert os.listdir(spool.layout.rejected)


def test_a_paused_repository_is_left_also_if_the_pause_is_newer_than_the_look(
    spool: Spool,
) -> None:
    submit(spool, "A")
    queue = Queue(spool, PERMISSION)
    queue.scan()
    spool.control.pause(RepoName("A"))

    assert queue.next_claim() is None

    assert spool.waiting() == ["A"]
    spool.control.resume(RepoName("A"))
    assert taken(spool) == ["A"]


@pytest.mark.parametrize("instance", [3, None])
def test_a_paused_instance_takes_only_what_it_has_begun(spool: Spool, instance: int | None) -> None:
    submit(spool, "A")
    orphan(spool, "OTHER")
    orphan(spool, "BEGUN", instance=3)
    orphan(spool, "NEW", instance=3, is_begun=False)
    spool.control.pause(instance=instance)

    assert taken(spool) == ["BEGUN"]

    spool.control.resume(instance=instance)
    assert sorted(taken(spool)) == ["A", "BEGUN", "NEW", "OTHER"]


def test_what_was_begun_is_continued_while_its_repository_is_paused(spool: Spool) -> None:
    orphan(spool, "BEGUN")
    orphan(spool, "NEW", is_begun=False)
    for name in ("BEGUN", "NEW"):
        spool.control.pause(RepoName(name))

    assert taken(spool) == ["BEGUN"]


@pytest.mark.parametrize(("delay_seconds", "expected"), [(3600, []), (0, ["A"])])
def test_a_retry_is_taken_when_it_is_due(
    spool: Spool, delay_seconds: int, expected: list[str]
) -> None:
    defer(Spool(spool.directory, 3), orphan(spool, "A", instance=3), delay_seconds)
    assert taken(spool) == expected


@pytest.mark.parametrize("pause", [{"repo": RepoName("A")}, {"instance": 3}])
def test_a_pause_holds_a_retry_that_is_due(spool: Spool, pause: dict[str, Any]) -> None:
    defer(Spool(spool.directory, 3), orphan(spool, "A", instance=3), 0)
    spool.control.pause(**pause)
    assert taken(spool) == []


def test_a_cancelled_claim_is_taken_whatever_holds_it(spool: Spool) -> None:
    claim = orphan(spool, "A")
    defer(Spool(spool.directory, 4), claim, 3600)
    spool.control.pause()
    spool.control.ask_to_cancel(claim.repo, Cancel(claim.request_id, discard=False))

    assert taken(spool) == ["A"]


def test_a_look_ends_what_a_command_that_crashed_had_withdrawn(spool: Spool) -> None:
    submit(spool, "A")
    assert withdraw_request(spool, RepoName("A"))

    Queue(spool, PERMISSION).scan()

    assert (spool.results.newest(RepoName("A")) or {})["outcome"] == "cancelled"


def test_a_claim_of_a_newer_version_is_skipped_and_the_journal_says_so(spool: Spool) -> None:
    path = Path(spool.directory, "A.claim.3")
    path.write_text('{"dsgmigd_claim": 99}')
    path.chmod(RECORD_MODE)
    submit(spool, "B")
    with structlog.testing.capture_logs() as logs:
        assert taken(spool) == ["B"]

    (told,) = [one for one in logs if one["event"] == "claim.skipped"]
    assert "version 99" in told["reason"]
    assert path.exists()


@pytest.mark.parametrize("call", ["clean_up", "claim_request"])
def test_a_spool_that_fails_is_said_to_fail(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    submit(spool, "A")
    monkeypatch.setattr(queue_module, call, failing(errno.EIO))

    with pytest.raises(SpoolFailing, match="Input/output"):
        taken(spool)

    assert spool.waiting() == ["A"]


# Many rejected requests of one owner.


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file be that of a member, who is not the daemon's user."""
    monkeypatch.setattr(rejections_module, "is_administrator", lambda _: False)
    monkeypatch.setattr(permission_module, "is_administrator", lambda _: False)


def served(queue: Queue) -> list[str]:
    """Take all that the queue gives after one look; answer what is rejected."""
    queue.scan()
    found = list[str]()
    while queue:
        claim = queue.next_claim()
        if claim:
            found.append(claim.repo)
            os.unlink(claim.path)
            claim.lock.release()
    return found


@pytest.mark.usefixtures("member")
@pytest.mark.parametrize("body", ["{", '{"replace": true}'])
def test_beyond_the_limit_rejected_requests_wait_and_valid_ones_are_served(
    spool: Spool, body: str
) -> None:
    queue = Queue(spool, PERMISSION)
    for number in range(LIMIT):
        Path(spool.layout.request(f"X{number}")).write_text(body)
    assert len(served(queue)) == LIMIT
    Path(spool.layout.request("MORE")).write_text(body)
    os.mkfifo(spool.layout.request("PIPE"))
    Path(spool.layout.request("no name")).touch()
    Path(spool.directory, "PLANTED.claim.3").write_text(body)
    spool.instances.lock().release()
    submit(spool, "VALID")
    before = len(os.listdir(spool.layout.locks))
    with structlog.testing.capture_logs() as logs:
        assert served(queue) == ["VALID"]
        assert served(queue) == []

    assert [one["event"] for one in logs] == ["rejections.limited"]
    assert "60 requests of this user" in logs[0]["reason"]
    assert sorted(spool.waiting()) == ["MORE", "PIPE", "no name"]
    assert spool.records.claims() == [("PLANTED", 3)]
    assert os.listdir(spool.layout.rejected) == []
    assert len(os.listdir(spool.layout.locks)) == before + 1


@pytest.mark.usefixtures("member")
def test_files_that_can_be_no_requests_count_like_rejected_bodies(spool: Spool) -> None:
    queue = Queue(spool, PERMISSION)
    for number in range(LIMIT + 5):
        os.mkfifo(spool.layout.request(f"X{number}"))
    assert served(queue) == []
    assert len(spool.waiting()) == 5
