"""System calls by ctypes, against what the kernel shows in other ways."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from dsgmigd.host.syscalls import (
    MOUNT_NOSUID,
    add_mount_flags,
    current_umask,
    file_system_magic,
    mount_file_system,
    punch_hole,
    rename_noreplace,
    reserve_space,
    unmount_file_system,
)


def test_a_file_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "old\n").write_text("content")
    rename_noreplace(str(tmp_path / "old\n"), str(tmp_path / "ünï"))
    assert os.listdir(tmp_path) == ["ünï"]
    assert (tmp_path / "ünï").read_text() == "content"


def test_a_rename_never_replaces_what_exists(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "new").write_text("new")
    with pytest.raises(FileExistsError) as caught:
        rename_noreplace(str(tmp_path / "old"), str(tmp_path / "new"))
    assert (caught.value.filename, caught.value.filename2) == (
        str(tmp_path / "old"),
        str(tmp_path / "new"),
    )
    assert [(tmp_path / name).read_text() for name in ("old", "new")] == ["old", "new"]


def test_a_hole_reads_as_zeros_and_the_size_stays(tmp_path: Path) -> None:
    content = b"x" * 8192
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("r+b") as file:
        try:
            punch_hole(file.fileno(), 4096, 4096)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            pytest.skip("the file system of the temporary directory has no holes")
    assert (tmp_path / "file").read_bytes() == content[:4096] + bytes(4096)


def test_a_hole_in_a_file_that_is_only_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with (tmp_path / "file").open("rb") as file, pytest.raises(OSError, match="Bad file"):
        punch_hole(file.fileno(), 0, 1)


def test_the_umask_is_read_and_not_changed() -> None:
    before = os.umask(0o027)
    try:
        assert [current_umask(), current_umask()] == [0o027, 0o027]
    finally:
        assert os.umask(before) == 0o027


@pytest.mark.parametrize("path", ["/proc", "/", "/dev"])
def test_the_type_of_a_file_system_is_what_stat_shows(path: str) -> None:
    shown = subprocess.run(
        ["stat", "-f", "-c", "%t", path], capture_output=True, text=True, check=True
    )
    assert file_system_magic(path) == int(shown.stdout, 16)


def test_the_file_system_of_a_missing_path_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        file_system_magic("/absent")


def test_flags_are_not_added_where_nothing_is_mounted(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=str(tmp_path)) as caught:
        add_mount_flags(str(tmp_path), MOUNT_NOSUID)
    assert caught.value.errno in {errno.EINVAL, errno.EPERM}


def test_what_cannot_be_mounted_or_unmounted_is_an_error(tmp_path: Path) -> None:
    """Without root the kernel refuses all of it; with root, because of the paths."""
    refused = {errno.EPERM, errno.ENOENT, errno.EINVAL}
    with pytest.raises(OSError, match="none") as caught:
        mount_file_system("none", str(tmp_path / "none"), "tmpfs", MOUNT_NOSUID)
    assert caught.value.errno in refused
    with pytest.raises(OSError, match=str(tmp_path)) as caught:
        unmount_file_system(str(tmp_path))
    assert caught.value.errno in refused


def test_space_is_reserved_beyond_the_end_of_a_file(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(b"x")
        file.flush()
        reserve_space(file.fileno(), 1, 1 << 20)
        status = os.fstat(file.fileno())
        assert (status.st_size, status.st_blocks * 512 >= 1 << 20) == (1, True)


def test_space_cannot_be_reserved_in_a_file_that_is_only_readable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (tmp_path / "file").open("rb") as file, pytest.raises(OSError, match="Bad file"):
        reserve_space(file.fileno(), 0, 4096)
