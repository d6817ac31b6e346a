"""The claims in the spool: their records on disk, and what only has the name of one."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dsgmigd.errors import InvalidRequest, StateTooNew, TargetFull
from dsgmigd.names import RepoName
from dsgmigd.request import Request
from dsgmigd.spool.claim_files import is_regular, look_at, read_regular
from dsgmigd.spool.claim_record import RECORD_LIMIT_BYTES, RECORD_MODE, Attempt
from dsgmigd.spool.claiming import adopt_claim
from dsgmigd.spool.deferral import Deferral, Moment
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from tests.unit.failing import failing
from tests.unit.spool.claims import SV, claimed
from tests.unit.spool.crashes import CutOffError, cut_off_after
from tests.unit.spool.occupants import make_directory, make_fifo, make_symlink


def test_an_attempt_is_on_disk_before_the_work_and_survives_adoption(
    spool: Spool, directory: Path
) -> None:
    submit_request(spool, SV, Request(limit=4))
    dead = claimed(spool)
    spool.records.begin_attempt(dead, Attempt(1))
    dead.lock.release()

    heir = adopt_claim(Spool(str(directory), instance=2), SV, 1)

    assert heir is not None
    assert heir.request_id == dead.request_id
    assert heir.options.limit == 4
    assert heir.attempts == (Attempt(1),)
    assert heir.crashes == 1


def test_an_orderly_end_of_an_attempt_is_no_crash(spool: Spool) -> None:
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    spool.records.begin_attempt(claim, Attempt(1))
    spool.records.end_attempt(claim, "stopped")
    claim.lock.release()

    again = adopt_claim(spool, SV, 1)

    assert again is not None
    assert again.crashes == 0


@pytest.mark.parametrize("make", [make_symlink, make_directory, make_fifo])
def test_what_only_has_the_name_of_a_claim_is_none_and_is_put_aside_unread(
    spool: Spool, directory: Path, make: Callable[[Path], None]
) -> None:
    make(directory / "SV.claim.1")
    assert spool.records.claims() == []
    (directory / "SV.request").touch()
    claimed(spool)
    assert (directory / "SV.claim.1").is_file()
    (aside,) = (directory / "rejected").iterdir()
    assert not aside.is_file() or aside.is_symlink()


@pytest.mark.parametrize("make", [make_symlink, make_directory, make_fifo])
def test_an_orphan_is_adopted_over_what_has_the_name_of_ones_own_claim(
    spool: Spool, directory: Path, make: Callable[[Path], None]
) -> None:
    Spool(str(directory), 2).instances.lock().release()
    (directory / "SV.claim.2").touch()
    make(directory / "SV.claim.1")
    assert spool.records.claims() == [("SV", 2)]
    claim = adopt_claim(spool, RepoName("SV"), 2)
    assert claim is not None
    assert (directory / "SV.claim.1").is_file()


def test_a_claim_that_its_owner_exchanges_for_a_directory_becomes_ours(
    spool: Spool, directory: Path
) -> None:
    (directory / "SV.request").write_text('{"note": "first"}')
    claim = claimed(spool)
    Path(claim.path).unlink()
    make_directory(Path(claim.path))

    spool.records.begin_attempt(claim, Attempt(1))

    claim.lock.release()
    again = adopt_claim(spool, SV, 1)
    assert again is not None
    assert again.options.note == "first"


def test_a_record_of_another_repository_under_the_name_of_a_claim_is_not_believed(
    spool: Spool, directory: Path
) -> None:
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    spool.records.begin_attempt(claim, Attempt(1))
    (directory / "CO.claim.2").hardlink_to(claim.path)

    other = adopt_claim(spool, RepoName("CO"), 2)

    assert other is not None
    assert other.request_id != claim.request_id
    with pytest.raises(InvalidRequest, match="hard links"):
        _ = other.options
    claim.lock.release()
    again = adopt_claim(spool, SV, 1)
    assert again is not None
    assert again.request_id == claim.request_id


def test_what_is_written_after_the_claim_changes_nothing_and_the_result_says_what_was_read(
    spool: Spool, directory: Path
) -> None:
    (directory / "SV.request").write_text('{"limit": 1}')
    claim = claimed(spool)
    Path(claim.path).write_text('{"limit": 2}')

    spool.records.begin_attempt(claim, Attempt(1))
    claim.lock.release()
    again = adopt_claim(spool, SV, 1)

    assert again is not None
    assert again.options.limit == 1
    read = hashlib.sha256(b'{"limit": 1}').hexdigest()
    assert again.record.body_sha256 == read


def test_the_claims_are_listed_in_order_and_nothing_else(spool: Spool, directory: Path) -> None:
    for instance in (2, 3):
        Spool(str(directory), instance).instances.lock().release()
    for repo in ("B", "A", "C"):
        for instance in (2, 1, 3):
            (directory / f"{repo}.claim.{instance}").touch()
    for name in ("SV.claim.x", "a b.claim.1", "SV.request", "SV.claim"):
        (directory / name).touch()
    expected = [(repo, instance) for repo in ("A", "B", "C") for instance in (1, 2, 3)]
    assert spool.records.claims() == expected


def test_a_claim_has_a_record_from_its_first_attempt_on(spool: Spool) -> None:
    assert spool.records.read(SV, 1) is None
    submit_request(spool, SV, Request(limit=4))
    claim = claimed(spool)
    assert not spool.records.is_begun(SV, 1)

    spool.records.begin_attempt(claim, Attempt(1, pid=7))

    assert spool.records.is_begun(SV, 1)
    assert spool.records.read(SV, 1) == claim.record
    assert Path(claim.path).stat().st_mode & 0o777 == RECORD_MODE
    assert os.listdir(spool.layout.work) == []


def test_a_wait_is_on_disk_until_the_next_attempt(spool: Spool) -> None:
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    full = TargetFull("no space", hint="make some")
    deferral = Deferral.of(full, now=Moment("boot", 1), delay_seconds=2, not_before="then")
    spool.records.begin_attempt(claim, Attempt(1))
    assert spool.records.deferral(SV, 1) is None

    spool.records.defer(claim, deferral)
    assert spool.records.deferral(SV, 1) == deferral

    spool.records.begin_attempt(claim, Attempt(1))
    assert spool.records.deferral(SV, 1) is None
    assert spool.records.deferral(SV, 2) is None


def test_a_crash_while_a_record_is_replaced_leaves_the_old_or_the_new_one(spool: Spool) -> None:
    submit_request(spool, SV, Request(limit=4))
    claim = claimed(spool)
    spool.records.begin_attempt(claim, Attempt(0))
    found = set()
    for count in range(10):
        before = claim.record
        effects = cut_off_after(count)
        try:
            spool.records.begin_attempt(claim, Attempt(count + 1))
        except CutOffError:
            effects.undo()
        else:
            effects.undo()
            break
        record = spool.records.read(SV, 1)
        assert record in (before, claim.record)
        found.add(record == claim.record)
        spool.records.write(claim)
    assert spool.records.read(SV, 1) == claim.record
    assert found == {False, True}


def test_a_record_of_a_newer_version_is_an_error_and_stays(spool: Spool, directory: Path) -> None:
    path = directory / "SV.claim.1"
    path.write_text('{"dsgmigd_claim": 99}')
    path.chmod(RECORD_MODE)

    with pytest.raises(StateTooNew, match="version 99"):
        spool.records.is_begun(SV, 1)

    assert path.read_text() == '{"dsgmigd_claim": 99}'


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ENOTCONN])
def test_what_even_root_may_not_look_at_counts_as_absent(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "lstat", failing(number))
    assert look_at("SV.claim.1") is None
    assert not is_regular("SV.claim.1")


def test_what_the_disk_fails_to_show_does_not_count_as_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "lstat", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        is_regular("SV.claim.1")


@pytest.mark.parametrize("make", [make_symlink, make_directory, make_fifo])
def test_only_a_regular_file_is_read(directory: Path, make: Callable[[Path], None]) -> None:
    path = directory / "SV.claim.1"
    make(path)
    assert not is_regular(str(path))
    with pytest.raises(FileNotFoundError):
        read_regular(str(path))


def test_of_a_huge_file_no_more_is_read_than_a_record_may_have(directory: Path) -> None:
    path = directory / "SV.claim.1"
    path.touch()
    os.truncate(path, RECORD_LIMIT_BYTES + 7)

    content, status = read_regular(str(path))

    assert (len(content), status.st_size) == (RECORD_LIMIT_BYTES, RECORD_LIMIT_BYTES + 7)


def test_a_claim_of_an_instance_that_never_ran_is_none(spool: Spool, directory: Path) -> None:
    (directory / "SV.claim.7").touch()
    assert spool.records.claims() == []
    assert spool.records.claims_of(SV) == []

    Spool(str(directory), 7).instances.lock().release()

    assert spool.records.claims() == [("SV", 7)]
    assert spool.records.claims_of(SV) == [7]


def test_a_claim_with_a_record_of_ours_is_one_wherever_it_came_from(
    spool: Spool, directory: Path
) -> None:
    """An operator may have moved it here from a spool that was replaced."""
    submit_request(spool, SV, Request())
    claim = claimed(spool)
    spool.records.begin_attempt(claim, Attempt(1))
    Path(claim.path).rename(directory / "SV.claim.7")
    assert spool.records.claims() == [("SV", 7)]


def test_only_a_claim_with_a_record_comes_before_all_requests(
    spool: Spool, directory: Path
) -> None:
    (directory / "NEW.claim.1").touch()
    submit_request(spool, SV, Request())
    spool.records.begin_attempt(claimed(spool), Attempt(1))
    arrival = (directory / "NEW.claim.1").stat().st_ctime_ns
    assert spool.records.arrivals() == [(arrival, "NEW", 1), (0, "SV", 1)]
