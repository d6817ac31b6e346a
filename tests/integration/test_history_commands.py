"""What log, blame and repair-metadata say and do on a published dataset, with its source gone."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bed
import orjson
import pytest

from tests.integration.conftest import Bed
from tests.integration.test_verify_command import push_as_client
from tests.integration.trees import (
    Edit,
    Series,
    all_of,
    delete_subvolumes,
    linking,
    moving,
    new_series,
    removing,
    write,
    writing,
)

USERS = ("ana", "ben")
OLD, NEW = "data/list of names.csv", "archiv/Namen ä.csv"


def writing_old(content: str) -> Edit:
    return lambda tree: write(tree / OLD, content)


# What each of the snapshots s1 … s13 does.
EDITS: tuple[Edit, ...] = (
    all_of(writing_old("1"), writing(a="a", b="b", keep="k"), lambda tree: write(tree / ".x")),
    writing(a="a2"),
    writing_old("3"),
    removing("b"),
    all_of(writing(c="c"), linking("c", "d")),
    lambda tree: os.utime(tree / OLD, (1, 1)),
    writing_old("7"),
    Path.exists,  # nothing
    moving(OLD, NEW),
    writing(a="a10"),
    moving("c", "e"),
    removing(NEW),
    writing(last="l"),
)


def publish(made: Bed) -> None:
    """Publish SV, whose snapshots two people pushed in turns, and take its source away."""
    series = Series(made.source_root / "SV", has_push_log=False)

    def note_push(tree: Path) -> None:
        number = series.count
        who, day = user_of(number), f"2014-05-{number:02}"
        series.log.append(f"SV/s{number} | {who} | {day} 12:00:00 UTC (Thu) | why {number}\n")
        write(tree / ".snap/push.log", "".join(series.log))

    for edit in EDITS:
        series.push(all_of(edit, note_push))
    assert made.migrate("SV")["outcome"] == "done"
    delete_subvolumes(made.source_root)
    made.source_root.mkdir()


def user_of(number: int) -> str:
    return USERS[number % 2]


def ask(made: Bed, command: str, *arguments: str, status: int = 0) -> dict[str, Any]:
    """Run a command; fail unless it ends with `status`."""
    done = made.dsgmigd(command, *arguments, "--json", check=False)
    assert done.returncode == status, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def told(made: Bed, path: str) -> list[tuple[str, ...]]:
    events = ask(made, "blame", "SV", path)["events"]
    return [(one["snapshot"], one["what"], one["path"]) for one in events]


# Telling.


def test_blame_tells_of_changes_a_rename_and_the_end_by_each_name(fresh_bed: Bed) -> None:
    publish(fresh_bed)
    expected = [
        ("s1", "added", OLD),
        ("s3", "modified", OLD),
        ("s7", "modified", OLD),
        ("s9", "renamed", NEW),
        ("s12", "deleted", NEW),
    ]
    assert told(fresh_bed, NEW) == told(fresh_bed, OLD) == expected
    answer = ask(fresh_bed, "blame", "SV", NEW)
    assert [one["path_before"] for one in answer["events"]] == [None, None, None, OLD, None]
    for event in answer["events"]:
        number = int(event["snapshot"][1:])
        assert event["created_by"] == user_of(number)
        assert event["created_at"] == f"2014-05-{number:02}T05:00:00-07:00"
        assert event["message"] == f"why {number}"
    words = fresh_bed.dsgmigd("blame", "SV", OLD).stdout.splitlines()
    assert words[0].split() == ["SNAPSHOT", "WHEN", "WHO", "WHAT", "MESSAGE"]
    assert f"renamed {OLD} to {NEW}" in words[4]
    assert words[5].startswith("s12")
    assert words[5].split()[3:] == ["deleted", *NEW.split(), "why", "12"]

    # Who is blamed last is who the manifest says pushed what is there.
    live = fresh_bed.mountpoint / "SV/.dsg/last-sync.json"
    entries = orjson.loads(live.read_bytes())["entries"]
    assert set(entries) == {"a", "d", "e", "keep", "last"}
    for path, entry in entries.items():
        assert ask(fresh_bed, "blame", "SV", path)["events"][-1]["created_by"] == entry["user"]

    done = fresh_bed.dsgmigd("blame", "SV", "data", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "path_unknown: no manifest has an entry 'data'" in done.stderr


def test_the_log_tells_what_each_snapshot_did_also_those_of_others(fresh_bed: Bed) -> None:
    publish(fresh_bed)
    push_as_client(fresh_bed, 14, all_of(moving("keep", "kept"), writing(a="14")))
    bed.run("zfs", "snapshot", f"{fresh_bed.parent}/SV@sync-temp-1")
    rows = ask(fresh_bed, "log", "SV")["snapshots"]
    assert [row["snapshot"] for row in rows] == [f"s{number}" for number in range(14, 0, -1)]
    counts = {
        row["snapshot"]: [row[key] for key in ("added", "modified", "renamed", "deleted")]
        for row in rows
    }
    assert counts == {
        "s1": [4, 0, 0, 0],
        **{name: [0, 1, 0, 0] for name in ("s2", "s3", "s7", "s10")},
        **{name: [0, 0, 0, 1] for name in ("s4", "s12")},
        "s5": [2, 0, 0, 0],
        "s6": [0, 0, 0, 0],
        "s8": [0, 0, 0, 0],
        **{name: [0, 0, 1, 0] for name in ("s9", "s11")},
        "s13": [1, 0, 0, 0],
        "s14": [0, 1, 1, 0],
    }
    assert (rows[1]["created_by"], rows[1]["message"]) == (user_of(13), "why 13")
    words = fresh_bed.dsgmigd("log", "SV").stdout.splitlines()
    header = ["SNAPSHOT", "WHEN", "WHO", "ADDED", "MODIFIED", "RENAMED", "DELETED", "MESSAGE"]
    assert words[0].split() == header
    assert words[-1].split() == ["s1", "2014-05-01T05:00:00-07:00", "ben", *"4000", "why", "1"]


def test_a_damaged_archive_is_named_and_nothing_is_told(fresh_bed: Bed) -> None:
    publish(fresh_bed)
    archive = fresh_bed.mountpoint / "SV/.dsg/archive/s6-sync.json.lz4"
    archive.write_bytes(archive.read_bytes()[:-5])
    assert told(fresh_bed, "b")[-1] == ("s4", "deleted", "b"), "the live files are not asked"
    push_as_client(fresh_bed, 14, writing(a="14"))
    for arguments in (("log", "SV"), ("blame", "SV", "a"), ("repair-metadata", "SV")):
        done = fresh_bed.dsgmigd(*arguments, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert "metadata_damaged: .dsg/archive/s6-sync.json.lz4 in snapshot s14" in done.stderr


# Repairing.


def dsg_of(root: Path) -> dict[str, tuple[object, ...]]:
    """Return owner, mode, time and content of all that is in `.dsg/`, by path."""
    found = {}
    for one in [root / ".dsg", *(root / ".dsg").rglob("*")]:
        status = one.lstat()
        is_file = stat.S_ISREG(status.st_mode)
        file = (status.st_mtime_ns, one.read_bytes()) if is_file else ()
        path = str(one.relative_to(root))
        found[path] = (status.st_mode, status.st_uid, status.st_gid, *file)
    return found


def cut(path: Path) -> None:
    os.truncate(path, 10)


def lie(path: Path) -> None:
    document = orjson.loads(path.read_bytes())
    document["snapshots"]["s3"]["created_by"] = "nobody"
    path.write_bytes(orjson.dumps(document))


DAMAGES: tuple[tuple[str, Callable[[Path], object], str], ...] = (
    ("last-sync.json", Path.unlink, "missing"),
    ("archive/s4-sync.json.lz4", cut, "changed"),
    ("archive/s5-sync.json.lz4", lambda path: os.chown(path, 1234, 1234), "changed"),
    ("archive/s99-sync.json.lz4", lambda path: write(path, "what is this"), "extra"),
    ("a directory/with ä", write, "extra"),
    ("sync-messages.json", lie, "changed"),
)


def test_a_damaged_dsg_is_put_back_and_what_was_there_is_kept(fresh_bed: Bed) -> None:
    publish(fresh_bed)
    live = fresh_bed.mountpoint / "SV"
    with bed.snapshot_view(f"{fresh_bed.parent}/SV", "s13", fresh_bed.spool.parent / "v") as tree:
        whole = dsg_of(tree)
    assert dsg_of(live) == whole
    for path, damage, _ in DAMAGES:
        damage(live / ".dsg" / path)
    write(live / "a", "changed by a client that works on it")
    damaged = dsg_of(live)

    said = ask(fresh_bed, "repair-metadata", "SV", "--dry-run", status=3)
    expected = {(f".dsg/{path}".removesuffix("/with ä"), what) for path, _, what in DAMAGES}
    assert {(one["path"], one["difference"]) for one in said["differences"]} == expected
    assert (said["kept"], said["snapshot"], said["is_dry_run"]) == (None, "s13", True)
    assert dsg_of(live) == damaged

    done = ask(fresh_bed, "repair-metadata", "SV")
    assert [one["path"] for one in done["differences"]] == [
        one["path"] for one in said["differences"]
    ]
    assert dsg_of(live) == whole
    assert (live / "a").read_text() == "changed by a client that works on it"
    kept = Path(done["kept"])
    assert kept.parent == fresh_bed.mountpoint / ".dsgmigd/replaced"
    for path, _, what in DAMAGES:
        if what != "missing":
            assert dsg_of(kept)[f".dsg/{path}"] == damaged[f".dsg/{path}"]
    assert not (kept / ".dsg/last-sync.json").exists()

    again = fresh_bed.dsgmigd("repair-metadata", "SV").stdout
    assert again == f"{live}/.dsg is as in snapshot s13\n"
    fresh_bed.dsgmigd("verify", "SV", "--without-source")
    fresh_bed.dsgmigd("doctor")
    push_as_client(fresh_bed, 14, writing(b="b"))
    fresh_bed.dsgmigd("verify", "SV", "--without-source")
    assert len(ask(fresh_bed, "log", "SV")["snapshots"]) == 14


def test_without_dsg_a_dataset_gets_all_of_it_back(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", writing(a="a"), writing(a="b"))
    fresh_bed.migrate("SV")
    live = fresh_bed.mountpoint / "SV"
    whole = dsg_of(live)
    removing(".dsg")(live)
    words = fresh_bed.dsgmigd("repair-metadata", "SV").stdout
    assert dsg_of(live) == whole
    assert "kept" not in words
    assert words.count("restored") == 5
    assert os.listdir(fresh_bed.mountpoint / ".dsgmigd/replaced") == []


@pytest.mark.parametrize(
    "arguments", [("log", "SV"), ("blame", "SV", "a"), ("repair-metadata", "SV")]
)
def test_what_is_not_published_has_no_history(fresh_bed: Bed, arguments: tuple[str, ...]) -> None:
    done = fresh_bed.dsgmigd(*arguments, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "target_missing: SV is not published" in done.stderr
