"""What a mount would hide or follow."""

import os
from pathlib import Path

import pytest

from dsgmigd.target.mountpoint import find_obstacle


def test_nothing_and_an_empty_directory_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "SV").mkdir()
    assert find_obstacle(str(tmp_path / "SV")) is None
    assert find_obstacle(str(tmp_path / "none")) is None


def test_what_is_in_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "k").touch()
    assert find_obstacle(str(tmp_path)) == f"{tmp_path} has 'k' in it"
    for number in range(6):
        (tmp_path / f"\x1b{number}").touch()
    words = find_obstacle(str(tmp_path))
    assert words is not None
    assert words.endswith(r"'\x1b4' and 2 more in it")


@pytest.mark.parametrize("is_broken", [True, False])
def test_a_symbolic_link_is_not_followed(tmp_path: Path, is_broken: bool) -> None:  # noqa: FBT001
    (tmp_path / "SV").symlink_to(tmp_path / "none" if is_broken else tmp_path)
    assert "is a symbolic link to" in str(find_obstacle(str(tmp_path / "SV")))


def test_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "SV").touch()
    assert find_obstacle(str(tmp_path / "SV")) == f"{tmp_path}/SV is not a directory"


def test_another_file_system_is_named_although_it_is_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "listdir", lambda _: [])
    assert find_obstacle("/proc") == "another file system is mounted at /proc"
