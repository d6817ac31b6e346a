"""`.dsg/` as DSG's client reads it: every way in which it can be wrong is found."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import orjson
import pytest
import xxhash

from dsgmigd.verification.metadata.documents import Documents, read_archived
from tests.unit.verification.metadata import dsg_documents
from tests.unit.verification.metadata.dsg_documents import Document, write_documents


@pytest.fixture(autouse=True, params=["by line", "whole", "with blanks"])
def _layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "whole":
        monkeypatch.setattr(dsg_documents, "render", orjson.dumps)
    elif request.param == "with blanks":
        monkeypatch.setattr(dsg_documents, "render", lambda one: json.dumps(one).encode())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "ünï").write_bytes(b"")
    (tmp_path / "l").symlink_to("a")
    return tmp_path


def found(root: Path, number: int) -> list[tuple[str, str]]:
    view = Documents().read(str(root), number)
    return [(one.path, one.attribute) for one in view.discrepancies]


def edit(path: Path, change: Callable[[Document], None]) -> None:
    document = orjson.loads(path.read_bytes())
    change(document)
    path.write_bytes(
        dsg_documents.render(document) if "entries" in document else orjson.dumps(document)
    )


@pytest.mark.parametrize("number", [1, 2, 11])
def test_correct_documents_have_no_discrepancy(root: Path, number: int) -> None:
    write_documents(root, number)
    view = Documents().read(str(root), number)
    assert view.discrepancies == []
    assert list(view.listing.untaken()) == ["a", "l", "ünï"]


def test_the_keys_of_an_entry_have_an_order(root: Path) -> None:
    def turn(entries: Document) -> None:
        entries["a"] = dict(reversed(entries["a"].items()))

    write_documents(root, 1, change=turn)
    assert found(root, 1) == [("a", "manifest entry")]


def test_an_entry_must_have_its_own_path_as_key(root: Path) -> None:
    def misplace(entries: Document) -> None:
        entries["b"] = entries.pop("a")

    write_documents(root, 1, change=misplace)
    assert found(root, 1) == [("b", "manifest entry")]


@pytest.mark.parametrize(
    ("key", "value", "attribute"),
    [
        ("entries_hash", "0" * 16, "entries_hash"),
        ("entry_count", 4, "entry_count"),
    ],
)
def test_hash_and_count_of_the_entries_are_recomputed(
    root: Path, key: str, value: object, attribute: str
) -> None:
    write_documents(root, 1)
    edit(root / ".dsg" / "last-sync.json", lambda one: one["metadata"].update({key: value}))
    assert (".dsg", attribute) in found(root, 1)
    assert (".dsg", "metadata in sync-messages.json") in found(root, 1)


def test_an_entry_that_was_changed_alone_breaks_the_hash_of_entries(root: Path) -> None:
    write_documents(root, 1)
    edit(root / ".dsg" / "last-sync.json", lambda one: one["entries"]["a"].update(user="x"))
    assert found(root, 1) == [(".dsg", "entries_hash")]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("snapshot_hash", "0" * 16),
        ("snapshot_previous", None),
        ("snapshot_previous", "s3"),
        ("snapshot_message", "changed"),
        ("entries_hash", "0" * 16),
        ("snapshot_id", "s9"),
    ],
)
def test_a_chain_that_is_broken_anywhere_is_found_there(
    root: Path, key: str, value: object
) -> None:
    write_documents(root, 4)
    edit(
        root / ".dsg" / "sync-messages.json",
        lambda one: one["snapshots"]["s2"].update({key: value}),
    )
    assert (".dsg", "chain at s2") in found(root, 4)


@pytest.mark.parametrize("held", [1, 3])
def test_documents_of_another_snapshot_are_not_this_ones(root: Path, held: int) -> None:
    write_documents(root, held)
    assert (".dsg", "sync-messages.json") in found(root, 2)


def test_messages_out_of_order_are_found(root: Path) -> None:
    def turn(document: Document) -> None:
        document["snapshots"] = dict(reversed(document["snapshots"].items()))

    write_documents(root, 2)
    edit(root / ".dsg" / "sync-messages.json", turn)
    assert (".dsg", "sync-messages.json") in found(root, 2)


def test_a_missing_archive_is_found(root: Path) -> None:
    write_documents(root, 3)
    (root / ".dsg" / "archive" / "s1-sync.json.lz4").unlink()
    view = Documents().read(str(root), 3)
    assert [(one.path, one.source) for one in view.discrepancies] == [
        (".dsg/archive", "['s1-sync.json.lz4']")
    ]


def test_an_archive_of_the_snapshot_itself_is_one_too_many(root: Path) -> None:
    write_documents(root, 2)
    (root / ".dsg" / "archive" / "s2-sync.json.lz4").touch()
    assert found(root, 2) == [(".dsg/archive", "files")]


def test_an_archive_that_lists_other_entries_than_the_snapshot_is_found(root: Path) -> None:
    write_documents(root, 2)
    archive = root / ".dsg" / "archive" / "s1-sync.json.lz4"
    document = orjson.loads(lz4.frame.decompress(archive.read_bytes()))
    document["entries"]["a"]["user"] = "x"
    archive.write_bytes(lz4.frame.compress(dsg_documents.render(document)))
    assert found(root, 2) == [(".dsg/archive", "s1")]


def test_an_archive_with_other_bytes_than_the_manifest_is_found_if_that_was_read(
    root: Path,
) -> None:
    archive = root / ".dsg" / "archive" / "s1-sync.json.lz4"
    documents = Documents()
    write_documents(root, 1)
    assert documents.read(str(root), 1).discrepancies == []
    write_documents(root, 2)
    archive.write_bytes(lz4.frame.compress(lz4.frame.decompress(archive.read_bytes()) + b" "))
    assert found(root, 2) == []
    (discrepancy,) = documents.read(str(root), 2).discrepancies
    assert (discrepancy.path, discrepancy.target) == (".dsg/archive", "different bytes")


def test_what_was_right_before_is_still_compared_with_hash_and_count(root: Path) -> None:
    documents = Documents()
    write_documents(root, 1)
    assert documents.read(str(root), 1).discrepancies == []
    edit(root / ".dsg" / "last-sync.json", lambda one: one["entries"].pop("a"))
    attributes = {one.attribute for one in documents.read(str(root), 1).discrepancies}
    assert attributes == {"entries_hash", "entry_count"}


def test_what_was_wrong_before_is_found_again(root: Path) -> None:
    def turn(entries: Document) -> None:
        entries["a"] = dict(reversed(entries["a"].items()))

    documents = Documents()
    write_documents(root, 1, change=turn)
    for _ in range(2):
        (discrepancy,) = documents.read(str(root), 1).discrepancies
        assert discrepancy.attribute == "manifest entry"


def test_an_archive_with_other_metadata_than_the_messages_is_found(root: Path) -> None:
    write_documents(root, 2)
    wrong = orjson.dumps({"entries": {}, "metadata": {"snapshot_id": "s1"}})
    (root / ".dsg" / "archive" / "s1-sync.json.lz4").write_bytes(lz4.frame.compress(wrong))
    assert found(root, 2) == [(".dsg/archive", "s1")]


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"no frame", lz4.frame.compress(b"{}")[:-3], lz4.frame.compress(b"[]")),
        *(lz4.frame.compress(b"{}") + tail for tail in (b"x", lz4.frame.compress(b"{}"))),
    ],
)
def test_an_archive_that_cannot_be_read_is_a_discrepancy(root: Path, content: bytes) -> None:
    write_documents(root, 2)
    (root / ".dsg" / "archive" / "s1-sync.json.lz4").write_bytes(content)
    assert found(root, 2) == [(".dsg", "metadata")]


def test_an_archive_with_another_entry_than_its_metadata_covers_is_found(root: Path) -> None:
    write_documents(root, 2)
    archive = root / ".dsg" / "archive" / "s1-sync.json.lz4"
    document = orjson.loads(lz4.frame.decompress(archive.read_bytes()))
    document["entries"]["a"]["hash"] = "0" * 16
    archive.write_bytes(lz4.frame.compress(orjson.dumps(document)))
    assert (".dsg/archive", "s1") in found(root, 2)


@pytest.mark.parametrize("name", ["last-sync.json", "sync-messages.json", "archive"])
def test_a_missing_document_is_a_discrepancy_and_no_error(root: Path, name: str) -> None:
    write_documents(root, 1)
    os.rename(root / ".dsg" / name, root / ".dsg" / "elsewhere")
    assert found(root, 1) == [(".dsg", "metadata")]


@pytest.mark.parametrize("name", ["last-sync.json", "sync-messages.json"])
@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"\xff", b"null", b"7", b"[]", b"{}", b"[" * 100_000),
        *(b'{"entries": [], "metadata": {}}', b'{"entries": {"a": 7}, "metadata": {}}'),
        *(b'{"entries": {"a": {}}, "metadata": {}}', b'{"snapshots": {"s1": 7}}'),
        *(b'{"snapshots": 7}', b'{"entries": {"a": {"type": [], "path": "a"}}, "metadata": {}}'),
    ],
)
def test_a_document_that_is_nonsense_is_a_discrepancy_and_no_error(
    root: Path, name: str, content: bytes
) -> None:
    write_documents(root, 1)
    (root / ".dsg" / name).write_bytes(content)
    assert found(root, 1) != []


@pytest.mark.parametrize("name", ["last-sync.json", "sync-messages.json"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_pipe_or_a_link_in_place_of_a_document_is_a_discrepancy_and_does_not_hang(
    root: Path, name: str, make: Callable[[Path], None]
) -> None:
    write_documents(root, 1)
    (root / ".dsg" / name).unlink()
    make(root / ".dsg" / name)
    assert found(root, 1) == [(".dsg", "metadata")]


def test_half_a_surrogate_can_stand_in_json_but_is_no_path(root: Path) -> None:
    write_documents(root, 1)
    path = root / ".dsg" / "last-sync.json"
    path.write_bytes(re.sub(rb'"a": ?\{', rb'"\\ud800":{', path.read_bytes()))
    view = Documents().read(str(root), 1)
    assert [one.attribute for one in view.discrepancies] == ["metadata"]
    assert len(view.listing) == 0


# What DSG's own client writes.


def rewrite(path: Path, change: Callable[[Document], None]) -> None:
    """Change an archived manifest, laid out as DSG's client does."""
    document = orjson.loads(lz4.frame.decompress(path.read_bytes()))
    change(document)
    laid_out = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    path.write_bytes(lz4.frame.compress(laid_out))


def test_an_archive_in_another_layout_with_keys_that_are_null_says_the_same(root: Path) -> None:
    write_documents(root, 2)
    before = read_archived(str(root / ".dsg/archive/s1-sync.json.lz4")).identity
    rewrite(
        root / ".dsg/archive/s1-sync.json.lz4",
        lambda one: one["metadata"].update(project_config=None),
    )
    assert found(root, 2) == []
    assert read_archived(str(root / ".dsg/archive/s1-sync.json.lz4")).identity == before


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["metadata"].update(created_by="x"),
        lambda one: one["entries"]["a"].update(user="x"),
        lambda one: one["entries"].update({"b": one["entries"].pop("a")}),
        lambda one: one.update(entries=dict(reversed(one["entries"].items()))),
    ],
)
def test_a_manifest_with_other_content_has_another_identity(
    root: Path, change: Callable[[Document], None]
) -> None:
    write_documents(root, 2)
    path = root / ".dsg/archive/s1-sync.json.lz4"
    before = read_archived(str(path)).identity
    rewrite(path, change)
    assert read_archived(str(path)).identity != before


@pytest.mark.parametrize(("written", "expected"), [("ünï", []), ("x", [(".dsg", "chain at s1")])])
def test_the_configuration_that_newer_clients_note_is_part_of_the_chain(
    root: Path, written: str, expected: list[tuple[str, str]]
) -> None:
    def note(metadata: Document) -> None:
        config = {"name": "ünï", "data_dirs": ["b", "a"], "ignore": {"z": 1, "a": None}}
        chained = metadata["entries_hash"] + metadata["snapshot_message"]
        chained += orjson.dumps(config, option=orjson.OPT_SORT_KEYS).decode()
        metadata["snapshot_hash"] = xxhash.xxh3_64_hexdigest(chained.encode())
        metadata["project_config"] = config | {"name": written}

    write_documents(root, 1)
    edit(root / ".dsg/last-sync.json", lambda one: note(one["metadata"]))
    edit(root / ".dsg/sync-messages.json", lambda one: note(one["snapshots"]["s1"]))
    assert found(root, 1) == expected
