"""Who made what: the push logs as they lie in the source's snapshots."""

import os
from pathlib import Path

import pytest

from dsgmigd.dsg.pushlog import Push
from dsgmigd.names import SnapshotName, parse_repo_name
from dsgmigd.provenance import push_logs, read_pushes
from dsgmigd.source import Repository, find_repository

SV = parse_repo_name("SV")
S1, S2 = SnapshotName(1), SnapshotName(2)


def find(root: Path) -> Repository:
    return find_repository(str(root), SV)


def write_push_log(snapshot: Path, *numbers: int, user: str = "pball") -> Path:
    (snapshot / ".snap").mkdir(parents=True)
    lines = [f"SV/s{number} | {user} | 2014-05-07 17:27:26 UTC (Wed) | m" for number in numbers]
    log = snapshot / ".snap" / "push.log"
    log.write_text("\n".join(lines) + "\n")
    return log


def origins(root: Path) -> list[str]:
    return [os.path.relpath(log.origin, root).split("/.snap")[0] for log in push_logs(find(root))]


def test_push_logs_come_newest_first_and_normalised_before_original(tmp_path: Path) -> None:
    """The original's newest snapshot may not be normalised yet; its log is read all the same."""
    for name in ("SV/s1", "SV/s2", "SV/s10", "SV-norm/s1", "SV-norm/s2"):
        write_push_log(tmp_path / name, 1)
    assert origins(tmp_path) == ["SV/s10", "SV-norm/s2", "SV/s2", "SV-norm/s1", "SV/s1"]


def test_without_a_normalised_copy_the_original_is_read_once(tmp_path: Path) -> None:
    write_push_log(tmp_path / "SV/s1", 1)
    assert origins(tmp_path) == ["SV/s1"]


def test_a_snapshot_without_a_push_log_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "SV/s1").mkdir(parents=True)
    write_push_log(tmp_path / "SV/s2", 1)
    (tmp_path / "SV/s3").mkdir()
    (tmp_path / "SV/s3/.snap").touch()
    assert origins(tmp_path) == ["SV/s2"]


def test_a_snapshot_without_a_line_is_nobodys_and_as_old_as_its_subvolume(tmp_path: Path) -> None:
    write_push_log(tmp_path / "SV/s1", 1)
    (tmp_path / "SV/s2").mkdir()
    found, warnings = read_pushes(find(tmp_path), [S1, S2])
    assert found[S1] == Push("pball", 1399483646.0, "m")
    assert found[S2] == Push("unknown", (tmp_path / "SV/s2").stat().st_ctime, "--")
    assert warnings == ["no push log has a line for s2"]


def problem(root: Path) -> str:
    (log,) = push_logs(find(root))
    assert log.content == b""
    return str(log.problem)


def test_a_directory_in_place_of_a_push_log_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "SV/s1/.snap/push.log").mkdir(parents=True)
    assert problem(tmp_path) == "Is a directory"


@pytest.mark.parametrize("linked", [".snap", ".snap/push.log"])
def test_a_link_leads_to_no_push_log(tmp_path: Path, linked: str) -> None:
    """What it leads to is none of the repository's."""
    outside = write_push_log(tmp_path / "outside", 1)
    link = tmp_path / "SV/s1" / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(outside if linked.endswith("log") else outside.parent)
    found, warnings = read_pushes(find(tmp_path), [S1])
    assert found[S1].user == "unknown"
    assert warnings[-1] == "no push log has a line for s1"


def test_a_pipe_in_place_of_a_push_log_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "SV/s1/.snap").mkdir(parents=True)
    os.mkfifo(tmp_path / "SV/s1/.snap/push.log")
    assert problem(tmp_path) == "it is not a regular file"


def test_a_hole_without_end_is_not_read(tmp_path: Path) -> None:
    log = write_push_log(tmp_path / "SV/s1", 1)
    os.truncate(log, 2**40)
    assert problem(tmp_path).startswith("it is larger than")


def test_no_descriptor_is_left_open_by_a_push_log_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "SV/s1/.snap/push.log").mkdir(parents=True)
    repository = find(tmp_path)
    before = os.listdir("/proc/self/fd")
    list(push_logs(repository))
    assert os.listdir("/proc/self/fd") == before
