"""What the target cannot hold is found before anything is copied, in directories and in trees."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.errors import LossNotAllowed, SourceUnreadable, TargetRefused
from dsgmigd.migration import preflight
from dsgmigd.migration.preflight import survey_snapshot
from dsgmigd.names import SnapshotName
from dsgmigd.request import Loss
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.target.capabilities import Capabilities
from tests.acls import ACL, ACL_OF_DIRECTORIES
from tests.unit.failing import failing
from tests.unit.migration.migration_world import set_xattr
from tests.unit.tree_items import (
    DIR_INDEX,
    ROOT_ITEM,
    XATTR_ITEM,
    Item,
    answer_searches,
    directory_item,
    inode,
    name,
)

CANNOT = "s1 has content that the target cannot hold: "
REGULAR, DIRECTORY, DEVICE = 0o100644, 0o40755, 0o20600
WHOLE_SECOND = 1_400_000_000 * 1_000_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty snapshot that every target can hold."""
    root = tmp_path / "s1"
    root.mkdir()
    os.utime(root, ns=(WHOLE_SECOND, WHOLE_SECOND))
    return root


def survey(
    root: Path,
    allowed: Iterable[Loss] = (),
    *,
    since: int = 0,
    is_sendable: bool = False,
    **capabilities: Any,
) -> frozenset[bytes]:
    held = HeldSnapshot(
        *(SnapshotName(1), str(root), "uuid", 7, 0.0),
        is_sendable=is_sendable,
        is_pinned=is_sendable,
    )
    return survey_snapshot(held, since, Capabilities(**capabilities), allowed)


def make(root: Path, path: str) -> Path:
    """Make a file that every target can hold; its directories come to have whole seconds too."""
    made = root / path
    made.parent.mkdir(parents=True, exist_ok=True)
    made.touch()
    for one in (made, *made.relative_to(root).parents):
        os.utime(root / one, ns=(WHOLE_SECOND, WHOLE_SECOND))
    return made


# Losses.


LACKING: dict[Loss, dict[str, Any]] = {
    "xattr": {"xattrs": False},
    "acl": {"acls": False},
    "subsecond_mtime": {"subsecond_mtime": False},
    "mtime_range": {"latest_mtime": 2_000_000_000},
}
WORDS: dict[Loss, str] = {
    "xattr": "extended attributes",
    "acl": "POSIX ACLs",
    "subsecond_mtime": "modification times below the second",
    "mtime_range": "modification times out of the target's range",
}


def give(path: Path, loss: Loss) -> None:
    """Give a file or directory what a target of LACKING loses."""
    match loss:
        case "xattr":
            set_xattr(path, "user.a")
        case "acl":
            acl = ACL_OF_DIRECTORIES if path.is_dir() else ACL
            set_xattr(path, "system.posix_acl_access", acl)
        case "subsecond_mtime":
            os.utime(path, ns=(0, WHOLE_SECOND + 1))
        case "mtime_range":
            os.utime(path, ns=(0, 2 * WHOLE_SECOND))


@pytest.mark.parametrize("loss", LACKING)
@pytest.mark.parametrize(("path", "shown"), [("d/file", "d/file"), ("d", "d"), (".", ".")])
def test_a_loss_that_is_not_allowed_is_named_with_its_path(
    root: Path, loss: Loss, path: str, shown: str
) -> None:
    make(root, "d/file")
    assert survey(root, **LACKING[loss]) == frozenset()
    give(root / path, loss)
    with pytest.raises(LossNotAllowed) as caught:
        survey(root, **LACKING[loss])
    assert caught.value.message == f"{CANNOT}{WORDS[loss]} (1, first: '{shown}')"
    assert caught.value.hint == (
        f'choose another target, or submit with "allow_loss": ["{loss}"] added'
    )


@pytest.mark.parametrize("loss", LACKING)
def test_a_loss_that_is_allowed_and_what_the_target_can_hold_pass(root: Path, loss: Loss) -> None:
    give(make(root, "file"), loss)
    survey(root)
    survey(root, [loss], **LACKING[loss])


def test_only_what_is_not_allowed_yet_is_asked_for_in_the_order_of_the_losses(root: Path) -> None:
    for loss in ("mtime_range", "xattr"):
        give(make(root, loss), loss)
    give(make(root, "acl"), "acl")
    lacking = LACKING["mtime_range"] | LACKING["xattr"] | LACKING["acl"]
    with pytest.raises(LossNotAllowed) as caught:
        survey(root, ["acl"], **lacking)
    assert '"allow_loss": ["xattr", "mtime_range"] added' in caught.value.hint


def test_how_btrfs_stores_a_file_is_no_loss(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, "file")
    monkeypatch.setattr(os, "listxattr", lambda *_, **__: ["btrfs.compression"])
    survey(root, xattrs=False)


def test_of_many_the_first_five_are_shown_and_all_are_counted(root: Path) -> None:
    for number in range(9):
        give(make(root, f"file{number}"), "mtime_range")
    with pytest.raises(LossNotAllowed, match=r"range \(9, first: ") as caught:
        survey(root, latest_mtime=2_000_000_000)
    assert caught.value.message.count("'file") == 5


def test_a_path_that_is_long_or_not_utf_8_can_be_shown(root: Path) -> None:
    name = os.fsdecode(b"\xff") + "n" * 200 + "end"
    give(make(root, name), "mtime_range")
    with pytest.raises(LossNotAllowed) as caught:
        survey(root, latest_mtime=2_000_000_000)
    caught.value.message.encode()
    assert r"'\\xffnnn" in caught.value.message
    assert "nnn … nnn" in caught.value.message
    assert caught.value.message.endswith("nend')")


def test_what_is_excluded_may_be_anything(root: Path) -> None:
    for path in (".snap/push.log", "HEAD", ".Trash-0/file"):
        give(make(root, path), "mtime_range")
    survey(root, latest_mtime=2_000_000_000)
    give(make(root, "d/HEAD"), "mtime_range")
    with pytest.raises(LossNotAllowed, match=r"\(1, first: 'd/HEAD'\)"):
        survey(root, latest_mtime=2_000_000_000)


def test_what_is_excluded_collides_with_nothing(root: Path) -> None:
    """The one of two names that is read last collides: of several pairs some are in each order."""
    for path in ("HEAD", ".snap", ".zfs", "lost+found", ".Trash-0", ".Trash-1"):
        make(root, path)
        make(root, path.swapcase())
    survey(root, folds_case=True)


def test_a_symbolic_link_is_not_followed(root: Path, tmp_path: Path) -> None:
    give(make(tmp_path, "outside/file"), "mtime_range")
    (root / "link").symlink_to(tmp_path / "outside")
    os.utime(root / "link", ns=(0, 0), follow_symlinks=False)
    survey(root, latest_mtime=2_000_000_000)


# Obstacles, which no request can allow.


@pytest.mark.parametrize(
    ("paths", "capabilities", "words"),
    [
        (["file"], {"highest_id": -1}, "user or group numbers above the target's highest (2, "),
        (["d/\udcff"], {"utf8_names_only": True}, "names that are not UTF-8 (1, first: 'd/"),
        (["case", "CASE"], {"folds_case": True}, "names that collide on the target"),
        (["\u00e9", "e\u0301"], {"normalizes_names": True}, "names that collide on the target"),
        (["d/" + "n" * 11], {"longest_name_bytes": 10}, "names longer than the target's longest"),
    ],
    ids=["owner", "encoding", "case", "normalization", "length"],
)
def test_what_cannot_be_held_at_all_fails_whatever_is_allowed(
    root: Path, paths: list[str], capabilities: dict[str, Any], words: str
) -> None:
    for path in paths:
        make(root, path)
    survey(root)
    with pytest.raises(TargetRefused) as caught:
        survey(root, LACKING, **capabilities)
    assert caught.value.message.startswith(CANNOT + words)
    assert caught.value.hint == "choose a target that can hold it, or change it in the source"


def test_a_file_whose_holes_take_hours_to_hash_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(root, "sparse")
    os.truncate(path, 2**42)
    os.utime(path, ns=(WHOLE_SECOND, WHOLE_SECOND))
    survey(root)
    monkeypatch.setattr(preflight, "HOLES_LIMIT_BYTES", 2**41)
    with pytest.raises(TargetRefused, match=r"hours to hash \(1, first: 'sparse'\)"):
        survey(root)


def test_the_same_name_in_two_directories_does_not_collide(root: Path) -> None:
    for path in ("a/name", "b/NAME", "c/d/Name"):
        make(root, path)
    survey(root, folds_case=True)


def test_obstacles_are_named_before_losses(root: Path) -> None:
    give(make(root, "long name"), "mtime_range")
    with pytest.raises(TargetRefused) as caught:
        survey(root, longest_name_bytes=5, latest_mtime=2_000_000_000)
    assert caught.value.message == (
        f"{CANNOT}names longer than the target's longest (1, first: 'long name'); "
        "modification times out of the target's range (1, first: 'long name')"
    )


@pytest.mark.parametrize("call", ["scandir", "listxattr", "lstat"])
def test_a_source_that_cannot_be_read_is_not_without_faults(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    make(root, "file")
    monkeypatch.setattr(os, call, failing(errno.EIO))
    with pytest.raises(SourceUnreadable, match="looking through s1"):
        survey(root)


# A subvolume, in its own metadata.


def search(
    root: Path, monkeypatch: pytest.MonkeyPatch, *items: Item, since: int = 0, **options: Any
) -> frozenset[bytes]:
    top = inode(256, 5, DIRECTORY)
    answer_searches(monkeypatch, top, inode(257, 5, DIRECTORY), name(257, 256, b"d"), *items)
    return survey(root, since=since, is_sendable=True, **options)


def test_nested_subvolumes_are_returned_but_those_that_are_excluded(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nested = search(
        *(root, monkeypatch),
        directory_item(DIR_INDEX, 256, ROOT_ITEM, b"top"),
        directory_item(DIR_INDEX, 256, ROOT_ITEM, b".snap"),
        directory_item(DIR_INDEX, 257, ROOT_ITEM, b"old"),
    )
    assert nested == {b"top", b"d/old"}


def test_in_a_subvolume_only_what_changed_since_is_checked(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = (
        *(inode(258, 6, REGULAR, (2**31, 0)), name(258, 257, b"old")),
        *(inode(259, 9, REGULAR, (2**31, 0)), name(259, 257, b"new")),
    )
    with pytest.raises(LossNotAllowed, match=r"\(2, first: 'd/old', 'd/new'\)"):
        search(root, monkeypatch, *items, latest_mtime=2**31 - 1)
    with pytest.raises(LossNotAllowed, match=r"\(1, first: 'd/new'\)"):
        search(root, monkeypatch, *items, since=7, latest_mtime=2**31 - 1)


def test_what_is_excluded_in_a_subvolume_may_be_anything(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(root, monkeypatch, inode(258, 9, DEVICE), name(258, 256, b"HEAD"), devices=False)


@pytest.mark.parametrize(
    ("items", "capabilities", "words"),
    [
        (
            [inode(258, 9, DEVICE), name(258, 257, b"null")],
            {"devices": False},
            "device nodes (1, first: 'd/null')",
        ),
        (
            [directory_item(XATTR_ITEM, 257, 0, b"user.a", b"btrfs.compression")],
            {"xattrs": False},
            "extended attributes (1, first: 'd')",
        ),
        ([], {"latest_mtime": 1}, "modification times out of the target's range (2, first: '.'"),
        ([], {"highest_id": 19}, "user or group numbers above the target's highest (2, first"),
    ],
    ids=["device", "xattr", "root", "owner"],
)
def test_in_a_subvolume_everything_is_found_in_its_metadata(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    items: list[Item],
    capabilities: dict[str, Any],
    words: str,
) -> None:
    with pytest.raises((LossNotAllowed, TargetRefused)) as caught:
        search(root, monkeypatch, *items, **capabilities)
    assert caught.value.message.startswith(CANNOT + words)


def test_names_of_a_subvolume_are_read_from_its_directories(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(root, "long name")
    with pytest.raises(TargetRefused, match="names longer than the target's longest"):
        search(root, monkeypatch, longest_name_bytes=5)


def test_a_path_that_no_send_stream_can_tell_is_an_obstacle(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """btrfs send fails on a path of 4096 bytes, while the file system has it without a fault."""
    names = [b"n" * 250] * 15 + [b"m" * 175]
    path = b"/".join(names)
    descriptor = os.open(root, os.O_RDONLY)
    for one in names:
        os.mkdir(one, dir_fd=descriptor)
        inner = os.open(one, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    for length in (4095, 4096):
        os.mknod(b"f" * (length - len(path) - 1), dir_fd=descriptor)
    os.close(descriptor)
    numbers = range(300, 300 + len(names))
    items = [inode(number, 9, DIRECTORY) for number in numbers]
    items += [
        name(number, number - 1 if number > 300 else 256, text)
        for number, text in zip(numbers, names, strict=True)
    ]
    with pytest.raises(TargetRefused, match=r"paths longer than btrfs send supports \(1, "):
        search(root, monkeypatch, *items)
