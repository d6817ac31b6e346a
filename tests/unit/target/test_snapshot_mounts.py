"""Mounts of snapshots, with the system calls recorded.

tests/integration/test_zfs.py makes them on a real pool, if the kernel has ZFS.
"""

import errno
import os
from pathlib import Path

import pytest

from dsgmigd.errors import TargetBusy, TargetMissing, TargetUnwritable
from dsgmigd.target import mounts, snapshot_mounts
from dsgmigd.target.snapshot_mounts import SnapshotMounts


def test_a_snapshot_is_mounted_so_that_it_can_only_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str, str, int]] = []
    monkeypatch.setattr(snapshot_mounts, "mount_file_system", lambda *words: calls.append(words))
    place = str(tmp_path / "SV")
    for _ in range(2):
        SnapshotMounts().mount("zsd/SV@s1", place)
    # linux/mount.h: MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC
    assert calls == [("zsd/SV@s1", place, "zfs", 1 | 2 | 4 | 8)] * 2
    assert (tmp_path / "SV").stat().st_mode & 0o777 == 0o700


def failing(number: int) -> object:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOENT, TargetMissing), (errno.EBUSY, TargetBusy), (errno.EIO, TargetUnwritable)],
)
def test_what_the_kernel_refuses_is_an_error_of_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    for name in ("mount_file_system", "unmount_file_system"):
        monkeypatch.setattr(snapshot_mounts, name, failing(number))
    with pytest.raises(kind, match="zsd/SV@s1"):
        SnapshotMounts().mount("zsd/SV@s1", str(tmp_path))
    with pytest.raises(kind, match=str(tmp_path)):
        SnapshotMounts().unmount(str(tmp_path))


def test_only_what_is_mounted_directly_in_a_directory_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mountinfo"
    places = {"/v/SV": "zsd/a@s1", "/v/CO": "zsd/b", "/v/SV/deep": "zsd/c", "/v": "zsd/v"}
    file.write_text(
        "".join(f"30 22 0:41 / {place} ro - zfs {what} ro\n" for place, what in places.items())
    )
    monkeypatch.setattr(mounts, "_MOUNTS", str(file))
    assert SnapshotMounts().mounted_in("/v") == {"/v/SV": "zsd/a@s1", "/v/CO": "zsd/b"}
    file.unlink()
    with pytest.raises(TargetMissing, match="reading what is mounted"):
        SnapshotMounts().mounted_in("/v")
