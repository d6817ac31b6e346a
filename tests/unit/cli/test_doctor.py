"""What `dsgmigd doctor` prints for people and for scripts."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from dsgmigd.cli import main
from dsgmigd.cli.doctor import to_json, to_text
from dsgmigd.maintenance.doctor.leftover import Findings, Leftover
from tests.unit.maintenance.doctor.world import (
    ID,
    REMOVE,
    VIEW,
    World,
    interrupt,
    make_world,
)


@pytest.fixture
def interrupted(tmp_path: Path) -> World:
    return interrupt(make_world(tmp_path))


def test_the_table_says_what_why_and_how_and_ends_with_advice(interrupted: World) -> None:
    text = to_text(interrupted.examine())
    header, *rows, advice = text.splitlines()
    assert header.split() == ["LEFT", "REPO", "REQUEST", "WHERE", "WHY", "FIX"]
    assert len(rows) == 3
    assert all("SV" in row and ID in row for row in rows)
    assert "--fix --discard-staging removes it" in text
    assert advice.startswith("leftovers: 3; `dsgmigd doctor --fix` removes 2; `dsgmigd migrate")
    fixed = to_text(interrupted.examine(REMOVE))
    assert fixed.count("  removed\n") == 2
    assert "removes 2" not in fixed
    assert to_text(Findings((), ())) == "nothing found"
    unchecked = to_text(Findings((), ("the pool zsd is SUSPENDED",)))
    assert unchecked.splitlines() == [
        "could not check: the pool zsd is SUSPENDED",
        "nothing found; some locations could not be checked",
    ]


def test_a_name_is_escaped_for_the_terminal() -> None:
    name = os.fsdecode(b"a\x1b[31m\nb\xff\xc3\xa9")
    shown = to_text(Findings((Leftover("foreign", name, "why", "look"),), (name,)))
    assert shown.count("a\\x1b[31m\\nb\\udcffé") == 2
    assert "\x1b" not in shown
    shown.encode()


def test_scripts_get_one_object(interrupted: World) -> None:
    document = json.loads(json.dumps(to_json(interrupted.examine(REMOVE))))
    assert document["is_clean"] is False
    assert document["problems"] == []
    assert [(one["kind"], one["is_removed"]) for one in document["leftovers"]] == [
        ("pins", True),
        ("view", True),
        ("staging", False),
    ]
    assert document["leftovers"][1]["where"] == VIEW


def test_discarding_work_without_a_fix_is_wrong_usage() -> None:
    done = CliRunner().invoke(main, ["doctor", "--discard-staging"])
    assert done.exit_code == 2
    assert "--fix" in done.output


def test_without_a_spool_nothing_can_be_checked(tmp_path: Path) -> None:
    config = tmp_path / "dsgmigd.toml"
    config.write_text(f'[spool]\ndirectory = "{tmp_path}/absent"\n')
    done = CliRunner().invoke(main, ["--config", str(config), "doctor"])
    assert done.exit_code == 78
    assert "does not exist" in done.output
