"""The history of a dataset, from documents that the writer and DSG's client wrote."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lz4.frame
import orjson
import pytest

from dsgmigd.errors import MetadataDamaged, PathUnknown, TargetUnwritable
from dsgmigd.maintenance.history import History
from tests.unit.dsg_series import write_series
from tests.unit.failing import failing

TREES = (
    {"a": "1", "data/b": "b"},
    {"a": "2", "data/b": "b", "c": "c"},
    {"moved": "2", "c": "c"},
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_series(tmp_path, *TREES)
    return tmp_path


def counts(history: History) -> list[tuple[Any, ...]]:
    keys = ("snapshot", "added", "modified", "renamed", "deleted")
    return [tuple(row[key] for key in keys) for row in history.log()]


def test_the_log_begins_with_the_newest_snapshot(root: Path) -> None:
    history = History(str(root), 3)
    assert counts(history) == [("s3", 0, 0, 1, 1), ("s2", 1, 1, 0, 0), ("s1", 2, 0, 0, 0)]
    newest = history.log()[0]
    del newest["added"], newest["modified"], newest["renamed"], newest["deleted"]
    assert newest == {
        "snapshot": "s3",
        "created_at": "2014-05-07T10:27:29-07:00",
        "created_by": "user3",
        "message": "message 3",
    }


@pytest.mark.parametrize("path", ["moved", "./a", "data/../a", "a/"])
def test_blame_says_who_changed_a_path_the_oldest_first(root: Path, path: str) -> None:
    events = History(str(root), 3).blame(path)
    keys = ("snapshot", "created_by", "message", "what", "path", "path_before")
    assert [tuple(event[key] for key in keys) for event in events] == [
        ("s1", "user1", "message 1", "added", "a", None),
        ("s2", "user2", "message 2", "modified", "a", None),
        ("s3", "user3", "message 3", "renamed", "moved", "a"),
    ]
    assert events[1]["created_at"] == "2014-05-07T10:27:28-07:00"


@pytest.mark.parametrize("path", ["b", "data", "", "/a", "a\udcff", ".dsg/last-sync.json"])
def test_a_path_without_an_entry_is_an_error_that_names_it(root: Path, path: str) -> None:
    with pytest.raises(PathUnknown, match="no manifest has an entry"):
        History(str(root), 3).blame(path)


def client_layout(path: Path) -> None:
    """Lay an archive out as DSG's client does: indented, entries not sorted."""
    document = orjson.loads(lz4.frame.decompress(path.read_bytes()))
    document["metadata"]["project_config"] = None
    path.write_bytes(lz4.frame.compress(orjson.dumps(document, option=orjson.OPT_INDENT_2)))


def test_an_archive_in_another_layout_gives_the_same_history(root: Path) -> None:
    before = History(str(root), 3).log()
    client_layout(root / ".dsg/archive/s2-sync.json.lz4")
    assert History(str(root), 3).log() == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lie(path: Path) -> None:
    """Say that another user pushed a file: entries no longer hash to what they did."""
    document = orjson.loads(lz4.frame.decompress(path.read_bytes()))
    document["entries"]["c"]["user"] = "another"
    path.write_bytes(lz4.frame.compress(orjson.dumps(document)))


def lie_of_metadata(path: Path) -> None:
    document = orjson.loads(lz4.frame.decompress(path.read_bytes()))
    document["metadata"]["created_by"] = "another"
    path.write_bytes(lz4.frame.compress(orjson.dumps(document)))


def link(path: Path) -> None:
    kept = path.rename(path.with_name("kept"))
    path.symlink_to(kept)


@pytest.mark.parametrize("damage", [cut, flip, lie, lie_of_metadata, link, Path.unlink])
def test_a_damaged_archive_is_named(root: Path, damage: Callable[[Path], None]) -> None:
    damage(root / ".dsg/archive/s2-sync.json.lz4")
    history = History(str(root), 3)
    for ask in (history.log, history.check, lambda: history.blame("a")):
        with pytest.raises(
            MetadataDamaged, match=r"\.dsg/archive/s2-sync\.json\.lz4 in snapshot s3"
        ):
            ask()


@pytest.mark.parametrize("damage", [cut, link, Path.unlink])
def test_a_damaged_manifest_is_named(root: Path, damage: Callable[[Path], None]) -> None:
    damage(root / ".dsg/last-sync.json")
    with pytest.raises(MetadataDamaged, match=r"\.dsg/last-sync\.json in snapshot s3"):
        History(str(root), 3).check()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"snapshots": 7}', b'{"snapshots": {"s1": {}}}', b"\xff"]
)
def test_damaged_messages_are_named(root: Path, content: bytes) -> None:
    (root / ".dsg/sync-messages.json").write_bytes(content)
    with pytest.raises(MetadataDamaged, match=r"\.dsg/sync-messages\.json"):
        History(str(root), 3)


def test_messages_of_another_snapshot_are_damage(root: Path) -> None:
    for last in (2, 4):
        with pytest.raises(MetadataDamaged, match=f"does not describe s1 … s{last}"):
            History(str(root), last)


def test_messages_that_lack_a_snapshot_are_damage(root: Path) -> None:
    path = root / ".dsg/sync-messages.json"
    document = orjson.loads(path.read_bytes())
    document["snapshots"]["s2"] = []
    path.write_bytes(orjson.dumps(document))
    with pytest.raises(MetadataDamaged, match="does not describe"):
        History(str(root), 3)


def test_a_failing_pool_is_not_taken_for_damage(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(str(root), 3)
    monkeypatch.setattr("dsgmigd.maintenance.history.read_packed", failing(errno.EIO))
    with pytest.raises(TargetUnwritable, match=r"reading \.dsg/last-sync\.json in snapshot s3"):
        history.check()
