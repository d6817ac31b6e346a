"""What a snapshot records of earlier snapshots agrees with what they record themselves."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import orjson
import pytest

from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.metadata.chain import Chain
from dsgmigd.verification.metadata.documents import ArchivedManifest, Documents, read_archived
from dsgmigd.verification.proof import Moments
from tests.unit.verification.metadata.dsg_documents import Document, write_documents

LAST = 3


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(b"content")
    return tmp_path


def check(
    root: Path,
    spoil: Callable[[], object] = lambda: None,
    *,
    moments: Moments | None = None,
) -> list[Discrepancy]:
    """Check a chain up to s3, whose documents `spoil` may change; return what s3 shows."""
    chain = Chain()
    for number in range(1, LAST + 1):
        write_documents(root, number)
        if number == LAST:
            spoil()
        view = Documents(may_be_reformatted=True).read(str(root), number)
        found = chain.check(str(root), number, view, moments or Moments())
        assert number == LAST or found == []
    return found


def archive(root: Path, number: int) -> Path:
    return root / ".dsg" / "archive" / f"s{number}-sync.json.lz4"


def test_a_whole_chain_has_no_discrepancy(root: Path) -> None:
    assert check(root) == []


@pytest.mark.parametrize("number", [1, 2])
def test_an_archived_manifest_that_is_not_what_its_snapshot_had_is_found(
    root: Path, number: int
) -> None:
    def spoil() -> None:
        document = orjson.loads(lz4.frame.decompress(archive(root, number).read_bytes()))
        document["entries"]["a"]["user"] = "somebody"
        archive(root, number).write_bytes(lz4.frame.compress(orjson.dumps(document)))

    found = [(one.path, one.attribute) for one in check(root, spoil)]
    assert found == [(".dsg/archive", f"s{number}")]


@pytest.mark.parametrize("content", [b"", b"no frame", lz4.frame.compress(b"[]")])
def test_an_archive_that_cannot_be_read_is_a_discrepancy(root: Path, content: bytes) -> None:
    found = check(root, lambda: archive(root, 1).write_bytes(content))
    assert [one.attribute for one in found] == ["s1"]


def test_metadata_outside_the_hashes_that_changed_later_is_found(root: Path) -> None:
    path = root / ".dsg" / "sync-messages.json"

    def spoil() -> None:
        document: Document = orjson.loads(path.read_bytes())
        document["snapshots"]["s1"]["created_by"] = "somebody"
        path.write_bytes(orjson.dumps(document))

    found = check(root, spoil)
    assert [one.attribute for one in found] == ["metadata of s1 in sync-messages.json"]


@pytest.mark.parametrize("snapshots", [b"{}", b'{"s1": 7, "s2": [], "s3": null}', b"7"])
def test_messages_that_are_nonsense_are_no_error(root: Path, snapshots: bytes) -> None:
    path = root / ".dsg" / "sync-messages.json"
    assert check(root, lambda: path.write_bytes(b'{"snapshots": %b}' % snapshots)) == []


def test_a_snapshot_whose_manifest_cannot_be_read_breaks_nothing_after_it(root: Path) -> None:
    chain = Chain()
    write_documents(root, 1)
    (root / ".dsg" / "last-sync.json").write_bytes(b"{}")
    chain.check(str(root), 1, Documents(may_be_reformatted=True).read(str(root), 1), Moments())
    write_documents(root, 2)
    assert (
        chain.check(str(root), 2, Documents(may_be_reformatted=True).read(str(root), 2), Moments())
        == []
    )


def test_an_archive_that_was_right_and_was_not_touched_is_not_read_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def note(path: str, checkpoint: Callable[[], None]) -> ArchivedManifest:
        read.append(path)
        return read_archived(path, checkpoint)

    monkeypatch.setattr("dsgmigd.verification.metadata.chain.read_archived", note)
    chain = Chain()
    write_documents(root, 1)
    chain.check(str(root), 1, Documents(may_be_reformatted=True).read(str(root), 1), Moments())
    write_documents(root, 2)
    view = Documents(may_be_reformatted=True).read(str(root), 2)

    def times_read(number: int, moments: Moments) -> int:
        assert chain.check(str(root), number, view, moments) == []
        return read.count(str(archive(root, 1)))

    later = Moments(target=time.time() + 1000)
    assert [times_read(number, later) for number in (2, 3)] == [1, 1]
    os.utime(archive(root, 1))
    assert times_read(4, later) == 2
    assert times_read(5, Moments()) == 3
