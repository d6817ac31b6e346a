"""The program in a locale that is not UTF-8: a process of its own, as Python decides at its start.

The locale C is on every host. Python would take it for UTF-8, unless it is told not to.
"""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.host.encoding import to_json

ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NAME = "жä\N{SNOWMAN}"
PROGRAM = (sys.executable, "-m", "dsgmigd")


@pytest.fixture
def environment() -> dict[str, str]:
    path = str(Path(__file__).parents[3])
    kept = {name: value for name, value in os.environ.items() if name.startswith("COV")}
    return kept | ASCII_LOCALE | {"PYTHONPATH": path}


def test_a_name_is_utf_8_in_a_locale_that_is_not(environment: dict[str, str]) -> None:
    done = subprocess.run(
        (*PROGRAM, "log", NAME), check=False, env=environment, capture_output=True
    )

    assert done.returncode == 2
    assert f"invalid_name: '{NAME}' is not" in done.stderr.decode()


def test_names_in_the_source_are_utf_8_too(environment: dict[str, str], config: Path) -> None:
    (config.parent / "source" / NAME / "s1").mkdir(parents=True)
    done = subprocess.run(
        (*PROGRAM, "--config", str(config), "submit", "--all"),
        check=False,
        env=environment,
        capture_output=True,
    )

    assert done.returncode == 3
    assert f"{NAME}: not submitted" in done.stderr.decode()


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
def test_an_output_that_cannot_show_a_name_escapes_it(
    environment: dict[str, str], encoding: str
) -> None:
    environment["PYTHONIOENCODING"] = encoding
    done = subprocess.run(
        (*PROGRAM, "log", NAME), check=False, env=environment, capture_output=True
    )

    assert b"Traceback" not in done.stderr
    assert b"\\u0436" in done.stderr


def test_a_terminal_without_the_letters_of_a_name_gets_escapes(environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen((*PROGRAM, "log", NAME), env=environment, stderr=theirs)
        os.close(theirs)
        assert process.wait(timeout=60) == 2
        shown = terminal.read(10_000)

    assert b"invalid_name: '\\u0436\\xe4\\u2603' is not" in shown


def test_where_names_are_utf_8_the_program_starts_once(environment: dict[str, str]) -> None:
    script = "import os, dsgmigd.host.encoding as one; os.execv = print; one.enter_utf8_mode()"
    for utf8_mode, is_started_again in (("1", False), ("0", True)):
        environment["PYTHONUTF8"] = utf8_mode
        told = subprocess.check_output((sys.executable, "-c", script), env=environment)
        assert (b"-X" in told) is is_started_again


def test_json_for_others_is_what_the_json_module_writes() -> None:
    document = {"a": [1, None, "ä \N{PILE OF POO} \\ud800"]}
    for indent in (None, 1):
        assert to_json(document, indent=indent) == json.dumps(document, indent=indent)


@given(st.text(st.characters() | st.sampled_from("\ud800\udcff\\"), max_size=9))
def test_json_for_others_has_no_half_of_a_surrogate_pair(text: str) -> None:
    """orjson refuses those, as jq does."""
    found = orjson.loads(to_json({text: text}))
    shown = re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)
    assert found == {shown: shown}
