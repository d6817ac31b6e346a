"""One side of a comparison: what it reads, and whose error a failure is."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from dsgmigd.errors import SourceUnreadable, TargetUnwritable
from dsgmigd.host.file_errors import target_error
from dsgmigd.host.hashing import hash_bytes
from dsgmigd.verification.side import Side
from tests.unit.verification.snapshot_pair import World


@pytest.mark.parametrize(
    ("side", "error"), [("source", SourceUnreadable), ("target", TargetUnwritable)]
)
def test_a_missing_side_is_an_error_and_not_a_difference(
    world: World, side: str, error: type[Exception]
) -> None:
    shutil.rmtree(getattr(world, side))
    with pytest.raises(error):
        world.verify()


def side_of(root: Path) -> Side:
    return Side(str(root), target_error)


def status(*, device: int, inode: int, mode: int = stat.S_IFDIR | 0o755) -> os.stat_result:
    return os.stat_result((mode, inode, device, 1, 0, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("root_inode", "one", "expected"),
    [
        (256, status(device=1, inode=300), False),
        (256, status(device=2, inode=256), True),
        (256, status(device=1, inode=2), True),
        (256, status(device=1, inode=2, mode=stat.S_IFREG | 0o644), False),
        (34, status(device=1, inode=2), False),
    ],
)
def test_another_device_or_the_stub_of_a_subvolume_is_a_nested_subvolume(
    tmp_path: Path, root_inode: int, one: os.stat_result, *, expected: bool
) -> None:
    with side_of(tmp_path) as side:
        side.root_status = status(device=1, inode=root_inode)
        assert side.is_nested_subvolume(one) is expected


def test_the_statuses_of_names_are_in_their_order_and_none_for_what_is_missing(
    tmp_path: Path,
) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "link").symlink_to("a")
    with side_of(tmp_path) as side:
        found = side.statuses("", ["link", "absent", "a"])
    assert [one and (stat.S_ISLNK(one.st_mode), one.st_size) for one in found] == [
        (True, 1),
        None,
        (False, 3),
    ]


def test_a_link_on_the_way_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "file").touch()
    with side_of(tmp_path) as side:
        answers = [side.has_directory(path) for path in ("d/e", "link/e", "absent", "file", "")]
    assert answers == [True, False, False, False, True]


def test_reading_changes_no_access_time_and_an_error_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    os.utime(tmp_path / "a", ns=(1, 2))
    with side_of(tmp_path) as side:
        directory = side.open("")
        one = os.lstat(tmp_path / "a")
        assert side.digest("a", "a", directory, one) == (hash_bytes(b"content"), 7)
        with pytest.raises(TargetUnwritable, match="reading 'd/absent' failed on the target"):
            side.digest("d/absent", "absent", directory, one)
    assert (tmp_path / "a").stat().st_atime_ns == 1
