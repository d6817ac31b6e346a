"""Log records: what journald receives, what a terminal sees, and what happens without journald."""

import array
import fcntl
import io
import os
import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from dsgmigd.service import journal
from dsgmigd.service.journal import (
    JournalSink,
    LineSink,
    configure_logging,
    flush_journal,
    is_journal_stream,
    logging_to_journal,
)
from dsgmigd.service.journal_record import encode_record, message_id, render_line
from tests.unit.service.journal_records import decode_record


@pytest.fixture(autouse=True)
def _restored_configuration() -> Iterator[None]:
    yield
    factory = structlog.get_config()["logger_factory"]
    if isinstance(factory, JournalSink):
        factory.close()
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Journald:
    """A native journal socket that a test can stop, freeze (by not reading) and read."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.start()

    def start(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(0)

    def stop(self) -> None:
        self._socket.close()

    def remove_socket(self) -> None:
        self.stop()
        os.unlink(self.path)

    def raw(self) -> tuple[bytes, list[int]]:
        room = socket.CMSG_SPACE(struct.calcsize("i"))
        data, rights, _, _ = self._socket.recvmsg(1 << 20, room)
        descriptors = array.array("i")
        for _, _, packed in rights:
            descriptors.frombytes(packed)
        return data, list(descriptors)

    def records(self) -> list[dict[str, bytes]]:
        """Everything that has arrived since the last call."""
        received: list[dict[str, bytes]] = []
        while True:
            try:
                data, descriptors = self.raw()
            except BlockingIOError:
                return received
            assert not descriptors
            received.append(decode_record(data))

    def messages(self) -> list[bytes]:
        return [record["MESSAGE"] for record in self.records()]


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    daemon = Journald(tmp_path / "socket")
    yield daemon
    daemon.stop()


@pytest.fixture
def sink(journald: Journald) -> Iterator[JournalSink]:
    sink = JournalSink(journald.path, capacity=3)
    yield sink
    sink.close()


def record(message: str) -> bytes:
    return encode_record({"MESSAGE": message})


def rest(sink: JournalSink, journald: Journald) -> list[bytes]:
    """Everything that waits in the sink, and what the socket's queue holds."""
    received: list[bytes] = []
    sink.flush()
    while more := journald.messages():
        received += more
        sink.flush()
    return received


def pretend_journal_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")


class TestSink:
    def test_record_arrives(self, journald: Journald, sink: JournalSink) -> None:
        sink.msg(record("one"))
        assert journald.messages() == [b"one"]

    def test_long_record_arrives_in_a_sealed_memory_file(
        self, journald: Journald, sink: JournalSink
    ) -> None:
        long = record("x" * (1 << 22))
        sink.msg(long)
        data, (descriptor,) = journald.raw()
        with open(descriptor, "rb") as file:
            file.seek(0)
            assert (data, file.read()) == (b"", long)
            seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
        assert seals & fcntl.F_SEAL_WRITE
        assert seals & fcntl.F_SEAL_SEAL

    @pytest.mark.parametrize("stop", [Journald.stop, Journald.remove_socket])
    def test_records_wait_in_order_for_a_stopped_journald(
        self, journald: Journald, sink: JournalSink, stop: Any
    ) -> None:
        stop(journald)
        sink.msg(record("one"))
        sink.msg(record("two"))
        Path(journald.path).unlink(missing_ok=True)
        journald.start()
        sink.msg(record("three"))
        assert journald.messages() == [b"one", b"two", b"three"]

    def test_records_wait_for_a_frozen_journald(self, journald: Journald, tmp_path: Path) -> None:
        sink = JournalSink(str(tmp_path / "socket"))
        sent = [str(number).encode() for number in range(900)]
        for number in sent:
            sink.msg(record(number.decode()))
        received = journald.messages()
        assert 0 < len(received) < len(sent)
        received += rest(sink, journald)
        sink.close()
        assert received == sent

    def test_losses_are_counted_and_told_before_what_was_kept(
        self, journald: Journald, sink: JournalSink
    ) -> None:
        journald.remove_socket()
        for number in range(8):
            sink.msg(record(str(number)))
        journald.start()
        sink.flush()
        told, *kept = journald.records()
        assert told["DSGMIGD_EVENT"] == b"journal.dropped"
        assert told["DSGMIGD_DROPPED"] == b"5"
        assert told["MESSAGE_ID"] == message_id("journal.dropped").encode()
        assert [one["MESSAGE"] for one in kept] == [b"5", b"6", b"7"]

    def test_losses_are_told_once(self, journald: Journald, sink: JournalSink) -> None:
        journald.remove_socket()
        for number in range(5):
            sink.msg(record(str(number)))
        journald.start()
        sink.flush()
        journald.records()
        sink.msg(record("after"))
        assert journald.messages() == [b"after"]

    def test_record_that_cannot_be_sent_does_not_hold_up_the_next(
        self, journald: Journald, sink: JournalSink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_name: str, _flags: int) -> int:
            raise OSError(24, "too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(os, "memfd_create", refuse)
            sink.msg(record("x" * (1 << 22)))
        sink.msg(record("next"))
        told, following = journald.records()
        assert told["DSGMIGD_DROPPED"] == b"1"
        assert following["MESSAGE"] == b"next"

    def test_long_record_waits_too(self, journald: Journald, sink: JournalSink) -> None:
        journald.remove_socket()
        sink.msg(record("x" * (1 << 22)))
        journald.start()
        sink.flush()
        data, (descriptor,) = journald.raw()
        os.close(descriptor)
        assert data == b""

    def test_threads_lose_nothing(self, journald: Journald) -> None:
        sink = JournalSink(journald.path)

        def send(name: str) -> None:
            for number in range(100):
                sink.msg(record(f"{name}{number}"))

        threads = [threading.Thread(target=send, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        received: list[bytes] = []
        while any(thread.is_alive() for thread in threads):
            received += journald.messages()
        received += rest(sink, journald)
        sink.close()
        assert sorted(received) == sorted(f"{n}{i}".encode() for n in "abcd" for i in range(100))


class TestConfiguration:
    def test_stream_is_the_journal_only_if_device_and_inode_agree(self, tmp_path: Path) -> None:
        with open(tmp_path / "stream", "w") as file:
            status = os.fstat(file.fileno())
            right = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
            wrong = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}
            assert is_journal_stream(right, file.fileno())
            assert not is_journal_stream(wrong, file.fileno())
            assert not is_journal_stream({}, file.fileno())

    def test_closed_descriptor_is_no_journal(self) -> None:
        assert not is_journal_stream({"JOURNAL_STREAM": "1:1"}, 1 << 20)

    def test_under_systemd_bound_and_passed_fields_reach_journald(
        self, journald: Journald, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pretend_journal_stream(monkeypatch)
        configure_logging(instance=2, socket_path=journald.path)
        structlog.contextvars.bind_contextvars(repo="SV")
        structlog.get_logger().warning("source.skipped", path=b"\x1b[2J\n\xff", files=3)
        (received,) = journald.records()
        assert received["MESSAGE"] == (
            b'source.skipped repo=SV path="\\x1b[2J\\n\\\\xff" files=3 instance=2'
        )
        assert received["PRIORITY"] == b"4"
        assert received["DSGMIGD_PATH"] == b"\x1b[2J\n\\xff"
        assert received["DSGMIGD_INSTANCE"] == b"2"
        assert re.fullmatch(rb"\d{4}-\d\d-\d\dT[\d:.]+Z", received["DSGMIGD_TIMESTAMP"])

    @pytest.mark.parametrize(
        ("level", "priority"),
        [("debug", b"7"), ("info", b"6"), ("warning", b"4"), ("error", b"3"), ("critical", b"2")],
    )
    def test_level_becomes_priority(
        self, journald: Journald, monkeypatch: pytest.MonkeyPatch, level: str, priority: bytes
    ) -> None:
        pretend_journal_stream(monkeypatch)
        configure_logging(socket_path=journald.path)
        getattr(structlog.get_logger(), level)("some.event")
        assert journald.records()[0]["PRIORITY"] == priority

    def test_exception_goes_with_its_traceback(
        self, journald: Journald, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pretend_journal_stream(monkeypatch)
        configure_logging(socket_path=journald.path)
        try:
            raise OSError(5, "Input/output error")  # noqa: TRY301
        except OSError:
            structlog.get_logger().exception("daemon.failed")
        (received,) = journald.records()
        assert received["DSGMIGD_TRACEBACK"].startswith(b"Traceback (most recent call last):\n")
        assert received["MESSAGE"].endswith(b'exception="OSError: [Errno 5] Input/output error"')

    def test_flush_sends_what_waits(
        self, journald: Journald, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pretend_journal_stream(monkeypatch)
        configure_logging(socket_path=journald.path)
        journald.remove_socket()
        structlog.get_logger().info("request.done")
        journald.start()
        flush_journal()
        assert journald.messages() == [b"request.done"]

    def test_a_command_tells_the_journal_alone_and_leaves_logging_as_it_was(
        self,
        journald: Journald,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(journal, "_SOCKET", journald.path)
        structlog.reset_defaults()
        with logging_to_journal():
            structlog.get_logger().info("ledger.recorded")
        assert journald.messages() == [b"ledger.recorded"]
        assert capsys.readouterr() == ("", "")
        assert not structlog.is_configured()

    def test_logging_that_is_configured_stays_so(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        configure_logging()
        with logging_to_journal():
            structlog.get_logger().info("ledger.recorded")
        assert "ledger.recorded" in capsys.readouterr().err
        assert structlog.is_configured()

    def test_elsewhere_a_line_goes_to_stderr(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        configure_logging(instance=1)
        structlog.get_logger().error("request.failed", path="a\x1b[2J\nb", repo="SV")
        flush_journal()
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d error    "
            r'request\.failed repo=SV path="a\\x1b\[2J\\nb" instance=1\n',
            capsys.readouterr().err,
        )

    def test_traceback_on_stderr_cannot_steer_the_terminal(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        configure_logging()
        try:
            raise ValueError("\x1b]0;owned\x07")  # noqa: TRY301
        except ValueError:
            structlog.get_logger().exception("daemon.failed")
        lines = capsys.readouterr().err.splitlines()
        assert lines[1] == "Traceback (most recent call last):"
        assert lines[-1] == "ValueError: \\x1b]0;owned\\x07"

    @pytest.mark.parametrize(("is_coloured", "start"), [(True, "\x1b[31m"), (False, "12:00")])
    def test_colours_only_where_asked_for(self, *, is_coloured: bool, start: str) -> None:
        event_dict = {"event": "x", "level": "error", "timestamp": "12:00"}
        line = render_line(None, "error", event_dict, is_coloured=is_coloured)
        assert line.startswith(start)


def test_a_line_is_there_at_once() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    LineSink(stream).msg("a line")
    assert stream.buffer.getvalue() == b"a line\n"


def test_a_stream_that_takes_nothing_stops_nobody() -> None:
    stream = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115 # closing it fails too
    LineSink(stream).msg("a line")
    with pytest.raises(OSError, match="No space left"):
        stream.close()
