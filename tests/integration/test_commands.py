"""The commands, and their exit statuses."""

import json
import os
import signal
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import bed
import pytest

from dsgmigd.names import parse_repo_name
from dsgmigd.spool.spool import Spool
from tests.integration import zfs_kind
from tests.integration.conftest import Bed, write_config
from tests.integration.processes import read_claim, wait_for, wait_started
from tests.integration.trees import (
    assert_migrated,
    filling,
    new_series,
    set_read_only,
    write,
    writing,
)

WORK_MIB = 64


def busy_worker(
    made: Bed, repo: str = "SV", *, mebibytes: int = WORK_MIB
) -> subprocess.Popen[bytes]:
    """Start a worker and return it while it works on `repo`."""
    new_series(made, repo, filling("big", mebibytes))
    worker = made.start_worker(1)
    made.drop(repo)
    wait_for(lambda: read_claim(made, repo, 1).get("attempts"), "an attempt", made=made)
    return worker


def read_status(made: Bed) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(made.dsgmigd("status", "--json").stdout)
    return document


# Exit statuses.


def test_0_done_and_done_already(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"))
    first = fresh_bed.dsgmigd("migrate", "SV", check=False)
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"SV: done in {fresh_bed.parent}/SV" in first.stdout
    second = fresh_bed.dsgmigd("migrate", "SV", check=False)
    assert (second.returncode, "SV: up_to_date" in second.stdout) == (0, True)
    assert_migrated(fresh_bed, "SV", series.directory, 1)


def test_1_failed(fresh_bed: Bed) -> None:
    done = fresh_bed.dsgmigd("migrate", "NOSUCH", check=False)
    assert done.returncode == 1
    new_series(fresh_bed, "SV", lambda tree: write(tree / ".dsg/x"))
    failed = fresh_bed.dsgmigd("migrate", "SV", check=False)
    assert (failed.returncode, "\nSV: failed\ndsg_conflict: s1" in failed.stdout) == (1, True)
    assert "source_missing: there is no repository NOSUCH" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("migrate",),
        ("migrate", "SV", "--limit", "0"),
        ("migrate", "SV", "--verify", "hardly"),
        ("migrate", "a/b"),
        ("plan", ".."),
        ("submit",),
        ("submit", "SV", "--all"),
        ("nosuchverb",),
        ("run", "--instance", "zero"),
    ],
)
def test_2_usage(fresh_bed: Bed, arguments: tuple[str, ...]) -> None:
    done = fresh_bed.dsgmigd(*arguments, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_3_finished_with_warnings(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"), has_push_log=False)
    done = fresh_bed.dsgmigd("migrate", "SV", check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "warning: no push log has a line for s1" in done.stdout
    assert "SV: done" in done.stdout


def test_4_verify_finds_what_was_edited_after_the_migration(fresh_bed: Bed) -> None:
    """One byte, at the same size and the same times."""
    series = new_series(fresh_bed, "SV", writing(a="a", data__file="one byte"), writing(b="b"))
    fresh_bed.dsgmigd("migrate", "SV")
    assert fresh_bed.dsgmigd("verify", "SV", check=False).returncode == 0
    set_read_only(series.snapshot(1), is_read_only=False)
    edited = series.snapshot(1) / "data/file"
    times = edited.stat()
    write(edited, "One byte")
    os.utime(edited, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = fresh_bed.dsgmigd("verify", "SV", check=False)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "target_differs: s1" in done.stdout
    assert "data/file: content" in done.stdout


def test_verify_without_contents_does_not_claim_to_have_read_them(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    fresh_bed.dsgmigd("migrate", "SV")
    done = fresh_bed.dsgmigd("verify", "SV", "--level", "structure", "--json")
    result = json.loads(done.stdout)
    assert result["verified_now"]["level"] == "structure"
    assert result["snapshots"][0]["verification"]["files_read"] == 0
    assert result["snapshots"][0]["verification"]["hashes_unchecked"] == 1


def test_who_comes_right_after_the_result_is_not_told_that_somebody_works(fresh_bed: Bed) -> None:
    """A worker shows the result first, then it lets go of the lock."""
    new_series(fresh_bed, "SV", writing(a="a"))
    fresh_bed.dsgmigd("migrate", "SV")
    lock = Spool(str(fresh_bed.spool)).lock_repository(parse_repo_name("SV"))
    assert lock is not None
    going = threading.Timer(1.5, lock.release)
    going.start()
    done = fresh_bed.dsgmigd("migrate", "SV", check=False)
    going.join()
    assert (done.returncode, "up_to_date" in done.stdout) == (0, True)


def test_75_somebody_works_on_it_already(fresh_bed: Bed) -> None:
    worker = busy_worker(fresh_bed)
    worker.send_signal(signal.SIGSTOP)
    done = fresh_bed.dsgmigd("migrate", "SV", check=False)
    assert done.returncode == 75
    assert "already_running: another process is working on SV: " in done.stdout
    assert f"run --instance 1 (pid {worker.pid}, user root)" in done.stdout
    fresh_bed.drop("SV")
    waiting = fresh_bed.dsgmigd("submit", "SV", check=False)
    assert (waiting.returncode, waiting.stdout) == (75, "SV: already queued\n")
    worker.send_signal(signal.SIGCONT)
    assert fresh_bed.wait_result("SV")["outcome"] == "up_to_date"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[spool]\ndirectori = '/x'", "did you mean 'directory'"),
        ("[spool", "config.toml"),
        ("[sourec]\nroot = '/x'", "did you mean 'source'"),
        ("[source]\nroot = 'relative'", "must be an absolute path"),
        ("[target]\nparent = 'a b@c'", "is not the name of a ZFS file system"),
        ("[target]\nallow_loss = ['everything']", "unknown loss 'everything'"),
        ("[worker]\nmaximum_attempts = 0", "whole number from 1"),
    ],
)
def test_78_configuration(fresh_bed: Bed, text: str, words: str) -> None:
    fresh_bed.config = fresh_bed.config.with_name("config.toml")
    fresh_bed.config.write_text(text, encoding="utf-8")
    for command in (("config", "check"), ("run", "--instance", "1")):
        done = fresh_bed.dsgmigd(*command, check=False)
        assert done.returncode == 78, done.stdout + done.stderr
        assert words in done.stderr


@pytest.mark.parametrize("command", [("run", "--instance", "1"), ("submit", "SV"), ("status",)])
def test_78_no_spool(fresh_bed: Bed, command: tuple[str, ...]) -> None:
    fresh_bed.spool.rmdir()
    done = fresh_bed.dsgmigd(*command, check=False)
    fresh_bed.spool.mkdir()
    assert done.returncode == 78, done.stdout + done.stderr
    assert f"the spool directory {fresh_bed.spool} does not exist" in done.stdout + done.stderr
    assert "install -d" in done.stdout + done.stderr


def test_a_migration_by_hand_needs_no_spool(fresh_bed: Bed) -> None:
    """It makes one for its locks, which nobody but root can use."""
    new_series(fresh_bed, "SV", writing(a="a"))
    fresh_bed.spool.rmdir()
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert stat.S_IMODE(fresh_bed.spool.stat().st_mode) == 0o700


def test_the_shown_configuration_means_the_same(fresh_bed: Bed) -> None:
    shown = fresh_bed.dsgmigd("config", "show").stdout
    fresh_bed.config.write_text(shown, encoding="utf-8")
    assert fresh_bed.dsgmigd("config", "check").returncode == 0
    assert fresh_bed.dsgmigd("config", "show").stdout == shown


# Verbs.


def test_plan_touches_nothing(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"), writing(a="b"))
    before = (fresh_bed.pool_listing(), fresh_bed.listing(), os.listdir(fresh_bed.source_root))
    plan = json.loads(fresh_bed.dsgmigd("plan", "SV", "--json").stdout)
    assert plan["steps"] == ["s1 by send", "s2 by send"]
    assert (plan["base"], plan["wanted"]) == ("create", 2)
    after = (fresh_bed.pool_listing(), fresh_bed.listing(), os.listdir(fresh_bed.source_root))
    assert after == before
    assert "steps: s1 by send" in fresh_bed.dsgmigd("plan", "SV", "--limit", "1").stdout


def test_plan_says_why_a_target_is_refused(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    bed.run("zfs", "create", f"{fresh_bed.parent}/SV")
    done = fresh_bed.dsgmigd("plan", "SV", check=False)
    assert done.returncode == 1
    assert "target_exists" in done.stderr
    replacing = json.loads(fresh_bed.dsgmigd("plan", "SV", "--replace", "--json").stdout)
    assert replacing["replaces_target"] is True


def test_submit_all_submits_every_repository(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "A", writing(a="a"))
    new_series(fresh_bed, "B", writing(a="a"))
    new_series(fresh_bed, "B-norm", writing(a="b"))
    write(fresh_bed.source_root / "notes/readme.txt")
    write(fresh_bed.source_root / "file")
    done = fresh_bed.dsgmigd("submit", "--all", "--note", "nightly", check=False)
    assert (done.returncode, done.stdout) == (3, "A: submitted\nB: submitted\n")
    assert done.stderr == f"notes: not submitted: {fresh_bed.source_root}/notes has no s1\n"
    again = fresh_bed.dsgmigd("submit", "--all", check=False)
    assert again.stdout == "A: already queued\nB: already queued\n"
    assert [name for name in fresh_bed.listing() if not name.startswith(".")] == [
        "A.request",
        "B.request",
    ]
    fresh_bed.start_worker(1)
    for repo in ("A", "B"):
        result = fresh_bed.wait_result(repo)
        assert (result["outcome"], result["request"]) == ("done", {"note": "nightly"})


def test_status_shows_the_queue_and_what_each_instance_does(fresh_bed: Bed) -> None:
    worker = busy_worker(fresh_bed, mebibytes=3 * WORK_MIB)
    wait_for(lambda: told_of_work(fresh_bed), "a status of the work", made=fresh_bed)
    worker.send_signal(signal.SIGSTOP)  # the work waits until everything was looked at
    fresh_bed.start_worker(7)
    wait_started(fresh_bed, 7)
    fresh_bed.drop("SV")
    status = read_status(fresh_bed)
    assert status["claims"] == [{"repo": "SV", "instance": 1}]
    assert status["incoming"] == ["SV"]
    assert [one["instance"] for one in status["instances"]] == [1, 7]
    one, seven = status["instances"]
    assert (one["repo"], one["snapshots_wanted"]) == ("SV", 1)
    assert seven["status"] == "idle"
    assert "INSTANCE" in fresh_bed.dsgmigd("status").stdout
    worker.send_signal(signal.SIGCONT)
    fresh_bed.wait_result("SV")


def told_of_work(made: Bed) -> bool:
    status = made.spool / ".dsgmigd/instances/1.json"
    return bool(json.loads(status.read_text(encoding="utf-8"))["snapshots_wanted"])


def test_status_shows_nobody_when_nobody_runs(fresh_bed: Bed) -> None:
    worker = fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    assert read_status(fresh_bed)["instances"] == []
    assert "no instance is running" in fresh_bed.dsgmigd("status").stdout


def test_an_interrupted_migrate_goes_on_with_the_next_call(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"), filling("big", WORK_MIB))
    process = subprocess.Popen(
        fresh_bed.command("migrate", "SV", "--json"),
        env=fresh_bed.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    fresh_bed.workers.append(process)
    staged = Path(fresh_bed.mountpoint / ".dsgmigd/staging/SV/big")
    wait_for(staged.exists, "s2 in the making", made=fresh_bed)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 75
    assert json.loads(output)["error"]["code"] == "interrupted"
    result = fresh_bed.migrate("SV")
    assert (result["outcome"], result["plan"]["base"]) == ("done", "resume s1"), result["error"]
    assert_migrated(fresh_bed, "SV", series.directory, 2)


@zfs_kind.target_with_losses
def test_a_loss_that_nobody_allowed_is_refused_before_anything_is_made(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    write_config(fresh_bed)
    text = fresh_bed.config.read_text(encoding="utf-8")
    fresh_bed.config.write_text(text.replace(', "subsecond_mtime"', ""), encoding="utf-8")
    error = fresh_bed.migrate("SV")["error"]
    assert error["code"] == "loss_not_allowed"
    assert error["message"].startswith(
        "s1 has content that the target cannot hold: modification times below"
    )
    assert "first: '.', 'a'" in error["message"]
    assert '"allow_loss": ["subsecond_mtime"] added' in error["hint"]
    assert not (fresh_bed.mountpoint / "SV").exists()
