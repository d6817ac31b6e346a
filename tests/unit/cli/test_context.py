"""What every command begins with: the configuration, the spool, a repository's lock."""

from pathlib import Path

import pytest

from dsgmigd.cli import context as context_module
from dsgmigd.cli.context import Context, locked
from dsgmigd.errors import AlreadyRunning, InvalidConfig
from dsgmigd.names import RepoName
from tests.unit.cli.commands import run

SV = RepoName("SV")
COMMANDS = (("log", "SV"), ("rollback", "SV"), ("status",), ("run", "--instance", "1"))


def test_the_configuration_is_read_when_it_is_first_needed_and_once(config: Path) -> None:
    absent = Context(str(config.parent / "absent"))
    with pytest.raises(InvalidConfig, match="absent"):
        _ = absent.config
    context = Context(str(config))
    first = context.config
    config.write_text("nonsense")

    assert context.config is first


def test_the_spool_is_that_of_the_configuration(config: Path) -> None:
    spool = Context(str(config)).spool(7)
    assert (spool.directory, spool.instance) == (str(config.parent / "spool"), 7)


def test_the_programs_of_a_command_inherit_the_lock_which_ends_with_it(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_module, "_PATIENCE_SECONDS", 0)
    context = Context(str(config))
    with locked(context, SV) as commands:
        assert context.spool().lock_repository(SV) is None
        open_files = commands.output("sh", "-c", "ls -l /proc/self/fd")
        assert str(config.parent / "spool/.dsgmigd/locks/SV") in open_files
        with pytest.raises(AlreadyRunning, match="another process is working on SV"):
            locked(context, SV).__enter__()

    lock = context.spool().lock_repository(SV)
    assert lock is not None
    lock.release()


def test_an_error_releases_the_lock(config: Path) -> None:
    context = Context(str(config))
    with pytest.raises(KeyError), locked(context, SV):
        raise KeyError

    lock = context.spool().lock_repository(SV)
    assert lock is not None
    lock.release()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_configuration_that_cannot_be_read_ends_a_command_with_status_78(
    config: Path, command: tuple[str, ...]
) -> None:
    config.unlink()

    result = run(config, *command)

    assert result.exit_code == 78
    assert f"invalid_config: cannot read {config}: " in result.output


def test_an_invalid_configuration_ends_every_command_with_status_78(config: Path) -> None:
    config.write_text("[spool]\ndirectroy = '/x'\n")

    for arguments in (("config", "check"), ("status",), ("plan", "SV")):
        result = run(config, *arguments)
        assert result.exit_code == 78
        assert "did you mean 'directory'" in result.output


@pytest.mark.parametrize(
    "command", [("log",), ("blame", "SV"), ("rollback",), ("purge",), ("repair-metadata",)]
)
def test_a_command_without_its_arguments_ends_with_status_2(
    config: Path, command: tuple[str, ...]
) -> None:
    result = run(config, *command)

    assert result.exit_code == 2
    assert "Missing argument" in result.output


@pytest.mark.parametrize(
    "command",
    [("log",), ("blame", "a"), ("rollback",), ("purge",), ("repair-metadata",)],
)
def test_a_command_for_a_locked_repository_ends_with_status_75(
    config: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(context_module, "_PATIENCE_SECONDS", 0)
    with locked(Context(str(config)), SV):
        result = run(config, command[0], "SV", *command[1:])

    assert result.exit_code == 75
    assert "already_running: another process is working on SV" in result.output


@pytest.mark.parametrize(
    "command",
    [("log",), ("blame", "a"), ("rollback",), ("purge",), ("repair-metadata",)],
)
def test_an_impossible_name_ends_a_command_with_status_2(
    config: Path, command: tuple[str, ...]
) -> None:
    result = run(config, command[0], "../SV", *command[1:])

    assert result.exit_code == 2
    assert "is not a repository name" in result.output
    assert not (config.parent / "spool/.dsgmigd").exists()
