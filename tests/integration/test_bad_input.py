"""Requests and sources that cannot be served, and what people are told about them."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Bed, write_config
from tests.integration.processes import assert_clean, wait_for, wait_started
from tests.integration.trees import Series, all_of, new_series, write, writing


def run_request(made: Bed, repo: str, body: dict[str, Any] | str | None = None) -> dict[str, Any]:
    """Drop a request for a worker that is there already, or comes now; return its result."""
    if not made.workers:
        made.start_worker(1)
    made.drop(repo, body)
    return made.wait_result(repo)


def put_aside(made: Bed) -> list[dict[str, Any]]:
    """Return the results beside requests whose name is no repository's."""
    return [json.loads(path.read_bytes()) for path in made.spool.glob("rejected/*.result.json")]


def requests(made: Bed) -> list[Path]:
    """Return the requests that lie in the spool, whatever their names."""
    return list(made.spool.glob("*.request"))


def error_of(result: dict[str, Any], outcome: str, code: str) -> str:
    """Return message and hint of the error in a result, which has to be of this kind."""
    assert (result["outcome"], result["error"]["code"]) == (outcome, code)
    assert result["error"]["hint"]
    return f"{result['error']['message']}\n{result['error']['hint']}"


# The source.


def test_there_is_no_such_repository(fresh_bed: Bed) -> None:
    write(fresh_bed.source_root / "CO/s1/file")
    words = error_of(run_request(fresh_bed, "SV"), "failed", "source_missing")
    assert f"no repository SV in {fresh_bed.source_root}" in words
    assert "check the spelling" in words


def test_a_repository_without_snapshots(fresh_bed: Bed) -> None:
    write(fresh_bed.source_root / "SV/notes.txt")
    words = error_of(run_request(fresh_bed, "SV"), "failed", "no_snapshots")
    assert "SV has no s1; it has notes.txt" in words
    assert "s1, s2" in words


def test_a_series_with_gaps_names_what_is_missing(fresh_bed: Bed) -> None:
    series = new_series(fresh_bed, "SV", *[writing(a=str(number)) for number in range(6)])
    series.snapshot(2).rename(series.directory / "s2-aside")
    series.snapshot(5).rename(series.directory / "v5")
    words = error_of(run_request(fresh_bed, "SV"), "failed", "snapshot_gap")
    assert "s2, s5 missing" in words
    assert fresh_bed.migrate("SV", "--limit", "1")["outcome"] == "done", "only the wanted counts"


@pytest.mark.parametrize("kind", ["file", "link", "leading zero"])
def test_what_looks_like_a_snapshot_but_is_none(fresh_bed: Bed, kind: str) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"))
    if kind == "file":
        write(series.directory / "s2")
    elif kind == "link":
        (series.directory / "s2").symlink_to("s1")
    else:
        (series.directory / "s02").mkdir()
    words = error_of(fresh_bed.migrate("SV"), "failed", "source_invalid")
    assert "looks like a snapshot" in words


def test_a_dsg_of_the_source_is_neither_dropped_nor_overwritten(fresh_bed: Bed) -> None:
    series = new_series(
        fresh_bed, "SV", writing(a="a"), all_of(writing(b="b"), lambda tree: write(tree / ".dsg/x"))
    )
    words = error_of(run_request(fresh_bed, "SV"), "failed", "dsg_conflict")
    assert "s2 already has a .dsg" in words
    assert not (fresh_bed.mountpoint / "SV").exists()
    assert (series.snapshot(2) / ".dsg/x").exists()


def test_a_dsg_deeper_down_is_data(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", lambda tree: write(tree / "project/.dsg/x"))
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert (fresh_bed.mountpoint / "SV/project/.dsg/x").exists()


# The target.


def test_the_parent_of_the_target_is_missing(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    parent, fresh_bed.parent = fresh_bed.parent, f"{fresh_bed.parent}/nowhere"
    write_config(fresh_bed)
    fresh_bed.parent = parent
    words = error_of(run_request(fresh_bed, "SV"), "failed", "target_missing")
    assert f"{parent}/nowhere" in words


def test_the_pool_of_the_target_is_missing(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    parent, fresh_bed.parent = fresh_bed.parent, "nosuchpool"
    write_config(fresh_bed)
    fresh_bed.parent = parent
    words = error_of(run_request(fresh_bed, "SV"), "failed", "target_unavailable")
    assert "nosuchpool" in words
    assert "zpool import" in words


# Names.


@pytest.mark.parametrize("name", ["a/b", "../SV", "..", ".", "a@b", "-x", "a b", "SV-norm", ""])
@pytest.mark.parametrize("command", ["migrate", "submit"])
def test_a_name_that_could_be_a_path_or_an_option_never_becomes_one(
    fresh_bed: Bed, command: str, name: str
) -> None:
    done = fresh_bed.dsgmigd(command, "--", name, check=False)
    assert done.returncode == 2
    assert "is not a repository name" in done.stdout + done.stderr
    assert not requests(fresh_bed)


def test_requests_with_impossible_names_are_put_aside_with_an_answer(fresh_bed: Bed) -> None:
    names = ["..", "a@b", "-x", "a b", "SV-norm", "SV.request", "two\nlines", "x" * 240, "ü"]
    for name in names:
        write(fresh_bed.spool / f"{name}.request", "")
    fresh_bed.start_worker(1)
    # The answer comes first, then the request goes.
    wait_for(lambda: not requests(fresh_bed), "the last to go", made=fresh_bed)
    results = put_aside(fresh_bed)
    assert sorted(result["repo"] for result in results) == sorted(names)
    for result in results:
        assert "is not a repository name" in error_of(result, "rejected", "invalid_request")


# The body.


BODIES = {
    "half": ('{"limit": 5', "not JSON"),
    "mark": ("\ufeff{}", "byte order mark"),
    "comma": ('{"limit": 5,}', "remove this comma"),
    "yaml": ("limit: 5", "looks like YAML"),
    "list": ("[1, 2]", "a JSON list"),
    "twice": ('{"limit": 1, "limit": 2}', "'limit' occurs twice"),
    "nan": ('{"limit": NaN}', "NaN"),
    "unknown": ('{"limt": 5}', "did you mean 'limit'"),
    "kind": ('{"replace": "yes"}', "must be true or false"),
    "range": ('{"limit": 0}', "whole number from 1"),
    "level": ('{"verify": "complet"}', "did you mean 'complete'"),
    "loss": ('{"allow_loss": ["xatr"]}', "did you mean 'xattr'"),
    "deep": ("[" * 20_000, "not JSON"),
}


def test_a_body_that_is_no_request_is_rejected_with_the_reason_and_kept(fresh_bed: Bed) -> None:
    for name, (body, _) in BODIES.items():
        fresh_bed.drop(name, body)
    fresh_bed.start_worker(1)
    for name, (body, words) in BODIES.items():
        result = fresh_bed.wait_result(name)
        assert words in error_of(result, "rejected", "invalid_request"), name
        assert result["repo"] == name
        kept = fresh_bed.spool / "rejected" / f"{name}.{result['request_id']}"
        assert kept.read_text() == body
    assert_clean_spool(fresh_bed)


def assert_clean_spool(made: Bed) -> None:
    left = [name for name in made.listing() if name.endswith(".request") or ".claim." in name]
    assert left == []


def test_bytes_that_are_no_text_are_rejected(fresh_bed: Bed) -> None:
    hidden = fresh_bed.spool / ".hidden"
    hidden.write_bytes(b'\xff\xfe{"limit": 1}\x00')
    hidden.rename(fresh_bed.spool / "SV.request")
    fresh_bed.start_worker(1)
    assert "not JSON" in error_of(fresh_bed.wait_result("SV"), "rejected", "invalid_request")


def test_a_mebibyte_is_no_request(fresh_bed: Bed) -> None:
    result = run_request(fresh_bed, "SV", " " * (1 << 20))
    words = error_of(result, "rejected", "invalid_request")
    assert "has 1048576 bytes" in words
    assert "at most 65536 bytes" in words


def test_a_request_that_is_still_being_written_is_left_alone(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    new_series(fresh_bed, "CO", writing(a="a"))
    fresh_bed.start_worker(1)
    with (fresh_bed.spool / "SV.request").open("w", encoding="utf-8") as file:
        file.write('{"note": "wh')
        file.flush()
        assert run_request(fresh_bed, "CO")["outcome"] == "done"
        assert (fresh_bed.spool / "SV.request").exists()
        file.write('ole"}')
    assert fresh_bed.wait_result("SV")["request"] == {"note": "whole"}


# What is no regular file.


def make_special_requests(made: Bed, secret: Path) -> dict[str, str]:
    """Put one of each kind into the spool; return what each must be called in its answer."""
    write(secret, "root:secret")
    (made.spool / "LINK.request").symlink_to(secret)
    os.mkfifo(made.spool / "FIFO.request")
    (made.spool / "DIRECTORY.request").mkdir()
    (made.spool / "HARD.request").hardlink_to(secret)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(made.spool / "SOCKET.request"))
    os.mknod(made.spool / "DEVICE.request", 0o600 | 0o020000, os.makedev(1, 5))
    return {
        "LINK": "a symbolic link",
        "FIFO": "a FIFO",
        "DIRECTORY": "a directory",
        "HARD": "2 hard links",
        "SOCKET": "a socket",
        "DEVICE": "a device",
    }


def test_what_is_no_regular_file_is_never_opened(fresh_bed: Bed) -> None:
    """Nobody writes to the FIFO, so opening it would block; strace sees what is opened."""
    new_series(fresh_bed, "SV", writing(a="a"))
    secret = fresh_bed.logs / "shadow"
    expected = make_special_requests(fresh_bed, secret)
    trace = fresh_bed.logs / "strace"
    calls = "trace=open,openat,openat2,readlink,readlinkat"
    worker = fresh_bed.start_worker(1, "strace", "-f", "-qq", "-e", calls, "-o", str(trace))
    assert run_request(fresh_bed, "SV")["outcome"] == "done", "nothing blocks the others"
    for name, words in expected.items():
        result = fresh_bed.wait_result(name)
        assert words in error_of(result, "rejected", "invalid_request")
        assert "secret" not in json.dumps(result)
    # strace passes no signals on.
    status = json.loads((fresh_bed.spool / ".dsgmigd/instances/1.json").read_bytes())
    os.kill(status["pid"], signal.SIGTERM)
    assert worker.wait(30) == 0
    opened = trace.read_text(errors="replace").splitlines()
    assert any("SV.request" in line for line in opened), "the trace shows opened requests"
    assert [line for line in opened if str(secret) in line] == []
    assert [line for line in opened if any(f"{name}.request" in line for name in expected)] == []
    assert secret.read_text() == "root:secret"
    assert len(list((fresh_bed.spool / "rejected").iterdir())) == len(expected)
    assert_clean_spool(fresh_bed)


def test_a_result_name_that_a_user_took_is_replaced_and_never_written_through(
    fresh_bed: Bed,
) -> None:
    new_series(fresh_bed, "SV", writing(a="a"))
    secret = fresh_bed.logs / "shadow"
    write(secret, "root:secret")
    (fresh_bed.spool / "SV.result.json").symlink_to(secret)
    fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    assert run_request(fresh_bed, "SV")["outcome"] == "done"
    assert not (fresh_bed.spool / "SV.result.json").is_symlink()
    assert secret.read_text() == "root:secret"
    assert_clean(fresh_bed)


def test_holes_that_take_years_to_hash_are_refused_before_anything_is_copied(
    fresh_bed: Bed,
) -> None:
    def plant(tree: Path) -> None:
        (tree / "small").write_text("small")
        (tree / "endless").touch()
        os.truncate(tree / "endless", 7 << 60)

    new_series(fresh_bed, "SV", plant)
    result = fresh_bed.migrate("SV")
    assert result["error"]["code"] == "target_refused"
    assert "TiB of holes" in result["error"]["message"]
    assert "'endless'" in result["error"]["message"]


def test_a_push_log_that_cannot_be_read_is_a_loss_to_be_allowed(fresh_bed: Bed) -> None:
    def plant(tree: Path) -> None:
        write(tree / "data", "data")
        line = "SV/s1\tana\t2014-05-07T17:27:26Z\tfirst\r\n"
        last = "SV/s2 | ben | some day | second\r\n"
        write(tree / ".snap/push.log", "\ufeff" + line + last)

    series = Series(fresh_bed.source_root / "SV", has_push_log=False)
    series.push(plant)
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    series.push(writing(more="more"))
    result = fresh_bed.migrate("SV")
    assert result["error"]["code"] == "loss_not_allowed"
    assert "s2/.snap/push.log, line 2" in result["error"]["message"]
    text = fresh_bed.config.read_text()
    fresh_bed.config.write_text(text.replace("allow_loss = [", 'allow_loss = ["push_log", '))
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done"
    lost = {loss["loss"]: loss["examples"] for loss in result["losses"]}
    assert lost["push_log"] == ["s2"]
    live = json.loads((fresh_bed.mountpoint / "SV/.dsg/sync-messages.json").read_bytes())
    found = {name: one["created_by"] for name, one in live["snapshots"].items()}
    assert found == {"s1": "ana", "s2": "unknown"}
