"""What commands leave in the ledger: a line before they change anything, and one after it."""

import errno
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dsgmigd.cli.acts import recorded
from dsgmigd.errors import SpoolFailing, TargetMissing
from dsgmigd.host import durable
from dsgmigd.maintenance.ledger_check import check_ledger
from dsgmigd.names import RepoName
from dsgmigd.spool.spool import Spool
from tests.result_schema import line_faults
from tests.unit.cli.commands import run
from tests.unit.failing import failing
from tests.unit.fake_zfs import FakeZfs
from tests.unit.spool.claims import lines_of
from tests.unit.spool.crashes import is_killed_after

SV = RepoName("SV")


@pytest.fixture
def spool(config: Path) -> Spool:
    """The spool of the configuration, as a command sees it."""
    spool = Spool(str(config.parent / "spool"))
    spool.prepare()
    return spool


def told(spool: Spool, *keys: str) -> list[tuple[Any, ...]]:
    assert check_ledger(spool).is_intact
    return [tuple(line.get(key) for key in keys) for line in lines_of(spool)]


def test_an_act_has_a_line_before_it_and_one_after_it(spool: Spool) -> None:
    with recorded(spool, "purge", SV, what="zsd/old") as act:
        assert told(spool, "act", "outcome", "what") == [("purge", "begun", "zsd/old")]
        act.outcome, act.what = "unchanged", "nothing"
    assert told(spool, "outcome", "what", "begun", "instance") == [
        ("begun", "zsd/old", None, 0),
        ("unchanged", "nothing", 1, 0),
    ]
    assert lines_of(spool)[1]["user"]["uid"] == os.getuid()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TargetMissing("gone", hint="look"), "target_missing"),
        (KeyError("a bug"), "internal"),
        (KeyboardInterrupt(), "internal"),
    ],
)
def test_an_act_that_fails_says_so(spool: Spool, error: BaseException, code: str) -> None:
    with pytest.raises(type(error)), recorded(spool, "rollback", SV):
        raise error
    assert told(spool, "outcome", "error") == [("begun", None), ("failed", code)]


def test_nothing_is_done_without_a_line(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "reserve_space", failing(errno.ENOSPC))
    with pytest.raises(SpoolFailing, match="pause was not begun"), recorded(spool, "pause", SV):
        pytest.fail("it has begun")
    assert lines_of(spool) == []


def test_an_act_whose_end_cannot_be_written_says_that_it_was_done(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpoolFailing, match="purge ended as done, but"), recorded(spool, "purge"):
        monkeypatch.setattr(os, "write", failing(errno.ENOSPC))
    monkeypatch.undo()
    assert told(spool, "outcome") == [("begun",)]
    assert check_ledger(spool).unended == [1]


def is_paused(spool: Spool) -> bool:
    return bool(spool.control.pauses().repositories)


def test_a_pause_that_is_cut_off_anywhere_has_a_line_if_it_was_made(
    config: Path, spool: Spool
) -> None:
    """And a line that says `done` only if it was."""
    seen = set()
    for count in range(100):
        before = len(lines_of(spool))
        is_killed = is_killed_after(count, partial(run, config, "pause", "SV"))
        new = [outcome for (outcome,) in told(spool, "outcome")[before:]]
        assert new or not is_paused(spool)
        assert "done" not in new or is_paused(spool)
        seen.add((*new, is_paused(spool)))
        spool.control.resume(SV)
        if not is_killed:
            break
    assert not is_killed
    assert seen == {(False,), ("begun", False), ("begun", True), ("begun", "done", True)}


def test_the_commands_that_control_the_queue_are_recorded(config: Path, spool: Spool) -> None:
    run(config, "pause", "--instance", "2")
    run(config, "resume", "--all")
    run(config, "submit", "SV")
    run(config, "cancel", "SV")
    run(config, "retry", "SV")
    run(config, "retry", "SV")
    result = spool.results.newest(SV)
    assert result is not None
    ended = [row for row in told(spool, "act", "outcome", "what") if row[1] != "begun"]
    assert ended == [
        ("pause", "done", "instance 2"),
        ("resume", "unchanged", "all instances"),
        ("request", "cancelled", None),
        ("cancel", "done", None),
        ("retry", "submitted", None),
        ("retry", "unchanged", None),
    ]
    (cancel,) = [line for line in lines_of(spool) if line["act"] == "cancel" and "begun" in line]
    assert cancel["request_id"] == result["request_id"]


def test_what_only_shows_something_is_no_act(config: Path, spool: Spool, pool: FakeZfs) -> None:
    for arguments in (
        ("status",),
        ("plan", "SV"),
        ("purge", "SV"),
        ("doctor",),
        ("config", "show"),
    ):
        run(config, *arguments)
    run(config, "ledger", "check")
    run(config, "ledger", "show")
    assert pool.datasets
    assert lines_of(spool) == []


def test_a_repair_is_recorded_and_a_dry_run_is_not(
    config: Path, spool: Spool, published: Path
) -> None:
    run(config, "repair-metadata", "SV", "--dry-run")
    assert lines_of(spool) == []
    (published / ".dsg/last-sync.json").write_bytes(b"damaged")
    run(config, "repair-metadata", "SV")
    run(config, "repair-metadata", "SV")
    rows = told(spool, "act", "repo", "outcome")
    assert rows == [
        ("repair-metadata", "SV", outcome) for outcome in ("begun", "done", "begun", "unchanged")
    ]
    assert "1 paths as in s3; the old ones are in " in lines_of(spool)[1]["what"]


def test_doctor_is_recorded_if_it_removes(config: Path, spool: Spool, pool: FakeZfs) -> None:
    left = Path(spool.layout.work_file(SV, "claim", 1))
    left.touch()
    run(config, "doctor", "--fix")
    assert not left.exists()
    assert pool.datasets
    ((_, begun), (what, done)) = told(spool, "what", "outcome")
    assert (begun, done) == ("begun", "done")
    assert what == f"removed 1, not removed 0: {left}"


def test_lines_are_as_the_schema_says(config: Path, spool: Spool) -> None:
    """No key is missing there: here, it lets no other key come."""
    run(config, "submit", "SV")
    run(config, "cancel", "SV")
    run(config, "rollback", "SV")
    with Path(spool.layout.ledger).open("ab") as file:
        file.write(b"torn\n")
    run(config, "pause", "SV")
    whole = [line for line in spool.ledger.read() if line != b"torn\n"]
    assert len(whole) == 6
    for line in whole:
        assert line_faults(json.loads(line)) == []
    assert line_faults({**json.loads(whole[0]), "colour": 1}) != []
    assert line_faults({**json.loads(whole[0]), "act": "perhaps"}) != []
