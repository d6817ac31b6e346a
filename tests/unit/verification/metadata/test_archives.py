"""What stands beside the manifest: names, version, and archives that are read once."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lz4.frame
import orjson
import pytest

from dsgmigd.verification.metadata.archives import Archives
from dsgmigd.verification.metadata.documents import ManifestView, SyncMessages
from dsgmigd.verification.metadata.files import read_packed
from dsgmigd.verification.proof import Moments
from tests.unit.verification.metadata.dsg_documents import Document, write_documents

# As if the snapshots had been made long after the archives.
LATER = Moments(target=time.time() + 1000)


class World:
    """Snapshot s4 of a target, and what looks at its archives."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        (root / "a").write_bytes(b"content")
        write_documents(root, 4)
        self.archives = Archives(reads_all=False)
        self.read: list[str] = []

        def noted(path: str, checkpoint: Callable[[], None]) -> Iterator[bytes]:
            self.read.append(os.path.basename(path).partition("-")[0])
            return read_packed(path, checkpoint)

        monkeypatch.setattr("dsgmigd.verification.metadata.archives.read_packed", noted)

    def check(
        self,
        moments: Moments = LATER,
        *,
        is_newest_right: bool = False,
        reads_none: bool = False,
    ) -> list[tuple[str, str]]:
        self.read.clear()
        view = ManifestView(SyncMessages(str(self.root / ".dsg")))
        found = self.archives.check(
            str(self.root), 4, view, moments, is_newest_right=is_newest_right, reads_none=reads_none
        )
        return [(one.path, one.attribute) for one in found]

    def archive(self, name: str) -> Path:
        return self.root / ".dsg" / "archive" / f"{name}-sync.json.lz4"

    def spoil(self, name: str) -> None:
        """Change the entries in an archive and put its time back; the metadata stays."""
        path = self.archive(name)
        status = path.stat()
        document = orjson.loads(lz4.frame.decompress(path.read_bytes()))
        document["entries"]["a"]["filesize"] += 1
        path.write_bytes(lz4.frame.compress(orjson.dumps(document)))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def edit_messages(self, change: Callable[[Document], object]) -> None:
        path = self.root / ".dsg" / "sync-messages.json"
        document = orjson.loads(path.read_bytes())
        change(document)
        path.write_bytes(orjson.dumps(document))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_right_archives_have_no_discrepancy_and_are_read_once(world: World) -> None:
    assert world.check() == []
    assert world.read == ["s1", "s2", "s3"]
    assert world.check() == []
    assert world.read == []


def test_another_name_in_the_directory_is_found(world: World) -> None:
    (world.root / ".dsg" / "extra").touch()
    assert world.check() == [(".dsg", "files")]


def test_another_version_of_the_messages_is_found(world: World) -> None:
    world.edit_messages(lambda document: document.update(metadata_version="0.1.1"))
    assert world.check() == [(".dsg", "metadata_version")]


@pytest.mark.parametrize("name", ["s1", "s2", "s3"])
def test_an_entry_that_changed_in_an_archive_is_found_at_once_and_later(
    world: World, name: str
) -> None:
    assert world.check() == []
    world.spoil(name)
    assert world.check() == [(".dsg/archive", name)]
    assert world.read == [name]
    world.archives = Archives(reads_all=False)
    assert world.check() == [(".dsg/archive", name)]


def test_an_older_message_that_is_not_the_archives_is_found(world: World) -> None:
    assert world.check() == []
    world.edit_messages(lambda document: document["snapshots"]["s1"].update(created_by="x"))
    assert world.check() == [(".dsg/archive", "s1")]


def test_a_missing_archive_is_a_discrepancy_and_no_error(world: World) -> None:
    world.archive("s2").unlink()
    assert world.check() == [(".dsg", "archives")]


@pytest.mark.parametrize("target", [None, 0.0])
def test_an_archive_that_may_have_changed_unseen_is_read_again(
    world: World, target: float | None
) -> None:
    assert world.check() == []
    assert world.check(Moments(target=target)) == []
    assert world.read == ["s1", "s2", "s3"]


def test_archives_are_always_read_when_everything_is(world: World) -> None:
    world.archives = Archives(reads_all=True)
    for _ in range(2):
        assert world.check() == []
        assert world.read == ["s1", "s2", "s3"]


def test_the_newest_archive_that_was_compared_already_is_remembered(world: World) -> None:
    world.spoil("s3")
    assert world.check(is_newest_right=True) == []
    assert world.check() == []
    world.spoil("s3")
    assert world.check() == [(".dsg/archive", "s3")]


def test_what_an_earlier_run_verified_is_remembered_as_it_is(world: World) -> None:
    assert world.check(reads_none=True) == []
    assert world.read == ["s3"]
    assert world.check() == []
    assert world.read == []
    assert world.check(Moments(target=0.0)) == []
    assert world.read == ["s1", "s2", "s3"]
    world.spoil("s1")
    assert world.check() == [(".dsg/archive", "s1")]
