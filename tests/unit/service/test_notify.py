"""What systemd hears, over a real notification socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsgmigd.service.notify import Notifier


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(0)
        yield listener


@pytest.fixture
def notifier(systemd: socket.socket) -> Iterator[Notifier]:
    assert systemd
    notifier = Notifier()
    yield notifier
    notifier.close()


def heard(systemd: socket.socket) -> list[bytes]:
    messages = []
    while True:
        try:
            messages.append(systemd.recv(4096))
        except BlockingIOError:
            return messages


def test_says_ready_alive_stopping(systemd: socket.socket, notifier: Notifier) -> None:
    notifier.ready()
    notifier.watchdog()
    notifier.stopping()
    assert heard(systemd) == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_status_is_sent_when_it_changes(systemd: socket.socket, notifier: Notifier) -> None:
    for text in ("idle", "idle", "SV s1", "SV s1", "idle"):
        notifier.status(text)
    assert heard(systemd) == [b"STATUS=idle", b"STATUS=SV s1", b"STATUS=idle"]


def test_status_is_utf8(systemd: socket.socket, notifier: Notifier) -> None:
    notifier.status("Größe 3 … 100 %")
    assert heard(systemd) == ["STATUS=Größe 3 … 100 %".encode()]


def test_status_with_foreign_bytes_is_sent(systemd: socket.socket, notifier: Notifier) -> None:
    notifier.status("\udcff")
    assert heard(systemd) == [b"STATUS=\\udcff"]


def test_status_cannot_say_anything_else(systemd: socket.socket, notifier: Notifier) -> None:
    notifier.status("working\nMAINPID=1")
    assert heard(systemd) == [b"STATUS=working MAINPID=1"]


def test_systemd_that_went_away_is_no_error(systemd: socket.socket, notifier: Notifier) -> None:
    systemd.close()
    notifier.ready()
    assert notifier.is_supervised


def test_without_a_socket_nobody_is_told(systemd: socket.socket) -> None:
    notifier = Notifier({})
    notifier.ready()
    notifier.status("idle")
    notifier.close()
    assert not notifier.is_supervised
    assert heard(systemd) == []


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "180000000"}, 180.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid() + 1)}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_PID": str(os.getpid())}, None),
        ({}, None),
    ],
)
def test_watchdog_interval(environment: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environment).watchdog_interval_seconds == seconds
