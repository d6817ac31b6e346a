"""The spool on a real directory."""

import errno
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from dsgmigd import spool as spool_module
from dsgmigd.claim import Claim, Unclaimable, submission
from dsgmigd.errors import AlreadyRunning, InvalidRequest, SpoolUnusable
from dsgmigd.instances import Instances
from dsgmigd.names import RepoName
from dsgmigd.request import Request
from dsgmigd.spool import Spool

SV = RepoName("SV")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    Spool(str(tmp_path)).prepare()
    return tmp_path


@pytest.fixture
def spool(directory: Path) -> Spool:
    spool = Spool(str(directory), instance=1)
    spool.instances.lock().release()
    return spool


def claimed(spool: Spool, name: str = "SV") -> Claim:
    claim = spool.claim(name)
    assert isinstance(claim, Claim)
    return claim


class CutOffError(Exception):
    """The process died here."""


def cut_off_after(count: int) -> pytest.MonkeyPatch:
    """Let the process die at the effect after `count` of them, until `undo`."""
    patch = pytest.MonkeyPatch()
    left = iter([True] * count)
    for name in ("rename", "link", "unlink", "fsync"):
        real = getattr(os, name)

        def effect(*arguments: Any, real: Any = real, **options: Any) -> Any:
            if not next(left, False):
                raise CutOffError
            return real(*arguments, **options)

        patch.setattr(os, name, effect)
    return patch


def result_of(claim: Claim, **more: Any) -> dict[str, Any]:
    return {"request_id": claim.request_id, "repo": claim.repo, "outcome": "done", **more}


def kept_results(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (directory / ".dsgmigd/results").iterdir()]


@pytest.mark.parametrize("verb", ["claim", "adopt"])
def test_a_lock_is_let_go_when_the_spool_fails(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "made up")

    dead = Spool(spool.directory, 9)
    dead.submit(SV, Request())
    if verb == "adopt":
        claim = dead.claim(SV)
        assert isinstance(claim, Claim)
        claim.lock.release()
    monkeypatch.setattr(spool_module, "rename_noreplace", failing)
    with pytest.raises(OSError, match="made up"):
        spool.claim(SV) if verb == "claim" else spool.adopt(SV, 9)
    lock = spool.lock_repository(SV)
    assert lock is not None
    lock.release()


def test_an_empty_request_is_claimed_with_default_options(spool: Spool, directory: Path) -> None:
    (directory / "SV.request").touch()

    claim = claimed(spool)

    assert claim.options == Request()
    assert [path.name for path in directory.glob("SV.*")] == ["SV.claim.1"]
    assert claim.record["submitted_by"]["uid"] == os.getuid()


def test_a_submitted_request_comes_back_with_its_options(spool: Spool) -> None:
    options = Request(limit=3, verify="structure", replace=True, note="why")

    assert spool.submit(SV, options)

    assert claimed(spool).options == options


def test_a_second_submission_of_a_waiting_repository_is_told_so(spool: Spool) -> None:
    assert spool.submit(SV, Request(note="first"))
    assert not spool.submit(SV, Request(note="second"))

    assert claimed(spool).options.note == "first"


def test_a_submission_leaves_nothing_but_the_request(spool: Spool, directory: Path) -> None:
    spool.submit(SV, Request())
    spool.submit(SV, Request())

    names = sorted(path.name for path in directory.iterdir() if not path.is_dir())
    assert names == ["SV.request"]


def test_while_a_repository_is_locked_its_next_request_waits(spool: Spool, directory: Path) -> None:
    (directory / "SV.request").touch()
    first = claimed(spool)
    (directory / "SV.request").touch()
    other = Spool(str(directory), instance=2)

    assert other.claim("SV") is None
    spool.finish(first, result_of(first))
    first.lock.release()

    assert claimed(other).path.endswith("SV.claim.2")


def test_a_request_beside_an_orphan_claim_waits_until_the_claim_is_done(
    spool: Spool, directory: Path
) -> None:
    (directory / "SV.request").touch()
    claimed(spool).lock.release()
    (directory / "SV.request").touch()

    assert spool.claim("SV") is None
    assert Spool(str(directory), instance=2).claim("SV") is None


def test_a_request_that_somebody_still_writes_is_left_alone(spool: Spool, directory: Path) -> None:
    with (directory / "SV.request").open("w") as writer:
        writer.write('{"limit"')
        writer.flush()
        assert spool.claim("SV") is None
        writer.write(": 2}")

    assert claimed(spool).options.limit == 2


def test_of_many_claimants_exactly_one_gets_the_request(directory: Path) -> None:
    (directory / "SV.request").touch()
    barrier = threading.Barrier(8)
    found: list[Claim] = []

    def claim(instance: int) -> None:
        spool = Spool(str(directory), instance)
        barrier.wait()
        claim = spool.claim("SV")
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


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_symlink(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_text("{}")
    path.symlink_to(secret)


def make_directory(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()


def make_hard_link(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_text("{}")
    path.hardlink_to(secret)


def make_huge(path: Path) -> None:
    path.write_bytes(b" " * (1 << 20))


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

    refused = spool.claim("SV")

    assert not [path for path in OPENED if path.endswith((".request", "secret"))]
    assert isinstance(refused, Unclaimable)
    assert words in refused.message
    assert spool.lock_repository(SV) is not None


def test_a_refused_file_is_moved_aside_and_its_result_lies_in_the_spool(
    spool: Spool, directory: Path
) -> None:
    make_fifo(directory / "SV.request")
    refused = spool.claim("SV")
    assert isinstance(refused, Unclaimable)

    assert spool.reject(refused, {"at": 1})
    assert not spool.reject(refused, {"at": 2})

    assert spool.results.newest(SV) == {"at": 1}
    assert (directory / "rejected" / refused.request_id).is_fifo()


@pytest.mark.parametrize("name", ["SV", "no name"])
def test_a_refusal_that_a_crash_cuts_off_is_answered_once(
    spool: Spool, directory: Path, name: str
) -> None:
    """At whatever effect it dies: what was refused is there still, or its answer is."""
    for count in range(40):
        make_fifo(directory / f"{name}.request")
        effects = cut_off_after(count)
        refused = spool.claim(name)
        assert isinstance(refused, Unclaimable)
        try:
            spool.reject(refused, {"at": count})
        except CutOffError:
            effects.undo()
            again = spool.claim(name)
            if isinstance(again, Unclaimable):
                assert again.request_id == refused.request_id
                spool.reject(again, {"at": "later"})
            assert spool.incoming() == []
        else:
            effects.undo()
            assert count > 3
            break
        answers = [*directory.glob(".dsgmigd/results/*"), *directory.glob("rejected/*.json")]
        assert len(answers) == count + 1


@pytest.mark.parametrize(
    "name", ["..", "a@b", "-x", "a b", "x" * 201, "SV-norm", "a\nb", "ä", "\udcff"]
)
def test_a_file_with_an_impossible_name_is_refused_and_its_result_lies_beside_it(
    spool: Spool, directory: Path, name: str
) -> None:
    (directory / f"{name}.request").touch()
    refused = spool.claim(name)
    assert isinstance(refused, Unclaimable)
    assert refused.repo is None

    spool.reject(refused, {"outcome": "rejected"})

    moved = refused.request_id
    assert sorted(os.listdir(directory / "rejected")) == [moved, f"{moved}.result.json"]
    assert spool.incoming() == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"limi": 2}', b"\xff", b"[" * 60_000])
def test_a_body_that_is_no_request_is_claimed_and_says_why(
    spool: Spool, directory: Path, body: bytes
) -> None:
    (directory / "SV.request").write_bytes(body)
    claim = claimed(spool)

    with pytest.raises(InvalidRequest):
        _ = claim.options

    spool.reject_claim(claim, result_of(claim, outcome="rejected"))
    assert (directory / "rejected" / f"SV.{claim.request_id}").exists()
    assert spool.records.claims() == []


def test_an_attempt_is_on_disk_before_the_work_and_survives_adoption(
    spool: Spool, directory: Path
) -> None:
    spool.submit(SV, Request(limit=4))
    dead = claimed(spool)
    spool.records.begin_attempt(dead, {"instance": 1})
    dead.lock.release()

    heir = Spool(str(directory), instance=2).adopt(SV, 1)

    assert heir is not None
    assert heir.request_id == dead.request_id
    assert heir.options.limit == 4
    assert heir.attempts == [{"instance": 1}]
    assert heir.crashes == 1


def test_an_orderly_end_of_an_attempt_is_no_crash(spool: Spool) -> None:
    spool.submit(SV, Request())
    claim = claimed(spool)
    spool.records.begin_attempt(claim, {"instance": 1})
    spool.records.end_attempt(claim, "stopped")
    claim.lock.release()

    again = spool.adopt(SV, 1)

    assert again is not None
    assert again.crashes == 0


def test_a_claim_whose_worker_lives_is_not_adopted(spool: Spool, directory: Path) -> None:
    spool.submit(SV, Request())
    claimed(spool)

    assert Spool(str(directory), instance=2).adopt(SV, 1) is None


def test_a_lock_inherited_by_a_child_outlives_its_worker(spool: Spool, directory: Path) -> None:
    spool.submit(SV, Request())
    claim = claimed(spool)
    child = os.dup(claim.lock.descriptor)
    claim.lock.release()

    assert Spool(str(directory), instance=2).adopt(SV, 1) is None
    os.close(child)
    assert Spool(str(directory), instance=2).adopt(SV, 1) is not None


def test_a_claim_that_was_never_recorded_is_adopted_with_its_body(
    spool: Spool, directory: Path
) -> None:
    (directory / "SV.claim.1").write_text('{"limit": 7}')

    claim = spool.adopt(SV, 1)

    assert claim is not None
    assert claim.options.limit == 7
    assert claim.attempts == []


def test_a_body_that_poses_as_our_record_is_refused(spool: Spool, directory: Path) -> None:
    forged = {"dsgmigd_claim": 1, "request_id": "theirs", "attempts": [], "options": {}}
    (directory / "SV.request").write_text(json.dumps(forged))

    claim = claimed(spool)

    assert claim.request_id != "theirs"
    with pytest.raises(InvalidRequest, match="unknown key"):
        _ = claim.options


def test_a_result_replaces_the_older_one_and_both_are_kept(spool: Spool, directory: Path) -> None:
    for note in ("first", "second"):
        spool.submit(SV, Request(note=note))
        claim = claimed(spool)
        spool.finish(claim, result_of(claim, note=note))
        claim.lock.release()

    shown = spool.results.newest(SV)
    assert shown is not None
    assert shown["note"] == "second"
    assert sorted(result["note"] for result in kept_results(directory)) == ["first", "second"]
    assert spool.records.claims() == []


@pytest.mark.parametrize("ending", [".result.json", ".discrepancies.jsonl"])
@pytest.mark.parametrize("occupy", [make_directory, make_symlink, make_hard_link, make_fifo])
def test_what_a_user_put_where_a_result_belongs_gives_way_and_is_never_written_through(
    spool: Spool, directory: Path, occupy: Any, ending: str
) -> None:
    spool.submit(SV, Request())
    claim = claimed(spool)
    occupy(directory / f"SV{ending}")
    Path(spool.results.discrepancies_path(SV)).write_text("found")

    assert spool.results.publish_discrepancies(SV) == "SV.discrepancies.jsonl"
    spool.finish(claim, result_of(claim))

    assert spool.results.newest(SV) == result_of(claim)
    assert (directory / "SV.discrepancies.jsonl").read_text() == "found"
    assert len(kept_results(directory)) == 1
    secret = directory / "secret"
    assert not secret.exists() or secret.read_text() == "{}"
    if occupy is make_directory:
        (aside,) = (directory / "rejected").iterdir()
        assert [path.name for path in aside.iterdir()] == ["inside"]


def test_a_result_whose_name_is_taken_again_and_again_is_kept_and_the_journal_says_so(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.submit(SV, Request())
    claim = claimed(spool)
    rename = os.rename

    def rename_then_occupy(old: str, new: str) -> None:
        rename(old, new)
        if old.endswith("SV.result.json"):
            make_directory(Path(old))

    make_directory(directory / "SV.result.json")
    monkeypatch.setattr("dsgmigd.results.os.rename", rename_then_occupy)
    with structlog.testing.capture_logs() as logs:
        spool.finish(claim, result_of(claim))

    assert [entry["event"] for entry in logs] == ["result.hidden", "request.finished"]
    assert spool.results.newest(SV) is None
    assert spool.results.last(SV) == result_of(claim)
    assert spool.records.claims() == []


def test_the_record_of_a_result_is_there_before_its_claim_is_gone(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.submit(SV, Request())
    claim = claimed(spool)
    were_there = []
    monkeypatch.setattr(
        "dsgmigd.spool.log_result", lambda _: were_there.append(Path(claim.path).exists())
    )
    spool.finish(claim, result_of(claim))
    assert were_there == [True]


@pytest.mark.parametrize("is_shown", [True, False])
def test_after_a_crash_between_result_and_claim_only_the_claim_goes(
    spool: Spool, directory: Path, *, is_shown: bool
) -> None:
    spool.submit(SV, Request())
    claim = claimed(spool)
    spool.records.begin_attempt(claim, {"instance": 1})
    record = Path(claim.path).read_bytes()
    spool.finish(claim, result_of(claim))
    claim.lock.release()
    Path(claim.path).write_bytes(record)
    Path(claim.path).chmod(0o600)
    if not is_shown:
        (directory / "SV.result.json").unlink()

    with structlog.testing.capture_logs() as logs:
        assert spool.adopt(SV, 1) is None

    (told,) = logs
    assert (told["event"], told["replayed"]) == ("request.finished", 1)
    assert (told["repo"], told["request_id"]) == ("SV", claim.request_id)
    assert spool.records.claims() == []
    assert spool.results.newest(SV) == result_of(claim)
    assert len(kept_results(directory)) == 1


def test_requests_are_listed_by_arrival_whatever_times_they_claim(
    spool: Spool, directory: Path
) -> None:
    arrived = 0
    for name in ("b", "a", "c"):
        path = directory / f"{name}.request"
        path.touch()
        while path.stat().st_ctime_ns <= arrived:  # the kernel's clock ticks coarsely
            os.utime(path, ns=(0, 0))
        arrived = path.stat().st_ctime_ns

    assert spool.incoming() == ["b", "a", "c"]


def test_two_processes_cannot_be_the_same_instance(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsgmigd.instances._ATTEMPT_SECONDS", 0)
    lock = spool.instances.lock()
    with pytest.raises(AlreadyRunning):
        Spool(str(directory), instance=1).instances.lock()
    lock.release()
    spool.instances.lock()


def test_who_holds_an_instances_lock_for_a_moment_does_not_keep_it_from_starting(
    directory: Path,
) -> None:
    places: dict[str, Any] = dict.fromkeys(("directory", "work"), str(directory))
    places["instance"] = 1
    holding = [Instances(**places).lock()]  # as `dsgmigd status` does, to see whether it lives
    Instances(**places, sleep=lambda _: holding.pop().release()).lock().release()
    assert holding == []


def test_only_living_instances_have_a_status(spool: Spool) -> None:
    spool.instances.write_status({"instance": 1, "status": "idle"})
    assert spool.instances.read_statuses() == {}

    lock = spool.instances.lock()

    assert spool.instances.read_statuses() == {1: {"instance": 1, "status": "idle"}}
    lock.release()


def test_without_a_spool_directory_nothing_begins(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="does not exist"):
        Spool(str(tmp_path / "nowhere")).prepare()


def test_a_spool_that_has_to_be_made_is_closed_to_others(tmp_path: Path) -> None:
    Spool(str(tmp_path / "new")).prepare(is_made_if_missing=True)

    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


# What a user put in the place of a claim.


def plant(path: Path, kind: str) -> None:
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
def test_what_only_has_the_name_of_a_claim_is_none_and_is_put_aside_unread(
    spool: Spool, directory: Path, kind: str
) -> None:
    plant(directory / "SV.claim.1", kind)
    assert spool.records.claims() == []
    (directory / "SV.request").touch()
    claimed(spool)
    assert (directory / "SV.claim.1").is_file()
    (aside,) = (directory / "rejected").iterdir()
    assert not aside.is_file() or aside.is_symlink()


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
def test_an_orphan_is_adopted_over_what_has_the_name_of_ones_own_claim(
    spool: Spool, directory: Path, kind: str
) -> None:
    (directory / "SV.claim.2").touch()
    plant(directory / "SV.claim.1", kind)
    assert spool.records.claims() == [("SV", 2)]
    claim = spool.adopt(RepoName("SV"), 2)
    assert claim is not None
    assert (directory / "SV.claim.1").is_file()


# What a user exchanges between two looks at it.


def exchange_after(
    monkeypatch: pytest.MonkeyPatch, name: str, exchange: Callable[[], None]
) -> None:
    """Let `exchange` happen right after the spool called its function `name`."""
    real = getattr(spool_module, name)

    def called(*arguments: Any) -> Any:
        value = real(*arguments)
        monkeypatch.undo()
        exchange()
        return value

    monkeypatch.setattr(spool_module, name, called)


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
    assert not isinstance(spool.claim("SV"), Claim)

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
    assert "the secret" not in json.dumps(claim.record)


def test_a_claim_that_its_owner_exchanges_for_a_directory_becomes_ours(
    spool: Spool, directory: Path
) -> None:
    (directory / "SV.request").write_text('{"note": "first"}')
    claim = claimed(spool)
    Path(claim.path).unlink()
    make_directory(Path(claim.path))

    spool.records.begin_attempt(claim, {"instance": 1})

    claim.lock.release()
    again = spool.adopt(SV, 1)
    assert again is not None
    assert again.options.note == "first"


def test_a_record_of_another_repository_under_the_name_of_a_claim_is_not_believed(
    spool: Spool, directory: Path
) -> None:
    spool.submit(SV, Request())
    claim = claimed(spool)
    spool.records.begin_attempt(claim, {"instance": 1})
    (directory / "CO.claim.2").hardlink_to(claim.path)

    other = spool.adopt(RepoName("CO"), 2)

    assert other is not None
    assert other.request_id != claim.request_id
    with pytest.raises(InvalidRequest, match="hard links"):
        _ = other.options
    claim.lock.release()
    again = spool.adopt(SV, 1)
    assert again is not None
    assert again.request_id == claim.request_id


def test_what_is_written_after_the_claim_changes_nothing_and_the_result_says_what_was_read(
    spool: Spool, directory: Path
) -> None:
    (directory / "SV.request").write_text('{"limit": 1}')
    claim = claimed(spool)
    Path(claim.path).write_text('{"limit": 2}')

    spool.records.begin_attempt(claim, {"instance": 1})
    claim.lock.release()
    again = spool.adopt(SV, 1)

    assert again is not None
    assert again.options.limit == 1
    read = hashlib.sha256(b'{"limit": 1}').hexdigest()
    assert submission(again.record)["body_sha256"] == read


def test_a_file_of_somebody_who_may_not_submit_is_claimed_to_be_rejected_unread(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "why_not_allowed", lambda *_: ("no member", "add him"))
    (directory / "SV.request").write_text('{"note": "let me in"}')

    claim = claimed(spool)

    with pytest.raises(InvalidRequest, match="no member"):
        _ = claim.options
    assert "let me in" not in json.dumps(claim.record)
