"""Push logs in the snapshots of the source, and the tags next to them."""

import os
import pwd
from pathlib import Path

import pytest

from dsgmigd.dsg.push_line import Push
from dsgmigd.dsg.tags import MIGRATOR, TagLink
from dsgmigd.errors import HostExhausted
from dsgmigd.names import SnapshotName
from dsgmigd.source import provenance
from dsgmigd.source.provenance import find_tags, push_logs, read_pushes, read_tag_links
from tests.unit.source.repositories import find

S1, S2 = SnapshotName(1), SnapshotName(2)


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


def test_a_snapshot_without_a_push_log_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "SV/s1").mkdir(parents=True)
    write_push_log(tmp_path / "SV/s2", 1)
    (tmp_path / "SV/s3").mkdir()
    (tmp_path / "SV/s3/.snap").touch()
    assert origins(tmp_path) == ["SV/s2"]


def test_a_snapshot_without_a_line_has_an_unknown_user_and_the_time_of_its_subvolume(
    tmp_path: Path,
) -> None:
    write_push_log(tmp_path / "SV/s1", 1)
    (tmp_path / "SV/s2").mkdir()
    found = read_pushes(find(tmp_path), [S1, S2])
    created = (tmp_path / "SV/s2").stat().st_ctime
    assert found.by_snapshot == {
        S1: Push("pball", 1399483646.0, "m"),
        S2: Push("unknown", created, "--"),
    }
    assert found.warnings == ["no push log has a line for s2"]
    assert found.unread == {}


def test_the_checkpoint_is_called_for_every_log(tmp_path: Path) -> None:
    calls: list[None] = []
    for name in ("s1", "s2"):
        write_push_log(tmp_path / "SV" / name, 1)
    read_pushes(find(tmp_path), [S1], lambda: calls.append(None))
    assert len(calls) == 2


def problem(root: Path) -> str:
    (log,) = push_logs(find(root))
    assert log.content == b""
    return str(log.problem)


def test_a_directory_in_place_of_a_push_log_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "SV/s1/.snap/push.log").mkdir(parents=True)
    assert problem(tmp_path) == "it is not a regular file"


@pytest.mark.parametrize("linked", [".snap", ".snap/push.log"])
def test_a_link_to_a_push_log_is_not_followed(tmp_path: Path, linked: str) -> None:
    """What it leads to is none of the repository's."""
    outside = write_push_log(tmp_path / "outside", 1)
    link = tmp_path / "SV/s1" / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(outside if linked.endswith("log") else outside.parent)
    found = read_pushes(find(tmp_path), [S1])
    assert found.by_snapshot[S1].user == "unknown"
    assert found.warnings[-1] == "no push log has a line for s1"
    assert "push.log cannot be read: " in found.unread[S1]


def test_a_pipe_in_place_of_a_push_log_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "SV/s1/.snap").mkdir(parents=True)
    os.mkfifo(tmp_path / "SV/s1/.snap/push.log")
    assert problem(tmp_path) == "it is not a regular file"


def test_a_huge_sparse_file_is_not_read(tmp_path: Path) -> None:
    log = write_push_log(tmp_path / "SV/s1", 1)
    os.truncate(log, 2**40)
    assert problem(tmp_path).startswith("it is larger than")


def test_no_descriptor_is_left_open_by_a_push_log_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "SV/s1/.snap/push.log").mkdir(parents=True)
    repository = find(tmp_path)
    before = os.listdir("/proc/self/fd")
    list(push_logs(repository))
    assert os.listdir("/proc/self/fd") == before


# Tags.


def make_links(directory: Path, **links: str) -> Path:
    """Make the snapshots s1 and s2, and links beside them."""
    for name in ("s1", "s2"):
        (directory / name).mkdir(parents=True)
    for name, target in links.items():
        (directory / name).symlink_to(target)
        os.utime(directory / name, (0, 1_399_483_646), follow_symlinks=False)
    return directory


def targets(root: Path) -> tuple[dict[str, str], list[str]]:
    links, warnings = read_tag_links(find(root))
    return {link.tag_id: str(link.snapshot) for link in links}, warnings


def test_links_to_snapshots_are_tags_but_not_head(tmp_path: Path) -> None:
    make_links(tmp_path / "SV", v1="s1", latest="s2/", HEAD="s2")
    (tmp_path / "SV/v9").mkdir()
    (tmp_path / "SV/notes").touch()
    assert targets(tmp_path) == ({"v1": "s1", "latest": "s2"}, [])


def test_author_and_time_are_those_of_the_link_itself(tmp_path: Path) -> None:
    make_links(tmp_path / "SV", v1="s1")
    user = pwd.getpwuid(os.getuid()).pw_name
    assert read_tag_links(find(tmp_path))[0] == [TagLink("v1", S1, user, 1399483646.0)]


def test_an_author_who_is_unknown_on_this_host_is_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, lookup = os.getuid(), pwd.getpwuid

    def knowing_one(uid: int) -> pwd.struct_passwd:
        if uid == 1:
            return lookup(0)
        raise KeyError(uid)

    make_links(tmp_path / "SV", v1="s1")
    monkeypatch.setattr(pwd, "getpwuid", knowing_one)
    monkeypatch.setattr(provenance, "_ROOT", 1)
    assert read_tag_links(find(tmp_path))[0][0].user == str(owner)


def test_a_failed_lookup_of_an_author_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup, failures = pwd.getpwuid, [KeyError]

    def failing(uid: int) -> pwd.struct_passwd:
        if failures:
            raise failures.pop()
        return lookup(uid)

    make_links(tmp_path / "SV", v1="s1")
    monkeypatch.setattr(pwd, "getpwuid", failing)
    assert read_tag_links(find(tmp_path))[0][0].user == lookup(os.getuid()).pw_name
    failures[:] = [KeyError] * 2
    with pytest.raises(HostExhausted):
        read_tag_links(find(tmp_path))


@pytest.mark.parametrize(
    "target", ["s3", "s01", "s1/data", "s1//", "./s1", "../SV/s1", "/s1", "other", "s1\n", "v0"]
)
def test_a_link_that_leads_to_no_snapshot_is_a_warning(tmp_path: Path, target: str) -> None:
    make_links(tmp_path / "SV", v0="s1", v1=target)
    found, (warning,) = targets(tmp_path)
    assert found == {"v0": "s1"}
    assert "SV/v1' is not a tag: " in warning


def test_of_very_many_links_that_are_no_tags_the_first_are_named_and_the_rest_counted(
    tmp_path: Path,
) -> None:
    make_links(tmp_path / "SV", v0="s1")
    for number in range(300):
        (tmp_path / f"SV/bad{number:03}").symlink_to("x" * 4000)
    found, warnings = targets(tmp_path)
    assert found == {"v0": "s1"}
    assert "bad000" in warnings[0]
    assert warnings[-1] == "280 more links that are no tags, or are contradicted"
    assert sum(map(len, warnings)) < 20_000


def test_a_name_that_is_not_utf8_is_a_warning_that_can_be_printed(tmp_path: Path) -> None:
    make_links(tmp_path / "SV")
    os.symlink(b"s1", os.fsencode(tmp_path / "SV") + b"/v\xff")
    found, (warning,) = targets(tmp_path)
    assert found == {}
    assert warning.isascii()


def test_a_time_that_dsg_cannot_store_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every file system can keep one to test with."""

    def too_late(timestamp: float) -> str:
        raise OverflowError(f"no year for {timestamp}")

    make_links(tmp_path / "SV", v1="s1")
    monkeypatch.setattr(provenance, "local_time", too_late)
    found, (warning,) = targets(tmp_path)
    assert found == {}
    assert "no year for" in warning


def test_a_tag_that_only_the_original_has_is_not_lost_and_else_that_of_the_copy_is_used(
    tmp_path: Path,
) -> None:
    make_links(tmp_path / "SV", v1="s1", v2="s2", v3="s2")
    make_links(tmp_path / "SV-norm", v1="s1", v2="s1")
    found, warnings = targets(tmp_path)
    assert found == {"v1": "s1", "v2": "s1", "v3": "s2"}
    assert warnings == [f"{tmp_path}/SV/v2 points to s2; the tag in {tmp_path}/SV-norm is used: s1"]


def test_a_tag_of_a_snapshot_that_is_not_wanted_is_omitted_without_a_warning(
    tmp_path: Path,
) -> None:
    make_links(tmp_path / "SV", v1="s1", v2="s2")
    links, warnings = find_tags(find(tmp_path), [S1], None)
    assert [link.tag_id for link in links] == ["v1"]
    assert warnings == []


def test_a_migration_tag_is_one_more_for_the_last_snapshot(tmp_path: Path) -> None:
    make_links(tmp_path / "SV", v1="s1")
    links, warnings = find_tags(find(tmp_path), [S1, S2], "v2.0.0")
    assert (links[1].tag_id, links[1].snapshot, links[1].user) == ("v2.0.0", S2, MIGRATOR)
    assert warnings == []


def test_a_migration_tag_does_not_replace_a_tag_of_the_same_name(tmp_path: Path) -> None:
    make_links(tmp_path / "SV", v2="s2")
    links, warnings = find_tags(find(tmp_path), [S1], "v2")
    assert links == []
    assert warnings == ["the source already has a tag v2: no migration tag was added"]
