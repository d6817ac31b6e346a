"""What a step leaves open when it fails, and which scopes it reads."""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsgmigd.dsg.push_line import Push
from dsgmigd.dsg.scope import Scope
from dsgmigd.errors import CommandFailed, SourceUnreadable
from dsgmigd.host.command import Commands
from dsgmigd.host.hashing import hash_bytes
from dsgmigd.migration import snapshot_writer
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.snapshot_writer import SnapshotWriter
from dsgmigd.names import SnapshotName
from dsgmigd.source import btrfs_send
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.target.capabilities import Capabilities
from tests.unit.send_streams import Pieces, stream_bytes

PUSH = Push("user", 0.0, "message")
EMPTY: list[tuple[int, Pieces]] = [(1, {15: b"s1", 1: bytes(16), 2: bytes(8)}), (21, {})]


def held(root: Path, number: int) -> HeldSnapshot:
    path = root / f"s{number}"
    path.mkdir(exist_ok=True)
    return HeldSnapshot(
        SnapshotName(number), str(path), "uuid", 1, 0.0, is_sendable=True, is_pinned=True
    )


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SnapshotWriter]:
    (tmp_path / "staging").mkdir()
    writer = SnapshotWriter(
        str(tmp_path / "staging"),
        commands=Commands(),
        capabilities=Capabilities(),
        allowed=(),
        send_protocol=1,
        progress=Progress(),
    )
    yield writer
    writer.close()


def test_a_stream_that_never_comes_leaves_the_staging_directory_closed(
    tmp_path: Path, writer: SnapshotWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor left open there would keep the dataset busy."""
    monkeypatch.setattr(btrfs_send, "send_command", lambda *_: ["/nowhere/btrfs"])
    before = os.listdir("/proc/self/fd")

    with pytest.raises(CommandFailed, match="nowhere/btrfs"):
        writer.write(held(tmp_path, 2), None, PUSH, is_sent=True)

    assert os.listdir("/proc/self/fd") == before


def test_no_descriptor_is_left_open_when_the_parent_is_not_there(
    tmp_path: Path, writer: SnapshotWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(btrfs_send, "send_command", lambda *_: ["cat", "/dev/zero"])
    parent = held(tmp_path, 1)
    Path(parent.path).rmdir()
    before = os.listdir("/proc/self/fd")

    with pytest.raises(SourceUnreadable, match="opening"):
        writer.write(held(tmp_path, 2), parent, PUSH, is_sent=True)

    assert os.listdir("/proc/self/fd") == before


def test_the_scope_of_each_snapshot_is_read_once(
    tmp_path: Path, writer: SnapshotWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stream").write_bytes(stream_bytes(EMPTY))
    monkeypatch.setattr(btrfs_send, "send_command", lambda *_: ["cat", str(tmp_path / "stream")])
    asked: list[str] = []

    def read_scope(root: str) -> Scope:
        asked.append(os.path.basename(root))
        return Scope()

    monkeypatch.setattr(snapshot_writer, "read_scope", read_scope)
    parent = None
    for number in (1, 2, 3):
        step = held(tmp_path, number)
        writer.write(step, parent, PUSH, is_sent=True)
        parent = step

    assert asked == ["s1", "s2", "s3"]


def test_a_new_file_whose_content_came_in_the_stream_is_not_read_in_the_source(
    tmp_path: Path, writer: SnapshotWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source does not even have it; the entry comes from the stream alone."""
    time = struct.pack("<qI", 1_399_483_646, 5)
    new: list[tuple[int, Pieces]] = [
        (3, {15: b"o257-7-0"}),
        (9, {15: b"o257-7-0", 16: b"f"}),
        (15, {15: b"f", 18: bytes(8), 19: b"content"}),
        (20, {15: b"f", 10: time, 11: time}),
    ]
    (tmp_path / "stream").write_bytes(stream_bytes([EMPTY[0], *new, EMPTY[1]]))
    monkeypatch.setattr(btrfs_send, "send_command", lambda *_: ["cat", str(tmp_path / "stream")])

    written = writer.write(held(tmp_path, 1), None, PUSH, is_sent=True)

    assert written.files_hashed == 1
    manifest = json.loads((tmp_path / "staging/.dsg/last-sync.json").read_bytes())
    assert manifest["entries"] == {
        "f": {
            "type": "file",
            "path": "f",
            "user": "user",
            "filesize": 7,
            "mtime": "2014-05-07T10:27:26-07:00",
            "hash": hash_bytes(b"content"),
        }
    }
