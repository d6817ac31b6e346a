"""What a target file system can hold, and which lack ends a run before it begins."""

import errno
import os
from pathlib import Path

import pytest

from dsgmigd.abilities import Abilities, check_losses, probe_abilities
from dsgmigd.errors import LossNotAllowed, TargetFull, TargetUnwritable
from dsgmigd.request import Loss


def test_the_probe_finds_what_the_file_system_here_can_do_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file"
    file.touch()
    os.utime(file, ns=(1, 1_000_000_001))
    try:
        os.setxattr(file, "user.x", b"1")
    except OSError:
        holds_xattrs = False
    else:
        holds_xattrs = True
    file.unlink()
    assert probe_abilities(str(tmp_path)) == Abilities(xattrs=holds_xattrs, subsecond_mtime=True)
    assert os.listdir(tmp_path) == []


def test_times_that_lose_their_nanoseconds_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utime = os.utime
    monkeypatch.setattr(
        os, "utime", lambda file, ns: utime(file, ns=(ns[0], ns[1] // 10**9 * 10**9))
    )
    assert not probe_abilities(str(tmp_path)).subsecond_mtime


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EPERM])
def test_a_file_system_that_refuses_attributes_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "setxattr", refuse)
    assert not probe_abilities(str(tmp_path)).xattrs


def test_a_full_file_system_is_not_taken_for_one_without_attributes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(TargetFull):
        probe_abilities(str(tmp_path))


def test_a_directory_that_is_not_there_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(TargetUnwritable, match="No such file"):
        probe_abilities(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("abilities", "lacking"),
    [
        (Abilities(), ()),
        (Abilities(xattrs=False), ("xattr",)),
        (Abilities(subsecond_mtime=False), ("subsecond_mtime",)),
        (Abilities(xattrs=False, subsecond_mtime=False), ("xattr", "subsecond_mtime")),
    ],
)
def test_what_is_lacking_is_named_as_a_request_allows_it(
    abilities: Abilities, lacking: tuple[Loss, ...]
) -> None:
    assert abilities.lacking() == lacking


def test_whole_second_times_end_a_run_that_does_not_allow_them() -> None:
    poor = Abilities(subsecond_mtime=False)
    with pytest.raises(LossNotAllowed, match="whole seconds"):
        check_losses(poor, ("xattr",))
    check_losses(poor, ("subsecond_mtime",))


def test_missing_attributes_end_no_run_before_the_source_shows_one() -> None:
    check_losses(Abilities(xattrs=False), ())
