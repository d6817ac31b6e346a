"""A published dataset that differs is said to differ by everybody, until it is mended.

The way out is the command that the hint names.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bed
import pytest

from tests.amounts import amount
from tests.integration import zfs_kind
from tests.integration.conftest import Bed
from tests.integration.trees import (
    Series,
    all_of,
    assert_migrated,
    linking,
    new_series,
    set_read_only,
    write,
    writing,
)

PREFIX = "org.hrdag.dsgmigd:"
COMMAND = re.compile(r"dsgmigd (rebuild SV --from s\d+)")


def published(made: Bed) -> Series:
    edits = (
        all_of(writing(data__a="a", data__b="b", link="x"), linking("data/a", "data/hard")),
        writing(data__a="changed", data__c="c"),
    )
    series = new_series(made, "SV", *edits)
    assert made.migrate("SV")["outcome"] == "done"
    return series


def properties(snapshot: str) -> dict[str, str]:
    """Return the user properties that are set on a snapshot itself."""
    lines = bed.run("zfs", "get", "-Hp", "-s", "local", "-o", "property,value", "all", snapshot)
    pairs = (line.split("\t", 1) for line in lines.splitlines())
    return {key: value for key, value in pairs if key.startswith(PREFIX)}


def guid(snapshot: str) -> str:
    return bed.run("zfs", "get", "-Hp", "-o", "value", "guid", snapshot).strip()


def differing(made: Bed) -> list[str]:
    """Return the snapshots that doctor lists as different."""
    listed = json.loads(made.dsgmigd("doctor", "--json", check=False).stdout)
    return [one["where"] for one in listed["leftovers"] if one["kind"] == "differs"]


def mend(made: Bed, hint: str) -> dict[str, Any]:
    """Run the command that a hint names; return its result."""
    named = COMMAND.search(hint)
    assert named, hint
    command, *words = named[1].split()
    done = made.dsgmigd(command, *words)
    assert "SV: done" in done.stdout
    return made.migrate("SV")


# The target was tampered with.


def change_a_mode(tree: Path) -> None:
    (tree / "data/b").chmod(0o600)


def change_a_time(tree: Path) -> None:
    os.utime(tree / "data/b", (1, 1))


def change_a_content(tree: Path) -> None:
    times = (tree / "data/b").stat()
    (tree / "data/b").write_text("B")
    os.utime(tree / "data/b", ns=(times.st_atime_ns, times.st_mtime_ns))


def change_a_link(tree: Path) -> None:
    (tree / "link").unlink()
    (tree / "link").symlink_to("elsewhere")


def split_a_hard_link(tree: Path) -> None:
    shutil.copy2(tree / "data/hard", tree / "data/copy")
    (tree / "data/copy").rename(tree / "data/hard")


def change_the_manifest(tree: Path) -> None:
    path = tree / ".dsg/last-sync.json"
    path.write_bytes(path.read_bytes().replace(b"data/c", b"data/C"))


def change_an_archive(tree: Path) -> None:
    (path,) = (tree / ".dsg/archive").iterdir()
    path.write_bytes(path.read_bytes()[:-1])


def change_an_attribute(tree: Path) -> None:
    os.setxattr(tree / "data/b", "user.origin", b"elsewhere")


TAMPERINGS: dict[str, Callable[[Path], object]] = {
    "content": change_a_content,
    **({} if "xattr" in zfs_kind.LOSSES else {"xattr": change_an_attribute}),
    "hidden": lambda tree: write(tree / ".hidden", "hidden"),
    "manifest": change_the_manifest,
    "archive": change_an_archive,
    "name": lambda tree: (tree / "data/b").rename(tree / "data/B2"),
    "mode": change_a_mode,
    "time": change_a_time,
    "link": change_a_link,
    "hard link": split_a_hard_link,
    "missing": lambda tree: (tree / "data/c").unlink(),
    "extra": lambda tree: write(tree / "data/extra", "extra"),
}
TRIED = list(TAMPERINGS)[: int(amount("DSGMIGD_TAMPERINGS"))]


def tamper(made: Bed, change: Callable[[Path], object]) -> None:
    """Make s2 again, with all that dsgmigd wrote on it, from what `change` made of the files."""
    snapshot = f"{made.parent}/SV@s2"
    marks = [f"-o{key}={value}" for key, value in properties(snapshot).items()]
    change(made.mountpoint / "SV")
    bed.run("zfs", "destroy", snapshot)
    bed.run("zfs", "snapshot", *marks, snapshot)


def test_a_property_that_was_changed_is_found_and_mended(fresh_bed: Bed) -> None:
    published(fresh_bed)
    snapshot = f"{fresh_bed.parent}/SV@s2"
    bed.run("zfs", "set", f"{PREFIX}snapshot_hash={'0' * 16}", snapshot)
    for options in ((), ("--without-source",)):
        found = fresh_bed.verified("SV", *options)
        assert (found["outcome"], found["error"]["code"]) == ("differs", "target_differs")
        assert "snapshot_hash" in found["error"]["message"]
    assert differing(fresh_bed) == [snapshot]
    assert mend(fresh_bed, found["error"]["hint"])["outcome"] == "up_to_date"
    assert differing(fresh_bed) == []


def test_a_snapshot_of_somebody_else_in_the_place_of_ours_is_found(fresh_bed: Bed) -> None:
    series = published(fresh_bed)
    snapshot = f"{fresh_bed.parent}/SV@s2"
    change_a_content(fresh_bed.mountpoint / "SV")
    bed.run("zfs", "destroy", snapshot)
    bed.run("zfs", "snapshot", snapshot)
    for told in (fresh_bed.migrate("SV"), fresh_bed.verified("SV")):
        assert (told["outcome"], told["error"]["code"]) == ("failed", "target_exists")
        assert '"replace": true' in told["error"]["hint"]
    assert fresh_bed.migrate("SV", "--replace")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, 2)


@pytest.mark.sweep
@pytest.mark.parametrize("what", TRIED)
def test_a_dataset_that_was_tampered_with_is_found_marked_told_and_built_again(
    fresh_bed: Bed, what: str
) -> None:
    series = published(fresh_bed)
    target = f"{fresh_bed.parent}/SV"
    first = guid(f"{target}@s1")
    tamper(fresh_bed, TAMPERINGS[what])
    tampered = guid(f"{target}@s2")

    found = fresh_bed.verified("SV")
    assert (found["outcome"], found["error"]["code"]) == ("differs", "target_differs")
    assert "the source did not change since it was migrated" in found["error"]["message"]
    marks = {one["name"]: one["differs"] for one in found["on_record"]}
    assert marks["s1"] is None
    assert marks["s2"]["count"] == found["snapshots"][-1]["verification"]["discrepancy_count"]

    for command in ("migrate", "plan"):
        told = fresh_bed.dsgmigd(command, "SV", check=False)
        assert (told.returncode, "@s2 has" in told.stdout + told.stderr) == (4, True)
    assert fresh_bed.migrate("SV")["verified_now"] is None
    assert differing(fresh_bed) == [f"{target}@s2"]

    mended = mend(fresh_bed, found["error"]["hint"])
    assert (mended["outcome"], mended["last_verified"]["level"]) == ("up_to_date", "complete")
    assert_migrated(fresh_bed, "SV", series.directory, 2)
    assert guid(f"{target}@s1") == first, "what was proven stays"
    listed = bed.run("zfs", "list", "-Hr", "-o", "name", "-t", "snapshot", fresh_bed.parent).split()
    (kept,) = (one for one in listed if "/replaced/" in one)
    assert guid(kept) == tampered, "what it held can be examined"
    assert differing(fresh_bed) == []


# The source moved after its publication.


def edit(tree: Path) -> None:
    (tree / "data/b").write_text("edited")


MOVES: dict[str, Callable[[Path], object]] = {
    "touch": lambda tree: (tree / "data/b").touch(),
    "edit": edit,
    "delete": lambda tree: (tree / "data/b").unlink(),
}


@pytest.mark.parametrize(
    ("what", "is_extended"), [("touch", False), ("edit", True), ("delete", True)]
)
def test_a_source_that_moved_after_its_publication_has_a_way_out(
    fresh_bed: Bed, what: str, *, is_extended: bool
) -> None:
    series = published(fresh_bed)
    set_read_only(series.snapshot(2), is_read_only=False)
    MOVES[what](series.snapshot(2))
    if is_extended:
        series.push(writing(data__a="third"))
    for _ in range(2):
        found = fresh_bed.migrate("SV")
        assert (found["outcome"], found["error"]["code"]) == ("differs", "target_differs")
    first = fresh_bed.verified("SV")
    assert "the source changed since it was migrated" in first["error"]["message"]

    assert mend(fresh_bed, found["error"]["hint"])["outcome"] == "up_to_date"
    assert_migrated(fresh_bed, "SV", series.directory, 2 + is_extended)


def test_a_request_that_may_replace_needs_no_other_command(fresh_bed: Bed) -> None:
    series = published(fresh_bed)
    set_read_only(series.snapshot(2), is_read_only=False)
    edit(series.snapshot(2))
    result = fresh_bed.migrate("SV", "--replace")
    assert (result["outcome"], result["plan"]["replaces_target"]) == ("done", True)
    assert any("the target is replaced: s2: " in one for one in result["warnings"])
    assert_migrated(fresh_bed, "SV", series.directory, 2)


# What others did in the published dataset.


def test_changes_of_others_are_not_moved_aside_without_a_word(fresh_bed: Bed) -> None:
    series = published(fresh_bed)
    series.push(writing(data__a="third"))
    time.sleep(1.1)  # the snapshot's creation is in whole seconds
    write(fresh_bed.mountpoint / "SV/data/note", "of a user")
    for _ in range(2):  # the first may find it only before it publishes
        refused = fresh_bed.migrate("SV")
        assert refused["error"]["code"] == "target_in_use"
        assert "data/note" in refused["error"]["message"]
    assert fresh_bed.dsgmigd("plan", "SV", check=False).returncode == 1
    assert (fresh_bed.mountpoint / "SV/data/note").read_text() == "of a user"
    assert fresh_bed.verified("SV")["outcome"] == "verified", "it moves nothing"

    result = fresh_bed.migrate("SV", "--replace")
    assert (result["outcome"], result["plan"]["wanted"]) == ("done", 3)
    assert any("data/note" in one for one in result["warnings"])
    assert_migrated(fresh_bed, "SV", series.directory, 3)


def test_what_was_only_read_is_extended(fresh_bed: Bed) -> None:
    series = published(fresh_bed)
    series.push(writing(data__a="third"))
    time.sleep(1.1)
    (fresh_bed.mountpoint / "SV/data/a").read_bytes()
    os.utime(fresh_bed.mountpoint / "SV/.dsg")
    bed.run("zfs", "snapshot", f"{fresh_bed.parent}/SV@daily")
    result = fresh_bed.migrate("SV")
    assert result["outcome"] == "done"
    assert "only the replaced dataset has @daily" in result["warnings"]
    assert_migrated(fresh_bed, "SV", series.directory, 3)


def test_child_datasets_of_others_stay_where_they_are(fresh_bed: Bed) -> None:
    series = published(fresh_bed)
    child = f"{fresh_bed.parent}/SV/child"
    bed.run("zfs", "create", child)
    assert fresh_bed.migrate("SV")["outcome"] == "up_to_date"
    series.push(writing(data__a="third"))
    for options in ((), ("--replace",)):
        refused = fresh_bed.migrate("SV", *options)
        assert refused["error"]["code"] == "target_in_use"
        assert child in refused["error"]["message"]
    assert bed.run("zfs", "get", "-H", "-o", "value", "mounted", child).strip() == "yes"


# Verification by the queue.


def test_workers_verify_what_is_published(fresh_bed: Bed) -> None:
    published(fresh_bed)
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV", {"verify_only": True, "verify": "exhaustive"})
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["verified_now"]["level"]) == ("verified", "exhaustive")
    assert result["last_verified"]["request_id"] == result["request_id"]

    tamper(fresh_bed, change_a_content)
    fresh_bed.drop("SV", {"verify_only": True, "without_source": True})
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["source"]) == ("differs", None)
    assert differing(fresh_bed) == [f"{fresh_bed.parent}/SV@s2"]
