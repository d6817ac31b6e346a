"""config check and config show."""

import errno
import os
from pathlib import Path

import pytest

from dsgmigd.spool import location
from dsgmigd.target import area, zfs_fuse
from tests.unit.cli.commands import run
from tests.unit.failing import failing

CHECK = ("config", "check")


def test_a_missing_spool_is_a_matter_of_configuration(config: Path) -> None:
    (config.parent / "spool").rmdir()

    for arguments in (("status",), ("submit", "SV"), ("run", "--instance", "1"), CHECK):
        result = run(config, *arguments)
        assert result.exit_code == 78
        assert "does not exist" in result.output


def test_an_unsafe_spool_is_a_matter_of_configuration(config: Path) -> None:
    (config.parent / "spool").chmod(0o777)

    for arguments in (("run", "--instance", "1"), ("pause", "SV"), CHECK):
        result = run(config, *arguments)
        assert result.exit_code == 78
        assert f"chmod +t {config.parent}/spool" in result.output
    assert list((config.parent / "spool").iterdir()) == []


def test_config_show_prints_what_config_check_accepts(config: Path) -> None:
    config.write_text(run(config, "config", "show").output)

    assert run(config, *CHECK).exit_code == 0


def test_config_check_refuses_what_run_refuses_and_makes_nothing(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = config.parent / "spool"
    assert run(config, *CHECK).exit_code == 0
    assert list(spool.iterdir()) == []

    monkeypatch.setattr(location, "rename_noreplace", failing(errno.EINVAL))
    for arguments in (("run", "--instance", "1"), CHECK):
        result = run(config, *arguments)
        assert (result.exit_code, "cannot rename without" in result.output) == (78, True)


def test_a_private_directory_that_is_none_is_refused_by_both(config: Path) -> None:
    (config.parent / "spool/.dsgmigd").mkdir()
    (config.parent / "spool/.dsgmigd/locks").symlink_to(config.parent)

    for arguments in (("run", "--instance", "1"), CHECK):
        result = run(config, *arguments)
        assert (result.exit_code, "must be a directory of dsgmigd" in result.output) == (78, True)


@pytest.mark.parametrize("command", [("run", "--instance", "1"), ("cancel", "SV"), ("pause", "SV")])
def test_another_user_makes_no_directories_and_is_told_with_status_77(
    config: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1000)

    assert run(config, *command).exit_code == 77
    assert list((config.parent / "spool").iterdir()) == []


def test_a_unit_whose_mounts_nobody_would_see_is_refused_by_both_and_makes_nothing(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zfs_fuse, "_KERNEL_DEVICE", "/dev/null")
    monkeypatch.setattr(area, "is_hidden_from_host", lambda _: True)

    for arguments in (("run", "--instance", "1"), CHECK):
        result = run(config, *arguments)
        assert (result.exit_code, "mounts_hidden" in result.output) == (78, True)
    assert list((config.parent / "spool").iterdir()) == []
