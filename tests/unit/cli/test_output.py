"""Exit statuses, and what commands print."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog

from dsgmigd import errors
from dsgmigd.cli import output
from dsgmigd.cli.output import exit_code, log_beside_progress, table
from tests.unit.cli.commands import run
from tests.unit.failing import failing

COMMANDS = Path(output.__file__).parent


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.SourceMissing, 1),
        (errors.TargetExists, 1),
        (errors.InvalidName, 2),
        (errors.InvalidRequest, 2),
        (errors.VerificationFailed, 4),
        (errors.TargetFull, 75),
        (errors.AlreadyRunning, 75),
        (errors.InvalidConfig, 78),
        (errors.SpoolUnusable, 78),
    ],
)
def test_each_kind_of_error_has_its_exit_status(
    error: type[errors.DsgmigdError], status: int
) -> None:
    assert exit_code(error("what", hint="do")) == status


def test_a_table_has_aligned_columns_without_blanks_at_the_end() -> None:
    assert table(("A", "LONG"), [("xyz", 1), ("", "")]) == "A    LONG\nxyz  1\n"


@pytest.mark.parametrize(
    "command", [("cancel", "SV"), ("pause", "SV"), ("retry", "SV"), ("doctor",)]
)
def test_a_command_for_root_says_so_with_status_77(
    config: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr("dsgmigd.spool.spool.check_place", failing(errno.EACCES))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["dsgmigd", *command])

    result = run(config, *command)

    assert result.exit_code == 77
    assert f"this command must be run as root: sudo dsgmigd {' '.join(command)}" in result.output


def test_only_say_prints() -> None:
    """What a command prints without it would reach the terminal as it is."""
    calls = {path.name: path.read_text().count("click.echo(") for path in COMMANDS.glob("*.py")}
    assert {name for name, count in calls.items() if count} == {"output.py"}


def start(config: Path, command: tuple[str, ...], **streams: Any) -> subprocess.Popen[bytes]:
    program = (sys.executable, "-m", "dsgmigd", "--config", str(config), *command)
    environment = os.environ | {"PYTHONPATH": str(COMMANDS.parents[1])}
    return subprocess.Popen(program, env=environment, **streams)


PRINTING = [("status",), ("config", "show"), ("submit", "SV", "CO"), ("status", "--json")]
PRINTED_BY_CLICK = [("--help",), ("--version",), ("plan", "--help")]


@pytest.mark.parametrize("command", PRINTING + PRINTED_BY_CLICK)
def test_a_pipe_that_nobody_reads_ends_a_command_quietly(
    config: Path, command: tuple[str, ...]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start(config, command, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (process.communicate(timeout=60)[1], process.returncode) == (b"", 141)
    if command[0] == "submit":
        assert {path.name for path in (config.parent / "spool").glob("*.request")} == {
            "SV.request",
            "CO.request",
        }


@pytest.mark.parametrize("command", PRINTING + PRINTED_BY_CLICK)
def test_a_full_output_is_told_in_one_line(config: Path, command: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        process = start(config, command, stdout=full, stderr=subprocess.PIPE)
        told = process.communicate(timeout=60)[1].decode()
    assert told == "dsgmigd: the output cannot be written: No space left on device\n"
    assert process.returncode == 1


@pytest.mark.parametrize("command", [("log", "bad name"), ("log",), ("no-command",)])
def test_an_error_output_that_is_full_changes_no_exit_status(
    config: Path, command: tuple[str, ...]
) -> None:
    with open("/dev/full", "wb") as full:
        process = start(config, command, stderr=full)
        assert process.wait(timeout=60) == 2


class Terminal(io.StringIO):
    """A stderr that a person looks at."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_progress_line_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    log_beside_progress()
    structlog.get_logger().error("snapshot.made")

    assert terminal.getvalue() == ""
    structlog.reset_defaults()
