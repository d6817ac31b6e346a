"""The config at the root of a snapshot is read; what is not a config is a warning."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dsgmigd.dsg.read_scope import read_scope
from dsgmigd.dsg.scope import EVERYTHING


def test_a_missing_config_is_not_a_warning(tmp_path: Path) -> None:
    assert read_scope(str(tmp_path)) == EVERYTHING


def test_a_config_is_read(tmp_path: Path) -> None:
    (tmp_path / ".dsgconfig.yml").write_text("data_dirs: [b, a]")
    assert str(read_scope(str(tmp_path))) == ".dsgconfig.yml: a, b"


def long(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**26)


def test_a_config_of_64_kib_is_read_and_no_longer_one(tmp_path: Path) -> None:
    content = "data_dirs: [a]\n#"
    path = tmp_path / ".dsgconfig.yml"
    path.write_text(content.ljust(64 * 1024, "x"))
    assert read_scope(str(tmp_path)).warning is None
    path.write_text(content.ljust(64 * 1024 + 1, "x"))
    assert "larger than 65536 bytes" in str(read_scope(str(tmp_path)).warning)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, long, lambda path: path.symlink_to("x")])
def test_a_config_that_is_not_a_regular_file_is_a_warning(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    (tmp_path / "x").write_text("data_dirs: [a]")
    make(tmp_path / ".dsgconfig.yml")
    scope = read_scope(str(tmp_path))
    assert scope.directories is None
    assert scope.warning
