"""Files and links against their entries in the manifest."""

import os
import shutil
from collections.abc import Callable

import pytest

from dsgmigd.host.hashing import hash_bytes
from tests.unit.verification.metadata.dsg_documents import Document, write_documents
from tests.unit.verification.snapshot_pair import World


def spoil(world: World, change: Callable[[Document], None]) -> set[tuple[str, str]]:
    write_documents(world.target, 1, change=change)
    return world.found()


@pytest.mark.parametrize(
    ("key", "value"), [("hash", "0" * 16), ("filesize", 8), ("type", "link"), ("hash", None)]
)
def test_an_entry_that_does_not_match_the_file_is_found(
    world: World, key: str, value: object
) -> None:
    found = spoil(world, lambda entries: entries["a.txt"].update({key: value}))
    assert ("a.txt", "manifest entry") in found


def test_a_links_entry_that_points_elsewhere_is_found(world: World) -> None:
    found = spoil(world, lambda entries: entries["d/link"].update(reference="x"))
    assert found == {("d/link", "manifest reference")}


@pytest.mark.parametrize("name", ["a.txt", "d/link", "h1", "d/HEAD", "ünï\nline"])
def test_a_file_or_link_without_an_entry_is_found(world: World, name: str) -> None:
    assert spoil(world, lambda entries: entries.pop(name)) == {(name, "manifest")}


@pytest.mark.parametrize("name", ["absent", "d/e/absent", "d", "pipe"])
def test_an_entry_without_a_file_is_found(world: World, name: str) -> None:
    def add(entries: Document) -> None:
        entries[name] = {**entries["a.txt"], "path": name}

    assert spoil(world, add) == {(name, "manifest")}


@pytest.mark.parametrize("name", ["d/.hidden", "absolute"])
def test_an_entry_for_a_path_that_is_never_listed_is_found(world: World, name: str) -> None:
    """All that it says of what is there is true."""

    def add(entries: Document) -> None:
        path = world.target / name
        entry = {**entries["a.txt"], "path": name, "filesize": 3, "hash": hash_bytes(b"hid")}
        if path.is_symlink():
            entry = {**entries["d/link"], "path": name, "reference": os.readlink(path)}
        entries[name] = entry

    assert spoil(world, add) == {(name, "manifest")}


def test_a_missing_manifest_is_a_discrepancy_of_each_file_and_of_the_documents(
    world: World,
) -> None:
    shutil.rmtree(world.target / ".dsg")
    world.copy_times()
    found = world.found()
    assert (".dsg", "metadata") in found
    assert ("a.txt", "manifest") in found
    assert ("absolute", "manifest") not in found


def test_a_manifest_whose_entries_are_nonsense_is_a_discrepancy_and_no_error(world: World) -> None:
    documents = b'{"entries": {"a.txt": 7, "d/link": 7}, "metadata": {}}'
    (world.target / ".dsg" / "last-sync.json").write_bytes(documents)
    world.copy_times()
    assert (".dsg", "metadata") in world.found()
