"""Subvolumes, as far as no btrfs is needed; tests/integration has those of a real one."""

import errno
import os
from pathlib import Path

import btrfsutil
import pytest

from dsgmigd.errors import PinImpossible, SourceUnreadable
from dsgmigd.source import subvolume
from dsgmigd.source.subvolume import (
    Subvolume,
    create_pin,
    delete_pin,
    last_common_transaction,
    newest_send_protocol,
    read_subvolume,
    sync_filesystem,
)
from tests.unit.failing import failing


def made(uuid: str, parent: str | None, *, ctransid: int, otransid: int) -> Subvolume:
    return Subvolume(uuid, parent, ctransid, otransid, is_read_only=True, created_at=1.4e9)


def test_a_plain_directory_is_not_a_subvolume(tmp_path: Path) -> None:
    assert read_subvolume(str(tmp_path)) is None


def test_a_directory_with_the_inode_number_of_a_subvolume_is_not_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file system may use the number too."""
    monkeypatch.setattr(subvolume, "FIRST_FREE_OBJECTID", os.lstat(tmp_path).st_ino)
    assert read_subvolume(str(tmp_path)) is None


def test_a_path_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="looking at the subvolume"):
        read_subvolume(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("before", "after", "common"),
    [
        # A snapshot of a subvolume that did not change after it was created from it.
        (
            made("a", None, ctransid=9, otransid=1),
            made("b", "a", ctransid=12, otransid=10),
            10,
        ),
        # The origin changed after the snapshot.
        (
            made("a", None, ctransid=11, otransid=1),
            made("b", "a", ctransid=12, otransid=10),
            None,
        ),
        # Two snapshots of one subvolume.
        (
            made("a", "live", ctransid=10, otransid=10),
            made("b", "live", ctransid=20, otransid=20),
            10,
        ),
        # In the wrong order.
        (
            made("b", "live", ctransid=20, otransid=20),
            made("a", "live", ctransid=10, otransid=10),
            None,
        ),
        # Two snapshots without a parent have nothing in common.
        (
            made("a", None, ctransid=10, otransid=10),
            made("b", None, ctransid=20, otransid=20),
            None,
        ),
    ],
    ids=["child", "changed origin", "siblings", "wrong order", "unrelated"],
)
def test_the_last_common_transaction_of_related_subvolumes_is_known(
    before: Subvolume, after: Subvolume, common: int | None
) -> None:
    assert last_common_transaction(before, after) == common


def test_a_sync_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync_filesystem(str(tmp_path))  # not btrfs: nothing to commit
    monkeypatch.setattr(btrfsutil, "sync", failing(errno.EIO))
    with pytest.raises(SourceUnreadable, match="committing"):
        sync_filesystem(str(tmp_path))


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EXDEV, "on another file system than the source root"),
        (errno.EROFS, "file system mounted read-only"),
        (errno.EDQUOT, "btrfs quota exceeded"),
        (errno.ENOSPC, "no space left on the file system"),
        (errno.ETXTBSY, "active swap file in the subvolume"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_pin_that_cannot_be_created_says_why(
    monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    monkeypatch.setattr(btrfsutil, "create_snapshot", failing(number))
    with pytest.raises(PinImpossible) as caught:
        create_pin("/source/SV/s1", "/source/pin")
    assert caught.value.message == reason


def test_a_link_to_a_directory_is_not_a_subvolume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subvolume, "FIRST_FREE_OBJECTID", os.lstat(tmp_path).st_ino)
    monkeypatch.setattr(btrfsutil, "is_subvolume", failing(errno.EIO))
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    assert read_subvolume(str(tmp_path / "link")) is None
    assert read_subvolume(str(tmp_path / "file")) is None


def test_a_pin_that_is_gone_already_needs_no_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(btrfsutil, "delete_subvolume", failing(errno.ENOENT))
    delete_pin("/proc/self/fd/7/s1", shown="/source/pin")
    monkeypatch.setattr(btrfsutil, "delete_subvolume", failing(errno.EROFS))
    with pytest.raises(PinImpossible, match="cannot delete the pin /source/pin: Read-only"):
        delete_pin("/proc/self/fd/7/s1", shown="/source/pin")


@pytest.mark.parametrize(("content", "version"), [("2\n", 2), ("", 1), (None, 1)])
def test_a_kernel_that_does_not_say_its_send_protocol_has_version_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, version: int
) -> None:
    file = tmp_path / "send_stream_version"
    if content is not None:
        file.write_text(content)
    monkeypatch.setattr(subvolume, "_SEND_PROTOCOL_FILE", str(file))
    assert newest_send_protocol() == version
