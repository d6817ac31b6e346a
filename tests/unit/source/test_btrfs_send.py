"""The send stream that is started ahead of its reader."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsgmigd.errors import CommandFailed
from dsgmigd.host.command import Commands, Pipe
from dsgmigd.names import SnapshotName
from dsgmigd.source import btrfs_send
from dsgmigd.source.btrfs_send import SendProtocol, SendStreams, choose_protocol, send_command
from dsgmigd.source.repository import HeldSnapshot


def held(number: int) -> HeldSnapshot:
    return HeldSnapshot(
        SnapshotName(number), f"/pins/s{number}", "uuid", 1, 0.0, is_sendable=True, is_pinned=True
    )


class KeptPipes(Commands):
    """Keeps every pipe: Python kills the program of one that is collected as garbage."""

    def __init__(self) -> None:
        super().__init__()
        self.pipes: list[Pipe] = []

    def pipe(self, *argv: str) -> Pipe:
        """Start a program, and keep its pipe."""
        self.pipes.append(super().pipe(*argv))
        return self.pipes[-1]


@pytest.fixture
def streams() -> Iterator[SendStreams]:
    streams = SendStreams(KeptPipes(), None)
    yield streams
    streams.close()


def send_with(monkeypatch: pytest.MonkeyPatch, *argv: str) -> None:
    """Let another program stand in for `btrfs send`."""
    monkeypatch.setattr(btrfs_send, "send_command", lambda *_: list(argv))


def children() -> set[str]:
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return set(found)


def test_the_changes_to_the_parent_are_sent_or_everything_if_there_is_none() -> None:
    start = ["btrfs", "send", "-q", "--proto", "2"]
    assert send_command(held(2), held(1), 2) == [*start, "-p", "/pins/s1", "/pins/s2"]
    assert send_command(held(1), None, 2) == [*start, "/pins/s1"]


def test_data_that_is_compressed_is_left_so_if_that_is_the_protocol() -> None:
    assert send_command(held(1), None, "compressed") == (
        ["btrfs", "send", "-q", "--proto", "2", "--compressed-data", "/pins/s1"]
    )


@pytest.mark.parametrize(
    ("wanted", "newest", "protocol"),
    [
        *((None, 1, 1), (None, 2, 2), (None, 3, 2)),
        *((1, 1, 1), (1, 3, 1), (2, 2, 2)),
        *(("compressed", 1, 1), ("compressed", 2, "compressed")),
        (2, 1, 2),  # btrfs send says why it cannot
    ],
)
def test_the_protocol_is_what_was_asked_for_if_the_kernel_has_it(
    wanted: SendProtocol | None, newest: int, protocol: SendProtocol
) -> None:
    assert choose_protocol(wanted, newest) == protocol


def test_a_prefetched_stream_that_is_not_used_is_killed(
    streams: SendStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_with(monkeypatch, "cat", "/dev/zero")
    before = children(), os.listdir("/proc/self/fd")

    streams.prefetch(held(2), held(1))
    assert len(children() - before[0]) == 1
    streams.prefetch(held(3), held(2))
    assert len(children() - before[0]) == 1
    streams.close()

    assert (children(), os.listdir("/proc/self/fd")) == before


def test_a_prefetched_stream_is_read_by_the_step_that_it_was_started_for(
    streams: SendStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_with(monkeypatch, "echo", "prefetched")
    streams.prefetch(held(2), held(1))
    send_with(monkeypatch, "echo", "new")

    with streams.start(held(2), held(1)) as stream:
        assert stream.read() == b"prefetched\n"
    with streams.start(held(2), held(1)) as stream:
        assert stream.read() == b"new\n"


def test_the_failure_of_a_prefetched_stream_is_raised_to_its_reader(
    streams: SendStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_with(monkeypatch, "sh", "-c", "echo cannot send >&2; exit 3")
    streams.prefetch(held(2), held(1))

    with (
        pytest.raises(CommandFailed, match="cannot send"),
        streams.start(held(2), held(1)) as stream,
    ):
        assert stream.read() == b""


def test_a_stream_that_was_prefetched_for_another_snapshot_is_killed_and_not_used(
    streams: SendStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_with(monkeypatch, "cat", "/dev/zero")
    before = children()
    streams.prefetch(held(2), held(1))
    send_with(monkeypatch, "echo", "s3")

    with streams.start(held(3), None) as stream:
        assert stream.read() == b"s3\n"

    assert children() == before
