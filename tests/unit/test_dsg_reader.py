"""The independent reader refuses what is not DSG's format, or it would prove nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import orjson
import pytest

from tests.dsg_reader import NotDsg, Repository, digest_of
from tests.unit.verification.metadata.dsg_documents import Document, write_documents

TAG = {
    "tag_id": "v1",
    "snapshot_id": "s1",
    "tag_message": "m",
    "created_by": "ana",
    "created_at": "2014-05-07T10:27:26-07:00",
}


@pytest.fixture
def trees(tmp_path: Path) -> list[Path]:
    """The snapshots s1 and s2 of a repository."""
    first, second = tmp_path / "s1", tmp_path / "s2"
    (first / "data").mkdir(parents=True)
    for name in ("a", "data/b", ".hidden"):
        (first / name).write_text(name)
    (first / "data/link").symlink_to("../a")
    (first / "data/out").symlink_to("/etc/passwd")
    write_documents(first, 1)
    shutil.copytree(first, second, symlinks=True)
    (second / "a").write_text("changed")
    write_documents(second, 2)
    tags = {"metadata_version": "0.1.0", "tags": [TAG]}
    (second / ".dsg/tag-messages.json").write_bytes(orjson.dumps(tags))
    return [first, second]


def read(trees: list[Path]) -> list[list[str]]:
    repository = Repository()
    return [list(repository.take(tree).entries) for tree in trees]


def test_a_right_repository_is_read(trees: list[Path]) -> None:
    assert read(trees) == [["a", "data/b", "data/link"]] * 2


def edit(name: str, change: Callable[[Document], object]) -> Callable[[Path], None]:
    def spoil(tree: Path) -> None:
        path = tree / ".dsg" / name
        document = orjson.loads(path.read_bytes())
        change(document)
        path.write_bytes(orjson.dumps(document))

    return spoil


def in_agreement(change: Callable[[Document], object]) -> Callable[[Path], None]:
    """Change the entries, and make the hashes and counts fit."""

    def rewrite(tree: Path) -> None:
        path = tree / ".dsg" / "last-sync.json"
        document = orjson.loads(path.read_bytes())
        entries, metadata = document["entries"], document["metadata"]
        change(entries)
        metadata["entry_count"] = len(entries)
        metadata["entries_hash"] = digest_of(b"".join(map(orjson.dumps, entries.values())))
        messages = orjson.loads((tree / ".dsg/sync-messages.json").read_bytes())
        before = messages["snapshots"]["s1"]["snapshot_hash"]
        chained = metadata["entries_hash"] + metadata["snapshot_message"] + before
        metadata["snapshot_hash"] = digest_of(chained.encode())
        messages["snapshots"]["s2"] = metadata
        path.write_bytes(orjson.dumps(document))
        (tree / ".dsg/sync-messages.json").write_bytes(orjson.dumps(messages))

    return rewrite


def archive_again(tree: Path) -> None:
    """The same document in another layout, as a right frame."""
    path = tree / ".dsg/archive/s1-sync.json.lz4"
    document = orjson.loads(lz4.frame.decompress(path.read_bytes()))
    path.write_bytes(lz4.frame.compress(orjson.dumps(document)))


def reverse(entries: Document) -> None:
    turned = dict(reversed(entries.items()))
    entries.clear()
    entries.update(turned)


def test_entries_that_are_rewritten_as_they_were_are_right(trees: list[Path]) -> None:
    in_agreement(lambda _: None)(trees[1])
    read(trees)


@pytest.mark.parametrize(
    "spoil",
    [
        in_agreement(lambda entries: entries["a"].update(user="ana")),
        in_agreement(lambda entries: entries["a"].update(filesize=8)),
        in_agreement(lambda entries: entries["a"].update(filesize=7.0)),
        in_agreement(lambda entries: entries["a"].update(hash="0" * 16)),
        in_agreement(lambda entries: entries["a"].update(hash=entries["a"]["hash"].upper() + "0")),
        in_agreement(lambda entries: entries["a"].update(mtime="2014-05-07T10:27:26-07:00")),
        in_agreement(lambda entries: entries["a"].update(path=entries["a"].pop("path"))),
        in_agreement(lambda entries: entries["data/b"].update(user="ana")),
        in_agreement(lambda entries: entries["data/link"].update(reference="../b")),
        in_agreement(lambda entries: entries.pop("a")),
        in_agreement(lambda entries: entries.update(b={**entries["a"], "path": "b"})),
        in_agreement(reverse),
        edit("last-sync.json", lambda manifest: manifest["metadata"].update(entry_count=4)),
        edit("last-sync.json", lambda manifest: manifest["metadata"].update(created_by="ana")),
        edit("last-sync.json", lambda manifest: manifest.update(more=1)),
        edit("sync-messages.json", lambda messages: messages.update(metadata_version="1")),
        edit("sync-messages.json", lambda messages: messages["snapshots"].pop("s1")),
        edit("sync-messages.json", lambda one: one["snapshots"]["s1"].update(created_by="x")),
        edit("tag-messages.json", lambda tags: tags["tags"][0].update(snapshot_id="s3")),
        edit("tag-messages.json", lambda tags: tags["tags"][0].update(created_at="2014-05-07")),
        lambda tree: (tree / ".dsg/archive/s1-sync.json.lz4").unlink(),
        lambda tree: (tree / ".dsg/archive/s2-sync.json.lz4").touch(),
        archive_again,
        lambda tree: (tree / "new").touch(),
        lambda tree: (tree / "data/b").unlink(),
        in_agreement(lambda entries: entries.update(**{".hidden": {**entries["a"]}})),
        lambda tree: (tree / "HEAD").symlink_to("a"),
        lambda tree: (tree / ".dsg").chmod(0o700),
        lambda tree: (tree / ".dsg/last-sync.json").chmod(0o600),
    ],
)
def test_whatever_is_not_as_the_format_says_is_refused(
    trees: list[Path], spoil: Callable[[Path], object]
) -> None:
    spoil(trees[1])
    with pytest.raises(NotDsg):
        read(trees)


def test_an_archive_that_is_written_again_is_refused(trees: list[Path]) -> None:
    repository = Repository()
    repository.take(trees[0])
    repository.archives["s1-sync.json.lz4"] = (0, 0)  # as if an earlier snapshot had another
    with pytest.raises(NotDsg, match="written again"):
        repository.take(trees[1])
