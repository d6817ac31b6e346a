"""ledger check and ledger show."""

import json
import os
from pathlib import Path

import pytest
from click.testing import Result

from dsgmigd.cli.output import EXIT_MISMATCH
from dsgmigd.spool.ledger_line import Entry
from dsgmigd.spool.spool import Spool
from tests.unit.cli.commands import run


@pytest.fixture
def spool(config: Path) -> Spool:
    """A spool with a few acts, one of them cancelled by a command."""
    for arguments in (("submit", "SV"), ("cancel", "SV"), ("pause", "CO")):
        assert run(config, *arguments).exit_code == 0
    return Spool(str(config.parent / "spool"))


def check(config: Path, *arguments: str) -> Result:
    return run(config, "ledger", "check", *arguments)


def head_of(config: Path) -> str:
    done = check(config)
    assert done.exit_code == 0
    return done.output.split()[-1]


@pytest.mark.usefixtures("spool")
def test_an_intact_ledger_prints_its_head(config: Path) -> None:
    lines = check(config).output.splitlines()
    assert lines[0] == "results as they were written: 1; pruned: 0"
    assert lines[1].startswith("head: 5 ")
    document = json.loads(check(config, "--json").output)
    assert document["is_intact"] is True
    assert document["head"]["line"] == 5
    assert lines[1].endswith(document["head"]["sha256"])


def test_a_head_is_found_as_long_as_it_is_there(config: Path, spool: Spool) -> None:
    head = head_of(config)
    run(config, "resume", "CO")
    assert f"the line {head} is in the chain" in check(config, "--head", head).output
    content = Path(spool.layout.ledger).read_bytes().splitlines(keepends=True)
    Path(spool.layout.ledger).write_bytes(b"".join(content[:4]))
    assert check(config).exit_code == 0
    done = check(config, "--head", head)
    assert (done.exit_code, "is not in the chain" in done.output) == (EXIT_MISMATCH, True)


def test_what_does_not_fit_is_named_with_status_4(config: Path, spool: Spool) -> None:
    path = Path(spool.layout.ledger)
    path.write_bytes(path.read_bytes().replace(b'"cancelled"', b'"done"', 1))
    done = check(config)
    assert done.exit_code == EXIT_MISMATCH
    assert done.output.startswith("line 2: edited: line 2 is not what it was when line 3 was")
    (kept,) = Path(spool.layout.results).glob("*.json")
    kept.unlink()
    path.write_bytes(path.read_bytes().replace(b'"done"', b'"cancelled"', 1))
    done = check(config, "--json")
    assert done.exit_code == EXIT_MISMATCH
    assert json.loads(done.output)["problems"] == [
        {"result": kept.name, "line": 2, "why": "it is gone"}
    ]


def test_what_people_should_know_is_said(config: Path, spool: Spool) -> None:
    spool.ledger.append(Entry("purge", "begun", 0))
    with Path(spool.layout.ledger).open("ab") as file:
        file.write(b"torn")
    spool.ledger.append(Entry("request", "done", 1, request_id="x"))
    spool.ledger.append(Entry("request", "done", 1, request_id="x"))
    done = check(config)
    assert done.exit_code == 0
    assert "begun, and not ended or still at work: line 6\n" in done.output
    assert "recovered after a crash: 1\n" in done.output
    assert "recorded again after a crash: line 9\n" in done.output


@pytest.mark.usefixtures("spool")
def test_the_lines_are_shown_for_people_and_for_scripts(config: Path) -> None:
    shown = run(config, "ledger", "show").output.splitlines()
    assert shown[0].split() == ["LINE", "AT", "ACT", "REPO", "OUTCOME", "WHO", "WHAT"]
    assert [line.split()[2:5] for line in shown[1:]] == [
        ["cancel", "SV", "begun"],
        ["request", "SV", "cancelled"],
        ["cancel", "SV", "done"],
        ["pause", "CO", "begun"],
        ["pause", "CO", "done"],
    ]
    lines = json.loads(run(config, "ledger", "show", "--repo", "CO", "--json").output)["lines"]
    assert [line["act"] for line in lines] == ["pause", "pause"]
    assert lines[0]["user"]["uid"] == os.getuid()


def test_without_an_act_there_is_nothing_to_show(config: Path) -> None:
    assert run(config, "ledger", "show").output == "no act is recorded\n"
    assert check(config).output.endswith("head: none\n")


def test_no_name_controls_the_terminal(config: Path, spool: Spool) -> None:
    name = "a\x1b[2Jb"
    user = {"uid": 5, "user": "su\x1bdo", "loginuid": 1000}
    spool.ledger.append(Entry("request", "rejected", 1, user=user, repo=name, what="\x1b"))
    shown = run(config, "ledger", "show").output
    assert "\x1b" not in shown
    assert "a\\x1b[2Jb" in shown
    assert "su\\x1bdo (login 1000)" in shown
