"""The spool on a real directory."""

import errno
import os
from pathlib import Path

import pytest

from dsgmigd.errors import SpoolUnusable
from dsgmigd.names import RepoName
from dsgmigd.spool.spool import Spool
from tests.unit.failing import failing
from tests.unit.spool.claims import SV


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

    assert spool.waiting() == ["b", "a", "c"]


def test_without_a_spool_directory_nothing_begins(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="does not exist"):
        Spool(str(tmp_path / "nowhere")).prepare()


def test_a_spool_that_has_to_be_made_is_closed_to_others(tmp_path: Path) -> None:
    Spool(str(tmp_path / "new")).prepare(is_made_if_missing=True)

    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_what_a_spool_needs_is_made_once_and_its_modes_are_restored(directory: Path) -> None:
    modes = {path: path.stat().st_mode for path in directory.rglob("*") if path.is_dir()}
    private = [path.name for path in modes if path.stat().st_mode & 0o777 == 0o700]
    assert sorted(private) == ["control", "evidence", "locks", "proofs", "work"]
    for path in modes:
        path.chmod(0o500)

    Spool(str(directory)).prepare()

    assert {path: path.stat().st_mode for path in directory.rglob("*") if path.is_dir()} == modes


def test_a_link_in_the_place_of_an_own_directory_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / ".dsgmigd").symlink_to(elsewhere)

    with pytest.raises(SpoolUnusable):
        Spool(str(spool)).prepare()

    assert list(elsewhere.iterdir()) == []


def test_a_spool_on_a_disk_that_fails_is_unusable_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "mkdir", failing(errno.EROFS))
    with pytest.raises(SpoolUnusable, match=f"cannot use the spool {tmp_path}: .*Read-only"):
        Spool(str(tmp_path)).prepare()


@pytest.mark.parametrize(("user", "expected"), [(0, SpoolUnusable), (1000, PermissionError)])
def test_only_to_root_a_refusal_means_that_the_spool_is_unusable(
    directory: Path, monkeypatch: pytest.MonkeyPatch, user: int, expected: type[Exception]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr("dsgmigd.spool.spool.check_place", failing(errno.EACCES))
    with pytest.raises(expected, match="Permission denied"):
        Spool(str(directory)).prepare()


def test_an_unsafe_spool_is_refused_before_anything_is_made_in_it(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(0o777)

    with pytest.raises(SpoolUnusable, match="sticky"):
        Spool(str(tmp_path / "spool")).prepare()

    assert list((tmp_path / "spool").iterdir()) == []


def test_a_repository_is_locked_for_one_at_a_time_and_each_by_itself(spool: Spool) -> None:
    lock = spool.lock_repository(SV)
    other = spool.lock_repository(RepoName("CO"))
    assert lock
    assert other
    assert spool.lock_repository(SV) is None
    lock.release()

    again = spool.lock_repository(SV)

    assert again
    assert sorted(spool.repositories()) == ["CO", "SV"]
    again.release()
    other.release()


def test_with_patience_a_lock_is_waited_for(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [spool.lock_repository(SV)]

    def release_instead_of_sleeping(_seconds: float) -> None:
        if lock := held.pop():
            lock.release()

    monkeypatch.setattr("dsgmigd.spool.spool.time.sleep", release_instead_of_sleeping)

    lock = spool.lock_repository(SV, patience_seconds=60)

    assert lock is not None
    lock.release()


def test_patience_ends(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("dsgmigd.spool.spool.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(
        "dsgmigd.spool.spool.time.sleep", lambda seconds: clock.append(clock.pop() + seconds)
    )
    lock = spool.lock_repository(SV)
    assert lock is not None

    assert spool.lock_repository(SV, patience_seconds=2) is None

    assert clock[0] == pytest.approx(102, abs=0.1)
    lock.release()


def test_what_waits_is_every_request_whatever_its_name_and_nothing_else(
    spool: Spool, directory: Path
) -> None:
    for name in ("SV.request", "no name.request", "SV.claim.1", "SV.result.json", "SV.requests"):
        (directory / name).touch()
    (directory / "CO.request").symlink_to("nowhere")

    assert sorted(spool.waiting()) == ["CO", "SV", "no name"]


def test_a_request_that_goes_while_it_is_listed_does_not_wait(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "SV.request").touch()
    monkeypatch.setattr("dsgmigd.spool.spool.os.listdir", lambda _: ["SV.request", "GONE.request"])
    assert spool.waiting() == ["SV"]


def test_a_request_that_is_being_submitted_does_not_wait_yet(spool: Spool, directory: Path) -> None:
    for unique in ("b", "a"):
        Path(spool.layout.submission(unique)).touch()
    (directory / "SV.request").touch()

    assert spool.submissions() == [spool.layout.submission("a"), spool.layout.submission("b")]
    assert spool.waiting() == ["SV"]
