"""What `dsgmigd verify` finds in a published dataset, with its source and without."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bed
import lz4.frame
import orjson
import pytest

from tests.integration.conftest import Bed
from tests.integration.trees import (
    Edit,
    all_of,
    delete_subvolumes,
    linking,
    new_series,
    removing,
    set_read_only,
    write,
    writing,
)
from tests.unit.verification.metadata.dsg_documents import (
    Document,
    entries_of,
    metadata_of,
    write_documents,
)

HISTORY = (
    all_of(
        writing(a="a", data__file="one byte", data__more="more", data__gone="gone"),
        linking("data/file", "linked"),
        lambda tree: os.symlink("file", tree / "data/link"),
        lambda tree: write(tree / ".hidden", "in no manifest"),
        lambda tree: write(tree / os.fsdecode(b"odd\n\xc3\xbc")),
    ),
    all_of(writing(a="changed"), removing("data/gone")),
    writing(b="b"),
)


def publish(made: Bed, repo: str = "SV") -> None:
    new_series(made, repo, *HISTORY)
    assert made.migrate(repo)["outcome"] == "done"


def verify(made: Bed, *arguments: str, status: int = 0) -> dict[str, Any]:
    """Run the command; fail unless it ends with `status`."""
    done = made.dsgmigd("verify", *arguments, "--json", check=False)
    assert done.returncode == status, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["name"], row["verification"]["level"]) for row in result["snapshots"]]


def found(result: dict[str, Any], name: str) -> list[tuple[str, str]]:
    """Return what was found in snapshot `name`."""
    (row,) = (row for row in result["snapshots"] if row["name"] == name)
    return [(one["path"], one["attribute"]) for one in row["verification"]["discrepancies"]]


def damage(path: Path, change: Callable[[bytearray], object]) -> None:
    """Change a file in place, and give it back its times."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def flip(content: bytearray) -> None:
    content[0] ^= 1


# With the source.


def test_one_snapshot_alone_is_compared_with_its_source(fresh_bed: Bed) -> None:
    publish(fresh_bed)
    whole = verify(fresh_bed, "SV")
    assert (whole["outcome"], [name for name, _ in rows(whole)]) == ("verified", ["s1", "s2", "s3"])
    first = fresh_bed.source_root / "SV/s1"
    set_read_only(first, is_read_only=False)
    damage(first / "data/file", flip)
    result = verify(fresh_bed, "SV@s2")
    assert (result["outcome"], rows(result)) == ("verified", [("s2", "complete")])
    assert result["snapshots"][0]["verification"]["files_read"] == 6
    result = verify(fresh_bed, "SV@s1", status=4)
    assert result["error"]["code"] == "target_differs"
    assert found(result, "s1") == [("linked", "content"), ("data/file", "content")]


@pytest.mark.parametrize("options", [(), ("--without-source",)])
def test_what_is_not_published_is_not_verified(fresh_bed: Bed, options: tuple[str, ...]) -> None:
    new_series(fresh_bed, "SV", writing(a="a"), writing(a="b"))
    error = verify(fresh_bed, "SV", *options, status=1)["error"]
    assert (error["code"], "dsgmigd migrate SV" in error["hint"]) == ("target_missing", True)
    fresh_bed.migrate("SV", "--limit", "1")
    error = verify(fresh_bed, "SV@s2", *options, status=1)["error"]
    assert error["code"] == "target_missing"
    assert error["message"] == "the published dataset of SV has no snapshot s2"
    assert f"zfs list -r -t snapshot {fresh_bed.parent}/SV" in error["hint"]


# Without the source.


def test_a_dataset_is_checked_while_it_is_used_and_after_its_source_is_gone(
    fresh_bed: Bed,
) -> None:
    publish(fresh_bed)
    delete_subvolumes(fresh_bed.source_root)
    assert verify(fresh_bed, "SV", status=75)["error"]["code"] == "source_unavailable"
    with (fresh_bed.mountpoint / "SV/a").open("a") as used:
        result = verify(fresh_bed, "SV", "--without-source")
        used.write("a change that is in no snapshot")
    assert (result["outcome"], result["source"]) == ("verified", None)
    assert rows(result) == [(f"s{number}", "complete") for number in (1, 2, 3)]
    for row in result["snapshots"]:
        assert (row["files"], row["verification"]["source_bytes_read"]) == (
            7 - (row["name"] == "s2"),
            0,
        )
    words = fresh_bed.dsgmigd("verify", "SV", "--without-source").stdout
    assert "against its own manifests only" in words
    result = verify(fresh_bed, "SV@s2", "--without-source")
    assert rows(result) == [("s1", "structure"), ("s2", "complete")]
    fresh_bed.source_root.mkdir()


def copy_with_fault(made: Bed, faults: dict[str, Edit]) -> None:
    """Publish SV, and make of its snapshots, by hand, those of COPY: with a fault in some."""
    publish(made)
    bed.run("zfs", "create", f"{made.parent}/COPY")
    copy = made.mountpoint / "COPY"
    for name in made.snapshots("SV"):
        with bed.snapshot_view(f"{made.parent}/SV", name, made.spool.parent / "view") as tree:
            bed.run("rsync", "-aH", "--delete", f"{tree}/", f"{copy}/")
        if name in faults:
            faults[name](copy)
        bed.run("zfs", "snapshot", f"{made.parent}/COPY@{name}")


def add_entry(tree: Path) -> None:
    def add(entries: Document) -> None:
        entries["not there"] = {**entries["a"], "path": "not there"}

    write_documents(tree, 1, change=add)


def break_chain(tree: Path) -> None:
    path = tree / ".dsg/sync-messages.json"
    document = orjson.loads(path.read_bytes())
    document["snapshots"]["s1"]["snapshot_message"] = "another"
    path.write_bytes(orjson.dumps(document))


def replace_archive(tree: Path) -> None:
    """Put an archive there that says of a file that another user pushed it."""
    path = tree / ".dsg/archive/s1-sync.json.lz4"
    document = orjson.loads(lz4.frame.decompress(path.read_bytes()))
    document["entries"]["a"]["user"] = "another"
    path.write_bytes(lz4.frame.compress(orjson.dumps(document)))


FAULTS: dict[str, tuple[str, Edit, list[tuple[str, str]]]] = {
    "a flipped bit": (
        "s2",
        lambda tree: damage(tree / "data/more", flip),
        [("data/more", "content")],
    ),
    "a missing file": ("s3", removing("b"), [("b", "presence")]),
    "an extra file": ("s3", writing(c="c"), [("c", "presence")]),
    "an extra entry": ("s1", add_entry, [("not there", "presence")]),
    "a broken chain": (
        "s3",
        break_chain,
        [(".dsg", "chain at s1"), (".dsg", "metadata of s1 in sync-messages.json")],
    ),
    "a missing archive": (
        "s3",
        removing(".dsg/archive/s1-sync.json.lz4"),
        [(".dsg/archive", "files")],
    ),
    "another archive": ("s2", replace_archive, [(".dsg/archive", "s1")]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_dataset_is_found_where_it_is(fresh_bed: Bed, fault: str) -> None:
    name, spoil, expected = FAULTS[fault]
    copy_with_fault(fresh_bed, {name: spoil})
    result = verify(fresh_bed, "COPY", "--without-source", status=4)
    assert result["error"]["message"].startswith(f"{name}: ")
    assert len(result["snapshots"]) == 3, "what comes after a fault is checked too"
    # Two checks may report one thing: the documents of a snapshot, and the chain of all.
    assert set(found(result, name)) == set(expected)
    verify(fresh_bed, f"COPY@{name}", "--without-source", status=4)


def test_a_copy_without_a_fault_has_none_and_other_snapshots_are_left_out(fresh_bed: Bed) -> None:
    copy_with_fault(fresh_bed, {})
    assert verify(fresh_bed, "COPY", "--without-source")["outcome"] == "verified"
    bed.run("zfs", "snapshot", f"{fresh_bed.parent}/COPY@sync-temp-1")
    result = verify(fresh_bed, "COPY", "--without-source", status=3)
    assert result["warnings"] == ["not called s1 … sN, so not checked: sync-temp-1"]
    bed.destroy(f"{fresh_bed.parent}/COPY@s2")
    result = verify(fresh_bed, "COPY", "--without-source", status=4)
    assert found(result, "s3") == [("@s2", "snapshot")]


def test_at_level_structure_the_documents_alone_are_checked(fresh_bed: Bed) -> None:
    copy_with_fault(fresh_bed, {"s1": removing("a"), "s3": break_chain})
    options = ("--without-source", "--level", "structure")
    result = verify(fresh_bed, "COPY", *options, status=4)
    assert (result["verified_now"]["level"], found(result, "s1")) == ("structure", [])
    assert found(result, "s3") == FAULTS["a broken chain"][2]
    assert verify(fresh_bed, "COPY@s2", *options)["outcome"] == "verified"


def push_as_client(made: Bed, number: int, edit: Edit) -> None:
    """Push a snapshot to the published dataset as DSG's client does, in its own layout."""
    tree = made.mountpoint / "SV"
    edit(tree)
    last, messages = tree / ".dsg/last-sync.json", tree / ".dsg/sync-messages.json"
    before = orjson.loads(last.read_bytes())
    before["metadata"].setdefault("project_config", None)
    archived = tree / f".dsg/archive/s{number - 1}-sync.json.lz4"
    archived.write_bytes(lz4.frame.compress(orjson.dumps(before, option=orjson.OPT_INDENT_2)))
    entries = entries_of(tree)
    metadata = metadata_of(number, entries, before["metadata"]) | {"project_config": None}
    last.write_bytes(
        orjson.dumps({"entries": entries, "metadata": metadata}, option=orjson.OPT_INDENT_2)
    )
    document = orjson.loads(messages.read_bytes())
    document["snapshots"][f"s{number}"] = metadata
    messages.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    bed.run("zfs", "snapshot", f"{made.parent}/SV@s{number}")


def test_what_others_pushed_later_is_checked_just_the_same(fresh_bed: Bed) -> None:
    publish(fresh_bed)
    push_as_client(fresh_bed, 4, all_of(writing(c="c"), removing("b")))
    push_as_client(fresh_bed, 5, writing(d="d"))
    assert len(verify(fresh_bed, "SV", "--without-source")["snapshots"]) == 5
    warnings = verify(fresh_bed, "SV", status=3)["warnings"]
    assert warnings == ["not in the source, so not compared: s4, s5"]
    error = verify(fresh_bed, "SV@s5", status=1)["error"]
    assert "dsgmigd verify SV@s5 --without-source" in error["hint"]
    push_as_client(fresh_bed, 6, writing(e="e"))
    damage(fresh_bed.mountpoint / "SV/c", flip)
    bed.run("zfs", "snapshot", f"{fresh_bed.parent}/SV@s7")
    result = verify(fresh_bed, "SV", "--without-source", status=4)
    assert found(result, "s6") == []
    assert {("c", "content"), (".dsg", "sync-messages.json")} <= set(found(result, "s7"))


def test_a_hash_on_a_snapshot_that_is_not_its_manifests_is_found(fresh_bed: Bed) -> None:
    publish(fresh_bed)
    snapshot = f"{fresh_bed.parent}/SV@s2"
    bed.run("zfs", "set", f"org.hrdag.dsgmigd:snapshot_hash={'0' * 16}", snapshot)
    result = verify(fresh_bed, "SV", "--without-source", status=4)
    assert found(result, "s2") == [(".dsg", "snapshot_hash")]
