"""A claim's attempts and its wait, and which files may become one."""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dsgmigd.errors import InvalidRequest, TargetFull
from dsgmigd.host.locks import Lock, try_lock
from dsgmigd.request import BODY_LIMIT_BYTES, Request
from dsgmigd.spool.claim import Claim, is_being_written, unclaimable, why_no_request
from dsgmigd.spool.claim_record import (
    RECORD_LIMIT_BYTES,
    Attempt,
    ClaimRecord,
    Rejection,
    new_record,
)
from dsgmigd.spool.deferral import Deferral, Moment
from tests.unit.failing import failing
from tests.unit.spool.claims import SV
from tests.unit.spool.occupants import (
    make_directory,
    make_fifo,
    make_hard_link,
    make_huge,
    make_symlink,
)

FULL = Deferral.of(
    TargetFull("no space", hint="make some"),
    now=Moment("boot", 1),
    delay_seconds=2,
    not_before="then",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "SV.request"


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Lock]:
    lock = try_lock(str(tmp_path / "lock"))
    assert lock is not None
    yield lock
    lock.release()


@pytest.fixture
def claim(path: Path, lock: Lock) -> Claim:
    path.touch()
    return Claim(SV, "SV.claim.1", lock, new_record(SV, b'{"limit": 3}', path.stat()))


def test_only_an_attempt_without_an_end_is_a_crash(claim: Claim) -> None:
    claim.begin_attempt(Attempt(1))
    claim.begin_attempt(Attempt(2))
    assert claim.crashes == 2

    claim.end_attempt("stopped")

    assert claim.attempts == (Attempt(1), Attempt(2, ended="stopped"))
    assert claim.crashes == 1


def test_a_deferred_attempt_is_no_crash_and_says_why_and_until_when(claim: Claim) -> None:
    claim.begin_attempt(Attempt(1))

    claim.defer(FULL)

    assert claim.deferral == FULL
    (attempt,) = claim.attempts
    assert attempt == Attempt(1, error=FULL.error, not_before="then", ended="deferred")
    assert claim.crashes == 0


def test_the_next_attempt_ends_the_wait(claim: Claim) -> None:
    claim.begin_attempt(Attempt(1))
    claim.defer(FULL)

    claim.begin_attempt(Attempt(1))

    assert claim.deferral is None
    assert len(claim.attempts) == 2


def test_waits_are_counted_back_to_the_last_attempt_that_ended_otherwise(claim: Claim) -> None:
    counts = []
    for ending in ("deferred", "deferred", "stopped", "deferred", "deferred"):
        claim.begin_attempt(Attempt(1))
        counts.append(claim.times_deferred)
        claim.defer(FULL) if ending == "deferred" else claim.end_attempt(ending)
    assert counts == [0, 1, 2, 0, 1]


def test_a_request_that_is_retried_for_very_long_has_a_record_that_can_be_read(
    claim: Claim,
) -> None:
    """What is longer than the limit of a record would be taken for a request, and be rejected."""
    error = TargetFull("\U0001f4be" * 100_000, hint="\U0001f4be" * 100_000)
    long = Deferral.of(error, now=Moment("boot", 1), delay_seconds=2, not_before="then")
    claim.begin_attempt(Attempt(1))  # crashed
    claim.begin_attempt(Attempt(1))
    claim.end_attempt("stopped")
    for number in range(1000):
        claim.begin_attempt(Attempt(1))
        assert claim.times_deferred == number
        claim.defer(long)

    content = json.dumps(claim.record.to_json())
    assert len(content) < RECORD_LIMIT_BYTES
    record = ClaimRecord.from_json(json.loads(content))
    assert record == claim.record
    assert len(record.attempts) + record.attempts_left_out == 1002
    assert claim.crashes == 1


def test_a_stop_between_very_many_waits_begins_their_count_again(claim: Claim) -> None:
    for _ in range(100):
        claim.begin_attempt(Attempt(1))
        claim.defer(FULL)
    claim.begin_attempt(Attempt(1))
    claim.end_attempt("stopped")
    for number in range(100):
        claim.begin_attempt(Attempt(1))
        assert claim.times_deferred == number
        claim.defer(FULL)


def test_a_rejected_claim_has_no_options_but_the_reason(claim: Claim) -> None:
    assert claim.options == Request(limit=3)
    claim.record = replace(claim.record, rejection=Rejection("it is wrong", "write it again"))

    with pytest.raises(InvalidRequest, match="it is wrong") as caught:
        _ = claim.options

    assert caught.value.hint == "write it again"


def make_socket(path: Path) -> None:
    # A socket's path may have 108 bytes only; a temporary directory may be longer than that.
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{directory}/{path.name}")
    os.close(directory)


@pytest.mark.parametrize(
    ("make", "words", "hint"),
    [
        (make_fifo, "SV.request is a FIFO", "must be a regular file"),
        (make_socket, "SV.request is a socket", "must be a regular file"),
        (make_symlink, "SV.request is a symbolic link", "must be a regular file"),
        (make_directory, "SV.request is a directory", "must be a regular file"),
        (make_hard_link, "SV.request has 2 hard links", "a file of its own"),
        (make_huge, "SV.request has 1048576 bytes", f"at most {BODY_LIMIT_BYTES} bytes"),
    ],
)
def test_a_file_that_cannot_be_a_request_is_refused_with_the_reason(
    path: Path, make: Callable[[Path], None], words: str, hint: str
) -> None:
    make(path)

    refused = why_no_request(str(path), SV, path.lstat())

    assert refused is not None
    assert (refused.name, refused.repo, refused.message) == ("SV", "SV", words)
    assert hint in refused.hint
    assert refused.submitted_by["uid"] == os.getuid()


def test_a_device_is_refused() -> None:
    refused = why_no_request("/dev/null", SV, os.lstat("/dev/null"))

    assert refused is not None
    assert refused.message == "null is a device"


@pytest.mark.parametrize("size_bytes", [0, BODY_LIMIT_BYTES])
def test_a_regular_file_of_at_most_the_limit_may_be_a_request(path: Path, size_bytes: int) -> None:
    path.write_bytes(b" " * size_bytes)

    assert why_no_request(str(path), SV, path.lstat()) is None


def test_one_file_has_one_id_however_often_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").touch()
    (tmp_path / "other").touch()
    one, other = (tmp_path / "one").lstat(), (tmp_path / "other").lstat()

    def request_id(name: str, status: os.stat_result) -> str:
        return unclaimable(name, None, ("why", "what to do"), status).request_id

    assert request_id("a b", one) == request_id("a b", one)
    assert len({request_id("a b", one), request_id("a b", other), request_id("c d", one)}) == 3
    assert request_id("\udcff", one) == request_id("\udcff", one)


def test_a_file_is_being_written_while_a_process_has_it_open_for_writing(path: Path) -> None:
    with path.open("w"):
        assert is_being_written(str(path))
    with path.open():
        assert not is_being_written(str(path))
    assert not is_being_written(str(path))


def test_where_there_are_no_leases_a_file_counts_as_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.touch()
    monkeypatch.setattr(fcntl, "fcntl", failing(errno.EINVAL))

    assert not is_being_written(str(path))


@pytest.mark.parametrize("make", [make_fifo, make_symlink, make_directory])
def test_what_is_no_regular_file_is_not_looked_into(
    path: Path, make: Callable[[Path], None]
) -> None:
    make(path)

    with pytest.raises(FileNotFoundError):
        is_being_written(str(path))
