"""The ledger on a real directory: who appends, what a crash leaves, and what a full disk does."""

import errno
import hashlib
import json
import multiprocessing
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsgmigd.host.locks import try_lock
from dsgmigd.request import Request
from dsgmigd.spool import ledger as ledger_module
from dsgmigd.spool.claim import Unclaimable
from dsgmigd.spool.claiming import (
    adopt_claim,
    claim_request,
    finish_claim,
    reject_claim,
    reject_file,
)
from dsgmigd.spool.ledger import Ledger, acting_user
from dsgmigd.spool.ledger_chain import recount
from dsgmigd.spool.ledger_line import Entry
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from dsgmigd.spool.withdrawal import publish_withdrawn, withdraw_request
from tests.unit.failing import failing
from tests.unit.spool.claims import SV, claimed, lines_of, result_of
from tests.unit.spool.crashes import CutOffError, cut_off_after

PAUSE = Entry("pause", "done", 0, repo="SV")
MEMBER = {"uid": 4_000_000_000, "user": "ana", "gid": 5, "group": "dsgmigd"}


def acts(spool: Spool) -> list[str]:
    """Return the acts of a ledger whose chain fits."""
    assert recount(spool.ledger.read(), lambda _: None) is None
    return [line["act"] for line in lines_of_json(spool)]


def path_of(spool: Spool) -> Path:
    return Path(spool.layout.ledger)


def test_lines_are_numbered_and_hang_on_each_other(spool: Spool) -> None:
    assert acts(spool) == []
    first = spool.ledger.append(PAUSE)
    spool.ledger.append(replace(PAUSE, act="resume", user=acting_user()))

    assert acts(spool) == ["pause", "resume"]
    one, two = lines_of(spool)
    assert (one["seq"], two["seq"], two["before"]) == (1, 2, first.sha256)
    assert two["user"]["uid"] == os.getuid()
    assert two["at"].endswith("+00:00")
    assert len(two["boot_id"]) == 36


def test_whoever_may_enter_the_spool_may_read_it_and_nobody_else_may_lock_it(spool: Spool) -> None:
    umask = os.umask(0o077)
    try:
        spool.ledger.append(PAUSE)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path_of(spool).stat().st_mode) == 0o644
    assert stat.S_IMODE(Path(spool.layout.ledger_lock).stat().st_mode) == 0o600


def test_the_name_of_a_new_ledger_is_on_disk_with_its_first_line(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(ledger_module, "sync_directory", synced.append)
    spool.ledger.append(PAUSE)
    spool.ledger.append(PAUSE)
    assert synced == [spool.layout.results]


def test_a_line_is_told_to_the_journal_with_its_hash(spool: Spool) -> None:
    with structlog.testing.capture_logs() as logs:
        line = spool.ledger.append(PAUSE)
    assert logs == [
        {
            "event": "ledger.recorded",
            "log_level": "info",
            "act": "pause",
            "outcome": "done",
            "repo": "SV",
            "request_id": None,
            "line": 1,
            "line_sha256": line.sha256,
        }
    ]


def test_appending_reads_the_end_only(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(300):
        spool.ledger.append(PAUSE)
    read: list[int] = []
    real = os.pread

    def noting(descriptor: int, size: int, offset: int) -> bytes:
        read.append(size)
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", noting)
    spool.ledger.append(PAUSE)
    assert path_of(spool).stat().st_size > 90_000
    assert read == [64 * 1024]
    assert acts(spool) == ["pause"] * 301


def append_many(directory: str, instance: int, count: int) -> None:
    ledger = Spool(directory, instance).ledger
    for number in range(count):
        ledger.append(Entry("pause", "done", instance, what=str(number)))


def test_processes_that_append_at_once_make_one_chain(spool: Spool) -> None:
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=append_many, args=(spool.directory, number, 40))
        for number in (1, 2, 3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert acts(spool) == ["pause"] * 120
    told = [(line["instance"], int(line["what"])) for line in lines_of(spool)]
    for number in (1, 2, 3):
        assert [at for instance, at in told if instance == number] == list(range(40))


def test_who_keeps_the_lock_holds_nobody_up_for_ever(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_PATIENCE_SECONDS", 0.05)
    lock = try_lock(spool.layout.ledger_lock)
    assert lock is not None
    with pytest.raises(OSError, match="another process keeps the lock"):
        spool.ledger.append(PAUSE)
    lock.release()
    spool.ledger.append(PAUSE)
    assert acts(spool) == ["pause"]


# What a crash leaves.


@pytest.mark.parametrize("first", [1, 100])
def test_a_line_about_a_crash_may_lack_its_newline(spool: Spool, first: int) -> None:
    spool.ledger.append(PAUSE)
    whole = path_of(spool).stat().st_size
    spool.ledger.append(replace(PAUSE, act="resume"))
    os.truncate(path_of(spool), whole + first)
    spool.ledger.append(replace(PAUSE, act="resume"))
    *before, _ = path_of(spool).read_bytes().splitlines(keepends=True)
    os.truncate(path_of(spool), len(b"".join(before)) - 1)
    spool.ledger.append(replace(PAUSE, act="cancel"))
    assert acts(spool) == ["pause", "recovered", "recovered", "cancel"]
    assert [line["torn"]["bytes"] for line in lines_of_json(spool)[1:3]] == [first, 0]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 600), st.integers(0, 600))
def test_a_last_line_of_any_length_is_recovered_and_told(
    spool: Spool, first: int, second: int
) -> None:
    path_of(spool).unlink(missing_ok=True)
    spool.ledger.append(PAUSE)
    whole = path_of(spool).stat().st_size
    for length in (first, second):  # a crash, and another one while that is recovered
        spool.ledger.append(replace(PAUSE, act="resume"))
        cut = min(whole + length, path_of(spool).stat().st_size)
        os.truncate(path_of(spool), cut)
    content = path_of(spool).read_bytes()

    spool.ledger.append(replace(PAUSE, act="cancel"))

    assert path_of(spool).read_bytes().startswith(content), "nothing is taken back"
    found = acts(spool)
    assert (found[0], found[-1]) == ("pause", "cancel")
    torn = torn_of(content)
    if torn is None:
        assert found.count("recovered") == content.count(b'"act": "recovered"')
    else:
        told = {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}
        assert lines_of_json(spool)[-2]["torn"] == told


def torn_of(content: bytes) -> bytes | None:
    """Return what follows the last whole line; nothing if that lacks its newline only, or None."""
    pieces = content.splitlines(keepends=True)
    whole = [at for at, piece in enumerate(pieces) if piece.startswith(b"{") and b"}\n" in piece]
    rest = b"".join(pieces[whole[-1] + 1 :])
    if not rest:
        return None
    last = rest.rpartition(b"\n")[2]
    is_whole = last.startswith(b"{") and last.endswith(b"}") and b'"before"' in last
    return b"" if is_whole else rest.removesuffix(b"\n")


def lines_of_json(spool: Spool) -> list[dict[str, Any]]:
    found = []
    for piece in spool.ledger.read():
        try:
            found.append(json.loads(piece))
        except ValueError:
            continue
    return found


def test_what_was_torn_is_told_with_length_and_hash(spool: Spool) -> None:
    spool.ledger.append(PAUSE)
    with path_of(spool).open("ab") as file:
        file.write(b'{"seq": 2, "at')
    with structlog.testing.capture_logs() as logs:
        spool.ledger.append(PAUSE)
    recovered = lines_of_json(spool)[1]
    assert recovered["torn"]["bytes"] == 14
    assert logs[0]["event"] == "ledger.recovered"
    assert logs[0]["sha256"] == recovered["torn"]["sha256"]
    assert (logs[0]["bytes"], recovered["outcome"]) == (14, "recovered")


def test_a_ledger_of_something_else_is_not_appended_to(spool: Spool) -> None:
    path_of(spool).write_bytes(b"x" * (2 << 20))
    for action in (spool.ledger.reserve, partial(spool.ledger.append, PAUSE)):
        with pytest.raises(OSError, match="has no line in its last MiB: move"):
            action()
    assert path_of(spool).stat().st_size == 2 << 20


@pytest.mark.parametrize("count", range(8))
def test_a_crash_at_any_effect_leaves_a_chain(spool: Spool, count: int) -> None:
    spool.ledger.append(PAUSE)
    effects = cut_off_after(count)
    try:
        spool.ledger.append(PAUSE)
    except CutOffError:
        effects.undo()
    effects.undo()
    spool.ledger.append(PAUSE)
    assert acts(spool) in (["pause"] * 2, ["pause"] * 3)


# A disk that fails.


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_line_that_may_not_be_on_disk_is_none(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    spool.ledger.append(PAUSE)
    before = path_of(spool).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            spool.ledger.append(PAUSE)
    assert path_of(spool).read_bytes() == before
    spool.ledger.append(PAUSE)
    assert acts(spool) == ["pause", "pause"]


def test_a_part_of_a_line_on_a_full_disk_is_taken_back(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.ledger.append(PAUSE)
    before = path_of(spool).read_bytes()
    real = os.write
    parts = [10]

    def full(descriptor: int, content: memoryview) -> int:
        if parts:
            return real(descriptor, content[: parts.pop()])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            spool.ledger.append(PAUSE)
    assert path_of(spool).read_bytes() == before


def test_the_space_of_lines_is_reserved_before_an_act(spool: Spool) -> None:
    spool.ledger.reserve()
    status = path_of(spool).stat()
    assert status.st_size == 0
    assert status.st_blocks * 512 >= 64 * 1024
    spool.ledger.append(PAUSE)
    assert acts(spool) == ["pause"]


def test_without_that_space_the_act_does_not_begin(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsgmigd.host.durable.reserve_space", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space"):
        spool.ledger.reserve()
    spool.ledger.append(PAUSE)  # what can be written is


# Requests.


def requests_of(spool: Spool) -> list[tuple[str, str]]:
    return [
        (line["request_id"], line["outcome"])
        for line in lines_of_json(spool)
        if line["act"] == "request"
    ]


def test_the_line_of_a_request_names_submitter_result_and_its_hash(spool: Spool) -> None:
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    owner = {**MEMBER, "is_shared": True}
    finish_claim(spool, claim, result_of(claim, submitted_by=owner))
    (line,) = lines_of(spool)
    assert (line["act"], line["repo"], line["instance"]) == ("request", "SV", 1)
    assert (line["request_id"], line["outcome"]) == (claim.request_id, "done")
    user = {"uid": 4_000_000_000, "user": "ana", "loginuid": None, "is_shared": True}
    assert line["user"] == user
    assert line["result"] == f"SV.{claim.request_id}.json"
    kept = spool.layout.kept_result(SV, claim.request_id)
    assert line["result_sha256"] == ledger_module.hash_file(kept)


def crash(action: Callable[[], object], count: int) -> bool:
    """Let the process die at the effect after `count`; say whether it did."""
    effects = cut_off_after(count)
    try:
        action()
    except CutOffError:
        return True
    finally:
        effects.undo()
    return False


def test_a_request_has_one_line_wherever_its_worker_is_killed(spool: Spool) -> None:
    """Its result is before it, its claim goes after it."""
    seen = set()
    for count in range(40):
        submit_request(spool, SV, Request())
        claim = claimed(spool)
        spool.records.write(claim)
        result = result_of(claim)
        is_dead = crash(partial(finish_claim, spool, claim, result), count)
        claim.lock.release()
        has_result = spool.results.of_request(SV, claim.request_id) is not None
        has_line = (claim.request_id, "done") in requests_of(spool)
        has_claim = bool(spool.records.claims())
        assert has_claim or has_line
        assert has_result or not has_line
        seen.add((has_result, has_line, has_claim))
        if (adopted := adopt_claim(spool, SV, 1)) is not None:
            finish_claim(spool, adopted, result_of(adopted))
            adopted.lock.release()
        assert acts(spool) == ["request"] * (count + 1)
        assert len({one for one, _ in requests_of(spool)}) == count + 1
        if not is_dead:
            break
    assert seen == {
        (False, False, True),
        (True, False, True),
        (True, True, True),
        (True, True, False),
    }


def test_a_withdrawn_request_has_one_line_wherever_the_command_is_killed(spool: Spool) -> None:
    for count in range(30):
        submit_request(spool, SV, Request())
        request_id = withdraw_request(spool, SV)
        assert request_id is not None
        result = {"request_id": request_id, "outcome": "cancelled", "finished_at": f"{count:02}"}
        is_dead = crash(partial(publish_withdrawn, spool, SV, request_id, result), count)
        has_line = (request_id, "cancelled") in requests_of(spool)
        assert has_line or spool.control.withdrawn()
        if spool.control.withdrawn():
            publish_withdrawn(spool, SV, request_id, result)
        assert acts(spool) == ["request"] * (count + 1)
        if not is_dead:
            break
    assert not is_dead


@pytest.mark.parametrize("name", ["SV", "no name"])
def test_a_refused_file_has_one_line_wherever_the_worker_is_killed(
    spool: Spool, directory: Path, name: str
) -> None:
    for count in range(40):
        os.mkfifo(directory / f"{name}.request")
        refused = claim_request(spool, name)
        assert isinstance(refused, Unclaimable)
        result = {"outcome": "rejected", "submitted_by": refused.submitted_by}
        is_dead = crash(partial(reject_file, spool, refused, result), count)
        is_waiting = (directory / f"{name}.request").exists()
        assert is_waiting or (refused.request_id, "rejected") in requests_of(spool)
        if is_waiting:
            reject_file(spool, refused, result)
        assert acts(spool) == ["request"] * (count + 1)
        if not is_dead:
            break
    assert not is_dead
    last = lines_of(spool)[-1]
    assert (last["repo"], last["outcome"]) == (name, "rejected")
    assert (
        ledger_module.hash_file(spool.layout.recorded_result(last["result"]))
        == (last["result_sha256"])
    )


def finish_after(spool: Spool, lines: int) -> dict[str, Any]:
    """Let a worker die after the line of its request, and be followed by so many lines.

    Return the last line when the next worker has ended the request.
    """
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    spool.records.write(claim)
    result = result_of(claim)
    spool.results.publish(SV, claim.request_id, result)
    spool.ledger.record_kept(SV, claim.request_id, result)
    claim.lock.release()
    with structlog.testing.capture_logs():
        for _ in range(lines):
            spool.ledger.append(replace(PAUSE, what="x" * 900))
    assert adopt_claim(spool, SV, 1) is None
    return lines_of(spool)[-1]


def test_a_line_far_up_is_found(spool: Spool) -> None:
    assert finish_after(spool, 500)["act"] == "pause"


def test_where_the_line_may_be_too_far_up_the_new_one_says_so(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_FAR_BYTES", 100_000)
    last = finish_after(spool, 100)
    assert (last["act"], last["again"]) == ("request", True)


def test_a_line_that_lacks_its_newline_only_is_not_written_again(spool: Spool) -> None:
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    spool.records.write(claim)
    spool.results.publish(SV, claim.request_id, result_of(claim))
    spool.ledger.record_kept(SV, claim.request_id, result_of(claim))
    claim.lock.release()
    os.truncate(path_of(spool), path_of(spool).stat().st_size - 1)
    assert adopt_claim(spool, SV, 1) is None
    assert acts(spool) == ["request", "recovered"]


def test_an_ending_that_is_repeated_because_the_spool_failed_has_one_line(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    with monkeypatch.context() as patch:
        patch.setattr("dsgmigd.spool.claiming.log_result", failing(errno.ENOSPC))
        with pytest.raises(OSError, match="No space"):
            finish_claim(spool, claim, result_of(claim))
    finish_claim(spool, claim, result_of(claim))
    assert acts(spool) == ["request"]


# Rejected requests.


def reject(spool: Spool, owner: dict[str, Any], count: int) -> None:
    for _ in range(count):
        submit_request(spool, SV, Request())
        claim = claimed(spool)
        result = result_of(claim, outcome="rejected", submitted_by=owner)
        reject_claim(spool, claim, result)
        claim.lock.release()


def test_a_flood_of_a_members_rejected_requests_leaves_few_lines(spool: Spool) -> None:
    reject(spool, MEMBER, 45)
    told = [line.get("unlisted", 0) for line in lines_of(spool)]
    assert told == [0, 0, 0, 0, 0, 4, 9, 19]
    assert acts(spool) == ["request"] * 8


def test_of_root_each_rejected_request_has_a_line(spool: Spool) -> None:
    reject(spool, {**MEMBER, "uid": 0}, 12)
    assert len(acts(spool)) == 12


def test_a_ledger_without_a_file_reads_as_empty(directory: Path) -> None:
    assert list(Ledger(Spool(str(directory)).layout, 0).read()) == []
