"""What a target file system can hold, found out by trials."""

import errno
import os
from pathlib import Path

import pytest

from dsgmigd.errors import TargetFull, TargetUnwritable
from dsgmigd.target.capabilities import FARTHEST_SECONDS, HIGHEST_ID
from dsgmigd.target.probe import is_probe, probe_capabilities, remove_probe
from tests.unit.failing import failing

SECOND = 1_000_000_000


def test_a_probe_removes_its_directory(tmp_path: Path) -> None:
    probe_capabilities(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_an_ordinary_file_system_holds_everything_that_a_source_has(tmp_path: Path) -> None:
    found = probe_capabilities(str(tmp_path))
    assert found.subsecond_mtime
    assert not found.has_name_rules
    assert found.earliest_mtime <= -(2**31)
    assert 2**32 < found.latest_mtime <= FARTHEST_SECONDS
    assert found.highest_id == HIGHEST_ID


def test_times_that_lose_their_nanoseconds_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utime = os.utime
    monkeypatch.setattr(
        os, "utime", lambda file, ns: utime(file, ns=(ns[0], ns[1] // SECOND * SECOND))
    )
    found = probe_capabilities(str(tmp_path))
    assert not found.subsecond_mtime
    assert found.latest_mtime > 2**32


def test_the_range_of_times_is_found_to_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utime = os.utime

    def wrap(file: str, ns: tuple[int, int]) -> None:
        seconds = (ns[1] // SECOND + 2**31) % 2**32 - 2**31
        utime(file, ns=(ns[0], seconds * SECOND + ns[1] % SECOND))

    monkeypatch.setattr(os, "utime", wrap)
    found = probe_capabilities(str(tmp_path))
    assert (found.earliest_mtime, found.latest_mtime) == (-(2**31), 2**31 - 1)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EPERM])
def test_a_file_system_that_refuses_attributes_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "setxattr", failing(number))
    found = probe_capabilities(str(tmp_path))
    assert (found.xattrs, found.acls) == (False, False)


def test_a_file_system_may_hold_attributes_and_no_acls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(_path: str, name: bytes, _value: bytes) -> None:
        if name.startswith(b"system."):
            raise OSError(errno.EOPNOTSUPP, "")

    monkeypatch.setattr(os, "setxattr", choose)
    found = probe_capabilities(str(tmp_path))
    assert (found.xattrs, found.acls) == (True, False)


def test_the_highest_owner_is_found_if_root_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chown = os.chown

    def bounded(path: str, uid: int, gid: int) -> None:
        if uid > 2**31 - 1:
            raise OSError(errno.EOVERFLOW, "")
        chown(path, uid, gid)

    monkeypatch.setattr(os, "chown", bounded)
    expected = 2**31 - 1 if os.geteuid() == 0 else HIGHEST_ID
    assert probe_capabilities(str(tmp_path)).highest_id == expected


def test_a_file_system_without_device_nodes_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "mknod", failing(errno.EPERM))
    assert not probe_capabilities(str(tmp_path)).devices


def test_a_full_file_system_is_not_taken_for_one_without_attributes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "setxattr", failing(errno.ENOSPC))
    with pytest.raises(TargetFull):
        probe_capabilities(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_not_there_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(TargetUnwritable, match="No such file"):
        probe_capabilities(str(tmp_path / "absent"))


@pytest.mark.parametrize("rule", ["utf8_names_only", "normalizes_names", "folds_case"])
def test_the_rules_for_names_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    """The file system's answers are made up: none here has such rules."""
    real_open, lstat = open, os.lstat

    def choosy(path: str | bytes, mode: str) -> object:
        if rule == "utf8_names_only" and isinstance(path, bytes):
            raise OSError(errno.EILSEQ, "")
        return real_open(path, mode)

    def seeing(path: str) -> os.stat_result:
        twins = {"normalizes_names": "e\u0301", "folds_case": "CASE"}
        is_seen = twins.get(rule) == os.path.basename(path)
        return lstat(tmp_path if is_seen else path)

    monkeypatch.setattr("builtins.open", choosy)
    monkeypatch.setattr(os, "lstat", seeing)
    found = probe_capabilities(str(tmp_path))
    rules = ("utf8_names_only", "normalizes_names", "folds_case")
    assert [name for name in rules if getattr(found, name)] == [rule]


# What a killed request left.


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    place = tmp_path / ".probe-abc"
    place.mkdir()
    (place / "file").touch()
    return place


def test_a_directory_of_empty_files_is_a_probe_and_is_removed(probe: Path) -> None:
    assert is_probe(str(probe))
    remove_probe(str(probe))
    assert not probe.exists()


def test_a_directory_with_data_or_a_subdirectory_is_not_a_probe(probe: Path) -> None:
    (probe / "below").mkdir()
    assert not is_probe(str(probe))
    (probe / "below").rmdir()
    (probe / "file").write_text("data")
    assert not is_probe(str(probe))


def test_a_link_to_a_directory_of_empty_files_is_not_followed(probe: Path, tmp_path: Path) -> None:
    """Its files may be of use to another user although they are empty."""
    link = tmp_path / ".probe-link"
    link.symlink_to(probe)
    assert not is_probe(str(link))
    with pytest.raises(NotADirectoryError):
        remove_probe(str(link))
    assert (probe / "file").exists()


def test_a_probe_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        is_probe(str(tmp_path / ".probe-gone"))
