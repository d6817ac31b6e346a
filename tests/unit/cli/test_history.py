"""log and blame, on a dataset whose metadata is real and whose pool is in memory."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.commands import run
from tests.unit.dsg_series import write_series
from tests.unit.fake_zfs import FakeZfs

pytestmark = pytest.mark.usefixtures("published")


def test_log_lists_the_snapshots_the_newest_first(config: Path) -> None:
    result = run(config, "log", "SV")

    assert result.exit_code == 0
    header, *rows = result.output.splitlines()
    assert header.split() == [
        *("SNAPSHOT", "WHEN", "WHO", "ADDED", "MODIFIED", "RENAMED", "DELETED", "MESSAGE"),
    ]
    assert [row.split()[0] for row in rows] == ["s3", "s2", "s1"]
    assert rows[0].split()[2:] == ["user3", "0", "0", "1", "1", "message", "3"]


def test_log_for_scripts_is_one_object(config: Path) -> None:
    document = json.loads(run(config, "log", "SV", "--json").output)

    assert document["repo"] == "SV"
    assert [row["snapshot"] for row in document["snapshots"]] == ["s3", "s2", "s1"]
    assert document["snapshots"][0]["renamed"] == 1


def test_blame_lists_what_happened_to_a_file_the_oldest_first(config: Path) -> None:
    result = run(config, "blame", "SV", "moved")

    assert result.exit_code == 0
    header, *rows = result.output.splitlines()
    assert header.split() == ["SNAPSHOT", "WHEN", "WHO", "WHAT", "MESSAGE"]
    assert [row.split()[0] for row in rows] == ["s1", "s2", "s3"]
    assert ["added a" in rows[0], "modified a" in rows[1], "renamed a to moved" in rows[2]] == [
        True,
        True,
        True,
    ]


def test_blame_for_scripts_is_one_object(config: Path) -> None:
    document = json.loads(run(config, "blame", "SV", "moved", "--json").output)

    assert (document["repo"], document["path"]) == ("SV", "moved")
    assert [event["what"] for event in document["events"]] == ["added", "modified", "renamed"]
    assert document["events"][2]["path_before"] == "a"


def test_a_path_that_was_never_there_is_an_error(config: Path) -> None:
    result = run(config, "blame", "SV", "nowhere")

    assert result.exit_code == 1
    assert "path_unknown" in result.output


def test_damaged_metadata_is_an_error_that_names_the_document(
    config: Path, pool: FakeZfs, published: Path
) -> None:
    (published / ".dsg/sync-messages.json").write_bytes(b"")
    pool.output("zfs", "snapshot", "zsd/SV@s4")

    for command in (("log", "SV"), ("blame", "SV", "a")):
        result = run(config, *command)
        assert result.exit_code == 1
        assert "metadata_damaged" in result.output
        assert ".dsg/sync-messages.json" in result.output


def test_a_name_in_the_metadata_cannot_control_the_terminal(config: Path, pool: FakeZfs) -> None:
    pool.output("zfs", "create", "zsd/CO")
    write_series(pool.mountpoint("zsd/CO"), {"a\x1b[2J\nb": "1"})
    pool.output("zfs", "snapshot", "zsd/CO@s1")

    result = run(config, "blame", "CO", "a\x1b[2J\nb")

    assert "added a\\x1b[2J\\nb" in result.output
    assert "\x1b" not in result.output


def test_what_is_not_published_has_no_history(config: Path) -> None:
    result = run(config, "log", "CO")

    assert result.exit_code == 1
    assert "target_missing" in result.output


def test_a_pool_that_is_suspended_may_be_asked_again_later(config: Path, pool: FakeZfs) -> None:
    pool.health = "SUSPENDED"
    assert run(config, "log", "SV").exit_code == 75
