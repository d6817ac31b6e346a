"""What a target file system can hold, found out by trying."""

import errno
import os
from pathlib import Path

import pytest

from dsgmigd.abilities import Abilities
from dsgmigd.errors import TargetFull, TargetUnwritable
from dsgmigd.probe import probe_abilities


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
