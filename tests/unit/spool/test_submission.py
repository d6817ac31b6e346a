"""A request is written into the spool whole, or not at all."""

import errno
from pathlib import Path

import pytest

from dsgmigd.errors import SpoolUnusable
from dsgmigd.request import Request
from dsgmigd.spool import submission
from dsgmigd.spool.claiming import finish_claim
from dsgmigd.spool.spool import Spool
from dsgmigd.spool.submission import submit_request
from tests.unit.failing import failing
from tests.unit.spool.claims import SV, claimed, result_of
from tests.unit.spool.crashes import CutOffError, cut_off_after


def test_a_submitted_request_comes_back_with_its_options(spool: Spool) -> None:
    options = Request(limit=3, verify="structure", replace=True, note="why")

    assert submit_request(spool, SV, options)

    assert claimed(spool).options == options


def test_a_second_submission_of_a_waiting_repository_is_told_so(spool: Spool) -> None:
    assert submit_request(spool, SV, Request(note="first"))
    assert not submit_request(spool, SV, Request(note="second"))

    assert claimed(spool).options.note == "first"


def test_a_submission_leaves_nothing_but_the_request(spool: Spool, directory: Path) -> None:
    submit_request(spool, SV, Request())
    submit_request(spool, SV, Request())

    names = sorted(path.name for path in directory.iterdir() if not path.is_dir())
    assert names == ["SV.request"]


def test_a_request_without_options_is_an_empty_file_that_everybody_may_read(
    spool: Spool, directory: Path
) -> None:
    submit_request(spool, SV, Request())

    request = directory / "SV.request"
    assert (request.read_bytes(), request.stat().st_mode & 0o777) == (b"", 0o644)


def test_without_a_spool_nothing_is_submitted(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="does not exist"):
        submit_request(Spool(str(tmp_path / "nowhere")), SV, Request())


def test_who_may_not_write_to_the_spool_is_told_who_may(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "write_durably", failing(errno.EACCES))

    with pytest.raises(SpoolUnusable, match=f"may not write to the spool {directory}") as caught:
        submit_request(spool, SV, Request())

    assert "members of its group" in caught.value.hint
    assert spool.waiting() == []


def test_who_may_write_but_not_read_submits_and_the_file_itself_is_synced(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(submission, "sync_directory", failing(errno.EACCES))
    monkeypatch.setattr(submission, "sync_file", synced.append)

    assert submit_request(spool, SV, Request(limit=3))

    assert synced == [spool.layout.request(SV)]
    assert claimed(spool).options.limit == 3


def test_a_request_that_is_claimed_before_it_is_synced_was_submitted(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim_then_refuse(_directory: str) -> None:
        (directory / "SV.request").unlink()
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(submission, "sync_directory", claim_then_refuse)

    assert submit_request(spool, SV, Request())


def test_a_submission_that_a_crash_cuts_off_appears_whole_or_not_at_all(spool: Spool) -> None:
    found = set()
    for count in range(10):
        effects = cut_off_after(count)
        try:
            submit_request(spool, SV, Request(limit=3))
        except CutOffError:
            effects.undo()
        else:
            effects.undo()
            break
        found.add(bool(spool.waiting()))
        if spool.waiting():
            claim = claimed(spool)
            assert claim.options.limit == 3
            finish_claim(spool, claim, result_of(claim))
            claim.lock.release()
    assert spool.waiting() == [SV]
    assert found == {False, True}
