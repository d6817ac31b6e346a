"""The source root and what lies in it."""

import errno
import os
from pathlib import Path

import pytest

from dsgmigd.errors import (
    DsgmigdError,
    HostExhausted,
    SourceMissing,
    SourceUnavailable,
    SourceUnreadable,
    SourceUnsafe,
)
from dsgmigd.names import parse_repo_name
from dsgmigd.source import root as root_module
from dsgmigd.source.pin_names import PINS_DIRECTORY
from dsgmigd.source.root import check_present, check_root, list_repositories
from tests.unit.failing import failing
from tests.unit.source.repositories import make_snapshots

SV = parse_repo_name("SV")


def test_a_missing_source_root_is_away_and_not_a_missing_repository(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=r"the source root .* cannot be used"):
        check_root(str(tmp_path / "absent"))
    with pytest.raises(SourceUnavailable, match=r"the source root .* cannot be used"):
        list_repositories(str(tmp_path / "absent"))


def test_a_source_root_that_is_a_file_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(SourceMissing, match="is not a directory"):
        check_root(str(tmp_path / "root"))


def test_an_empty_source_root_is_away(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=f"the source root {tmp_path} is empty") as caught:
        check_present(str(tmp_path), SV)
    assert "mount the source" in caught.value.hint
    assert caught.value.error_class == "transient"


@pytest.mark.parametrize("place", ["", "/the root", "/the root/SV", "/the root/SV-norm"])
def test_a_mount_point_on_the_way_that_is_not_mounted_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    fstab, point = tmp_path / "fstab", f"{tmp_path}{place}"
    monkeypatch.setattr(root_module, "_FSTAB", str(fstab))
    make_snapshots(tmp_path / "the root/SV", "s1")
    fstab.write_text(f"# a comment\n\nUUID=1 {point} btrfs noauto,ro 0 0\nnone none swap sw 0 0\n")
    check_present(f"{tmp_path}/the root", SV)

    fstab.write_text(f"UUID=1 {point.replace(' ', chr(92) + '040')} btrfs nofail,ro 0 0\n")
    with pytest.raises(SourceUnavailable, match="but not mounted"):
        check_present(f"{tmp_path}/the root", SV)
    monkeypatch.setattr(os.path, "ismount", lambda path: path == point)
    check_present(f"{tmp_path}/the root", SV)


def test_a_mount_point_elsewhere_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_module, "_FSTAB", str(tmp_path / "fstab"))
    make_snapshots(tmp_path / "root/SV", "s1")
    (tmp_path / "fstab").write_text(f"UUID=1 {tmp_path}/root/SV2 btrfs defaults 0 0\n")
    check_present(f"{tmp_path}/root", SV)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EACCES, SourceUnreadable),
        (errno.ENOMEM, HostExhausted),
        (errno.EIO, SourceUnavailable),
        (errno.ENOTCONN, SourceUnavailable),
    ],
)
def test_a_source_root_that_cannot_be_read_is_not_missing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    expected: type[DsgmigdError],
) -> None:
    monkeypatch.setattr(os, "stat", failing(number))
    with pytest.raises(expected, match="the source root"):
        check_root(str(tmp_path))


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_source_root_to_which_others_may_add_names_is_unsafe(tmp_path: Path, mode: int) -> None:
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(mode)
    with pytest.raises(SourceUnsafe, match=r"unsafe source root: .*root is group-") as e:
        check_root(str(root))
    assert e.value.hint == f"remove the write bits: chmod go-w {root}"
    with pytest.raises(SourceUnsafe):
        list_repositories(str(root))


def test_the_way_to_the_source_root_must_be_safe_too_and_may_have_links(tmp_path: Path) -> None:
    (tmp_path / "above/root").mkdir(parents=True)
    (tmp_path / "link").symlink_to("above/root")
    for mode in (0o755, 0o1777):
        (tmp_path / "above").chmod(mode)
        check_root(str(tmp_path / "link"))
    (tmp_path / "above").chmod(0o777)
    with pytest.raises(SourceUnsafe, match=f"{tmp_path}/above is group- or world"):
        check_root(str(tmp_path / "link"))


def test_a_source_root_of_another_user_is_unsafe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if os.stat(tmp_path).st_uid == 0:
        os.chown(tmp_path, 4712, -1)
    with pytest.raises(SourceUnsafe, match="who can replace what is in it"):
        check_root(str(tmp_path))


def test_repositories_are_listed_once_each_by_their_own_name(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    make_snapshots(tmp_path / "SV-norm", "s1")
    make_snapshots(tmp_path / "CO-norm", "s1")
    make_snapshots(tmp_path / "empty", "HEAD")
    make_snapshots(tmp_path / PINS_DIRECTORY, "s1")
    (tmp_path / "link").symlink_to("SV")
    (tmp_path / "README").touch()
    assert list_repositories(str(tmp_path)).names == ["CO", "SV"]


def test_what_is_no_repository_is_left_out_with_its_reason(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    make_snapshots(tmp_path / "My Data", "s1")
    make_snapshots(tmp_path / "begun", "S1")
    make_snapshots(tmp_path / "CO", "s1")
    (tmp_path / "CO-norm").symlink_to("CO")
    (tmp_path / "link").symlink_to("SV")
    listing = list_repositories(str(tmp_path))
    assert listing.names == ["SV"]
    assert listing.left_out == {
        "My Data": "'My Data' is not a repository name",
        "begun": f"{tmp_path}/begun has no s1",
        "CO": f"{tmp_path}/CO-norm is a symbolic link, not a directory",
        "link": f"{tmp_path}/link is a symbolic link, not a directory",
    }
