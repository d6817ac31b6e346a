"""The man pages say what the code does: every command, option, key, error and exit status."""

import os
import re
import shutil
import subprocess
from dataclasses import asdict, fields
from pathlib import Path

import click
import pytest

from dsgmigd.cli import main, output
from dsgmigd.config import Config
from dsgmigd.errors import Explained
from dsgmigd.request import LOSSES, VERIFY_LEVELS, Request
from tests.result_schema import RESULT

PAGES = Path(__file__).parents[2] / "packaging" / "man"
PAGE = PAGES / "dsgmigd.8"
CONFIGURATION = PAGES / "dsgmigd.toml.5"
REQUEST = PAGES / "dsgmigd-request.5"


def section(page: Path, heading: str) -> str:
    """Return the source of one section, continued lines joined."""
    text = page.read_text().replace("\\\n", "")
    found = re.search(rf"^\.Sh {heading}\n(.*?)(?=^\.Sh |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"{page.name} has no section {heading}"
    return found[1]


def items(text: str, macro: str) -> list[str]:
    """Return what follows `.It MACRO` in each such line."""
    return re.findall(rf"^\.It {macro} (.*)$", text, re.MULTILINE)


def commands(command: click.Command, name: str = "") -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {name: command}
    context = click.Context(command)
    found: dict[str, click.Command] = {}
    for word in command.list_commands(context):
        inner = command.get_command(context, word)
        assert inner, word
        found |= commands(inner, f"{name} {word}".strip())
    return found


def errors(root: type[Explained] = Explained) -> dict[str, str]:
    """Return the class of every error code."""
    found: dict[str, str] = {root.code: root.error_class}
    for inner in root.__subclasses__():
        found |= errors(inner)
    return found


@pytest.mark.parametrize("page", sorted(PAGES.iterdir()), ids=lambda page: page.name)
def test_mandoc_reports_no_warnings(page: Path) -> None:
    if not shutil.which("mandoc"):
        if os.environ.get("CI"):
            pytest.fail("mandoc is missing")
        pytest.skip("mandoc is missing")
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", page],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", sorted(commands(main)))
def test_the_page_has_every_command_with_its_options(name: str) -> None:
    shown = {
        re.split(r" (?:O[op]|Fl|Ar) ", line)[0]: line
        for line in items(section(PAGE, "COMMANDS"), "Cm")
    }
    assert name in shown, f"write an item for it in {PAGE.name}:\n.It Cm {name}"
    options = [one.opts[0] for one in commands(main)[name].params if isinstance(one, click.Option)]
    in_page = [f"-{option}" for option in re.findall(r"Fl (-[a-z-]+)", shown[name])]
    assert sorted(in_page) == sorted(options), f"in the item {shown[name]}"


def test_the_page_has_no_command_that_was_removed() -> None:
    shown = items(section(PAGE, "COMMANDS"), "Cm")
    assert len(shown) == len(commands(main)), "an item is there twice, or has no command"


def test_the_page_has_the_options_of_the_program() -> None:
    text = section(PAGE, "DESCRIPTION")
    options = [one.opts[0] for one in main.params]
    assert [f"-{name}" for name in re.findall(r"^\.It Fl (-[a-z]+)", text, re.MULTILINE)] == options


def test_the_page_has_every_error_code_with_its_class() -> None:
    shown = items(section(PAGE, "ERROR CODES"), "Er")
    expected = [f"{code} Pq {kind}" for code, kind in sorted(errors().items())]
    missing = [f".It Er {item}" for item in expected if item not in shown]
    assert missing == [], f"write items in {PAGE.name}, with the meaning and what to do"
    assert shown == expected, "they are sorted, and each code exists"


def test_the_page_has_every_exit_status() -> None:
    shown = re.findall(r"^\.It ([0-9]+)$", section(PAGE, "EXIT STATUS"), re.MULTILINE)
    defined = [value for name, value in vars(output).items() if name.startswith("EXIT_")]
    assert list(map(int, shown)) == sorted(defined)


def test_the_page_has_every_unit_that_is_installed() -> None:
    units = Path(__file__).parents[2] / "systemd"
    names = {
        path.name.replace("@.", "@N.")
        for path in units.iterdir()
        if path.suffix in {".service", ".slice", ".target"}
    }
    assert set(items(section(PAGE, "UNITS"), "Pa")) == names


def test_every_key_of_the_configuration_is_listed_with_its_default() -> None:
    shown = []
    current = ""
    for line in section(CONFIGURATION, "DESCRIPTION").splitlines():
        if line.startswith((".Ss ", ".It Ic ")):
            current = line if line.startswith(".Ss") else current
            shown.append((current, line))
    expected = []
    for name, value in asdict(Config()).items():
        heading, _, key = name.partition("_")
        default = f"Qq {value}".rstrip() if isinstance(value, str) else value or "[]"
        expected += [(f".Ss [{heading}]", line) for line in (f".It Ic {key} No = {default}",)]
    assert [pair for pair in expected if pair not in shown] == [], "write these items"
    assert [pair for pair in shown if pair[1].startswith(".It")] == expected


def test_every_key_of_a_request_is_described() -> None:
    text = section(REQUEST, "KEYS OF A REQUEST")
    assert items(text, "Ic") == [one.name for one in fields(Request)]
    assert items(text, "Qq") == [*VERIFY_LEVELS, *LOSSES]


def test_every_key_of_a_result_is_described() -> None:
    text = section(REQUEST, "KEYS OF A RESULT")
    shown = [name for line in items(text, "Ic") for name in line.split(" , ")]
    assert sorted(shown) == sorted(RESULT["properties"])
    assert items(text, "Qq") == RESULT["properties"]["outcome"]["enum"]
