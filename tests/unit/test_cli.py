"""The command line as a whole: usage and help."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dsgmigd.cli import main
from tests.unit.cli.commands import run


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("submit",), 2, "name repositories"),
        (("submit", "SV", "--all"), 2, "name repositories"),
        (("submit", "../SV"), 2, "is not a repository name"),
        (("submit", "--", "-SV"), 2, "is not a repository name"),
        (("submit", "SV@1"), 2, "is not a repository name"),
        (("submit", "SV", "--limit", "0"), 2, "0"),
        (("nonsense",), 2, "No such command"),
        (("cancel", "../SV"), 2, "is not a repository name"),
        (("retry", "a/b"), 2, "is not a repository name"),
        (("pause", "."), 2, "is not a repository name"),
        (("pause",), 2, "name a repository"),
        (("pause", "SV", "--all"), 2, "name a repository"),
        (("resume", "--all", "--instance", "1"), 2, "name a repository"),
        (("pause", "--instance", "0"), 2, "0"),
        (("verify", "a/b@s1"), 2, "is not a repository name"),
        (("verify", "SV@"), 2, "is not a snapshot name"),
        (("verify", "SV@s01", "--without-source"), 2, "is not a snapshot name"),
        (("verify", "SV@s1@s2"), 2, "is not a snapshot name"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_says_why(
    config: Path, arguments: tuple[str, ...], status: int, words: str
) -> None:
    result = run(config, *arguments)

    assert result.exit_code == status
    assert words in result.output
    assert not list((config.parent / "spool").glob("*.request"))


@pytest.mark.parametrize("command", main.list_commands(click.Context(main)))
def test_every_command_has_help_with_an_example(config: Path, command: str) -> None:
    group = main.get_command(click.Context(main), command)
    assert group
    names = list(group.commands) if isinstance(group, click.Group) else [None]
    for name in names:
        output = run(config, command, *([name] if name else []), "--help").output
        assert "Example" in output


def test_the_help_lists_every_command_with_its_whole_summary_in_sections() -> None:
    told = CliRunner().invoke(main, ["--help"], terminal_width=100).output
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command
        summary = (command.help or "").partition("\n")[0]
        assert f"{name} " in told
        assert summary in told, f"the summary of {name} is not {summary!r}"
    sections = [line for line in told.splitlines() if re.fullmatch(r"[A-Z][a-z]+:", line)]
    assert sections == [
        "Options:",
        "Queue:",
        "Datasets:",
        "Custody:",
        "History:",
        "Maintenance:",
        "Service:",
    ]
