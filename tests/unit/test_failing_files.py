"""What a disk fails to show is not absent: nothing may be decided as if it were."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.dsg.archive import DsgDirectory
from dsgmigd.dsg.read_scope import read_scope
from dsgmigd.errors import HostExhausted, SourceUnreadable, TargetBusy, TargetUnwritable
from dsgmigd.names import SnapshotName, parse_repo_name
from dsgmigd.source.provenance import find_tags, read_pushes
from dsgmigd.source.repository import Repository, find_repository
from dsgmigd.source.root import list_repositories
from dsgmigd.target.probe import probe_capabilities
from dsgmigd.target.zfs_fuse import mounting
from dsgmigd.verification.metadata.documents import Documents
from dsgmigd.verification.metadata.tags import check_tags
from tests.unit.verification.metadata.dsg_documents import write_documents

SV = parse_repo_name("SV")
S1, S2 = SnapshotName(1), SnapshotName(2)
PUSH = "SV/s{} | ana | 2014-05-07 17:27:26 UTC (Wed) | m\n"

Break = Callable[..., None]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Let a function of `os` fail for paths that end in `name`."""

    def arrange(call: str, name: str, number: int = errno.EIO) -> None:
        real = getattr(os, call)

        def failing(path: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and os.fsdecode(path).endswith(name):
                raise OSError(number, os.strerror(number))
            return real(path, *arguments, **options)

        monkeypatch.setattr(os, call, failing)

    return arrange


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An original and its normalised copy, which has a tag."""
    for name in ("SV/s1", "SV-norm/s1", "SV-norm/s2"):
        (tmp_path / name / ".snap").mkdir(parents=True)
    (tmp_path / "SV-norm/s1/.snap/push.log").write_text(PUSH.format(1))
    (tmp_path / "SV-norm/s2/.snap/push.log").write_text(PUSH.format(2))
    (tmp_path / "SV-norm/v1").symlink_to("s1")
    return find_repository(str(tmp_path), SV)


def test_the_original_is_not_taken_for_a_copy_that_cannot_be_seen(
    repository: Repository, fail: Break
) -> None:
    fail("lstat", "SV-norm")
    with pytest.raises(SourceUnreadable, match="SV-norm"):
        find_repository(repository.root, SV)


def test_a_repository_that_cannot_be_looked_at_is_named(
    repository: Repository, fail: Break
) -> None:
    fail("lstat", "SV-norm/s1")
    listing = list_repositories(repository.root)
    assert listing.names == []
    assert "s1 failed in the source" in listing.left_out["SV"]


def test_a_host_without_memory_is_not_a_broken_source(repository: Repository, fail: Break) -> None:
    fail("listdir", "SV-norm", errno.ENOMEM)
    with pytest.raises(HostExhausted):
        find_repository(repository.root, SV)


def test_a_tag_that_cannot_be_read_is_not_left_out(repository: Repository, fail: Break) -> None:
    fail("lstat", "v1")
    with pytest.raises(SourceUnreadable, match="v1"):
        find_tags(repository, [S1], None)


def test_a_link_that_cannot_be_read_is_no_mere_warning(repository: Repository, fail: Break) -> None:
    fail("readlink", "v1")
    with pytest.raises(SourceUnreadable, match="v1"):
        find_tags(repository, [S1], None)


def test_nobody_is_called_unknown_while_a_push_log_cannot_be_read(
    repository: Repository, fail: Break
) -> None:
    fail("open", "norm/s1")
    with pytest.raises(SourceUnreadable, match="may contain s1"):
        read_pushes(repository, [S1, S2])


def test_a_push_log_that_nothing_depends_on_is_a_warning(
    repository: Repository, fail: Break
) -> None:
    fail("open", "norm/s1")
    found = read_pushes(repository, [S2])
    assert found.by_snapshot[S2].user == "ana"
    assert any("cannot be read: Input/output error" in warning for warning in found.warnings)


def test_a_scope_that_cannot_be_read_is_not_everything(tmp_path: Path, fail: Break) -> None:
    fail("open", ".dsgconfig.yml")
    with pytest.raises(OSError, match="Input/output"):
        read_scope(str(tmp_path))


def test_tags_that_cannot_be_seen_are_not_lost(tmp_path: Path, fail: Break) -> None:
    fail("lstat", "tag-messages.json")
    with pytest.raises(TargetUnwritable, match="tag-messages"):
        DsgDirectory(str(tmp_path)).read_tags()


def test_tags_that_cannot_be_seen_are_not_passed_over_in_a_check(
    tmp_path: Path, fail: Break
) -> None:
    fail("lstat", "tag-messages.json")
    with pytest.raises(OSError, match="Input/output"):
        check_tags(str(tmp_path), ["s1"])


@pytest.mark.parametrize("name", ["last-sync.json", "sync-messages.json", "s1-sync.json.lz4"])
def test_a_document_that_cannot_be_read_is_no_difference(
    tmp_path: Path, fail: Break, name: str
) -> None:
    write_documents(tmp_path, 2)
    assert Documents().read(str(tmp_path), 2).discrepancies == []
    fail("open", name)
    with pytest.raises(OSError, match="Input/output"):
        Documents().read(str(tmp_path), 2)


def test_a_file_system_that_cannot_be_probed_has_no_rules(tmp_path: Path, fail: Break) -> None:
    fail("lstat", "CASE")
    with pytest.raises(TargetUnwritable, match="probing"):
        probe_capabilities(str(tmp_path))


def test_a_turn_that_cannot_be_taken_is_none(fail: Break) -> None:
    fail("open", "zfs-fuse.lock", errno.ENOSPC)
    with pytest.raises(TargetBusy, match="No space"), mounting():
        pytest.fail("it has no turn")
