"""The stream that is prepared while other things are done."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsgmigd.abilities import Abilities
from dsgmigd.command import Commands
from dsgmigd.dsg.pushlog import Push
from dsgmigd.errors import CommandFailed
from dsgmigd.names import SnapshotName
from dsgmigd.progress import Progress
from dsgmigd.source import HeldSnapshot
from dsgmigd.step import SnapshotWriter


def held(number: int) -> HeldSnapshot:
    return HeldSnapshot(
        SnapshotName(number), "/nowhere", "uuid", 1, 0.0, is_sendable=True, is_pinned=True
    )


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SnapshotWriter]:
    writer = SnapshotWriter(
        str(tmp_path),
        commands=Commands(),
        abilities=Abilities(),
        allowed=(),
        send_protocol=None,
        progress=Progress(),
    )
    yield writer
    writer.close()


def children() -> set[str]:
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return set(found)


def test_a_stream_that_nobody_reads_is_ended(
    writer: SnapshotWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_send_command", lambda *_: ["cat", "/dev/zero"])
    before = children()

    writer.begin(held(2), held(1))
    assert len(children() - before) == 1
    writer.begin(held(3), held(2))
    assert len(children() - before) == 1
    writer.close()

    assert children() == before


def test_a_stream_that_failed_while_nobody_looked_fails_when_it_is_wanted(
    writer: SnapshotWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sh", "-c", "echo cannot send >&2; exit 3"]
    monkeypatch.setattr(writer, "_send_command", lambda *_: words)
    writer.begin(held(2), held(1))

    with pytest.raises(CommandFailed, match="cannot send"):
        writer.write(held(2), None, Push("user", 0.0, "message"), is_sent=True)


def test_a_stream_that_was_begun_for_another_snapshot_is_not_taken(
    writer: SnapshotWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_send_command", lambda *_: ["sh", "-c", "exit 3"])
    writer.begin(held(2), held(1))
    monkeypatch.setattr(writer, "_send_command", lambda *_: ["sh", "-c", "exit 4"])

    with pytest.raises(CommandFailed, match="status 4"):
        writer.write(held(3), None, Push("user", 0.0, "message"), is_sent=True)


def test_a_stream_that_never_comes_leaves_the_staging_directory_closed(
    writer: SnapshotWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor left open there would keep the dataset busy."""
    monkeypatch.setattr(writer, "_send_command", lambda *_: ["/nowhere/btrfs"])
    before = os.listdir("/proc/self/fd")

    with pytest.raises(CommandFailed, match="nowhere/btrfs"):
        writer.write(held(2), None, Push("user", 0.0, "message"), is_sent=True)

    assert os.listdir("/proc/self/fd") == before
