"""What wakes a worker: requests and operators' words, but not its own looking."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from watchdog.observers.inotify_c import Inotify

from dsgmigd.service import wake as wake_module
from dsgmigd.service.wake import SpoolWatcher, Wake
from dsgmigd.spool.location import held_directory
from tests.unit.failing import failing

_SOON_SECONDS = 5.0
_QUIET_SECONDS = 0.3


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "control").mkdir()
    (tmp_path / "control/SV.paused").touch()
    return tmp_path


@pytest.fixture
def wake(directory: Path) -> Iterator[Wake]:
    """Watch as a worker does: by the path of a directory that is held."""
    event = Wake()
    with held_directory(str(directory)) as place:
        watcher = SpoolWatcher(place.path, f"{place.path}/control", event)
        watcher.start()
        yield event
        watcher.stop()


def test_a_request_and_a_control_file_that_comes_or_goes_wake(directory: Path, wake: Wake) -> None:
    changes = (
        (directory / "SV.request").touch,
        (directory / "control/SV.paused").unlink,
        (directory / "control/all").touch,
    )
    for change in changes:
        wake.clear()
        change()
        assert wake.wait(_SOON_SECONDS)


def test_a_watcher_that_cannot_read_on_says_so_in_one_line(
    directory: Path,
    wake: Wake,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Inotify, "read_events", failing(errno.ENOMEM))
    with structlog.testing.capture_logs() as told:
        (directory / "SV.request").touch()
        assert wake.wait(_SOON_SECONDS)
        deadline = time.monotonic() + _SOON_SECONDS
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [(line["event"], line["reason"]) for line in told] == [
        ("spool.unwatched", "[Errno 12] Cannot allocate memory")
    ]
    assert "Traceback" not in capsys.readouterr().err


def test_looking_wakes_nobody(directory: Path, wake: Wake) -> None:
    os.listdir(directory / "control")
    (directory / "control/SV.paused").read_bytes()
    # Older versions of watchdog tell of no opening: a change in place stands for it.
    (directory / "control/SV.paused").write_bytes(b"more")
    (directory / "SV.result.json").touch()

    assert not wake.wait(_QUIET_SECONDS)


def test_whoever_waits_is_woken_once_for_all_that_came(wake: Wake) -> None:
    for _ in range(3):
        wake.set()
    assert wake.wait(0)
    assert not wake.wait(0)


def test_what_was_cleared_wakes_nobody(wake: Wake) -> None:
    wake.set()
    wake.clear()
    assert not wake.wait(0)


RUNG_BY_SIGNALS = """
import signal, time
from dsgmigd.service.wake import Wake
wake = Wake()
signal.signal(signal.SIGALRM, lambda *_: wake.set())
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
end, woken = time.monotonic() + 2, 0
while time.monotonic() < end:
    woken += wake.wait(0.0001)
    wake.clear()
signal.setitimer(signal.ITIMER_REAL, 0)
print(woken)
"""


def test_a_signal_wakes_wherever_the_main_thread_is() -> None:
    done = subprocess.run(
        (sys.executable, "-c", RUNG_BY_SIGNALS),
        check=True,
        timeout=60,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert int(done.stdout) > 100


def test_a_library_that_does_not_end_does_not_keep_the_worker(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake_module, "_END_SECONDS", 0.1)
    watcher = SpoolWatcher(str(directory), str(directory / "control"), Wake())
    watcher.start()
    is_released = threading.Event()
    monkeypatch.setattr(watcher._observer, "stop", is_released.wait)
    ended = threading.Thread(target=watcher.stop, daemon=True)
    ended.start()
    ended.join(_SOON_SECONDS)
    is_over = not ended.is_alive()
    is_released.set()
    monkeypatch.undo()
    watcher.stop()
    assert is_over
