"""Wakes a worker: on signals, and on events that say that the spool changed.

The watchdog library drops queue overflows silently and tells moves differently by their origin, so
an event says no more than "look again"; whoever waits looks at the directory itself.
"""

import contextlib
import queue
import threading

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.utils import BaseThread

from dsgmigd.spool.file_names import is_request_name

# Not opening and reading: a woken worker reads the spool, and would wake itself for ever.
_END_SECONDS = 5.0
_CHANGES = {"created", "deleted", "moved"}


class Wake:
    """Wakes the waiting thread, from any thread and from signal handlers.

    A handler runs in between two steps of the main thread, which may be within a lock then:
    threading.Event would wait for itself. Of the queues of the library, this one may be re-entered.
    """

    def __init__(self) -> None:
        self._hints: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Wake the thread that waits, or the next that does."""
        self._hints.put(None)

    def clear(self) -> None:
        """Forget earlier wake-ups."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._hints.get_nowait()

    def wait(self, seconds: float) -> bool:
        """Sleep for at most `seconds`; return whether something woke us."""
        try:
            self._hints.get(timeout=seconds)
        except queue.Empty:
            return False
        self.clear()
        return True


class _Hint(FileSystemEventHandler):
    def __init__(self, wake: Wake) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        paths = (event.src_path, getattr(event, "dest_path", ""))
        if any(is_request_name(str(path)) for path in paths):
            self._wake.set()


class _ControlHint(FileSystemEventHandler):
    def __init__(self, wake: Wake) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _CHANGES:
            self._wake.set()


class SpoolWatcher:
    """Sets `wake` when a request arrives or a control file changes, as far as events work."""

    def __init__(self, directory: str, control: str, wake: Wake) -> None:
        self._directory = directory
        self._control = control
        self._wake = wake
        self._observer = Observer()
        self._excepthook = threading.excepthook

    def start(self) -> None:
        """Start to watch; if the kernel refuses, only the regular scans find requests."""
        threading.excepthook = self._tell_end
        try:
            self._observer.schedule(_Hint(self._wake), self._directory, recursive=False)
            self._observer.schedule(_ControlHint(self._wake), self._control, recursive=False)
            self._observer.start()
        except OSError as error:
            _tell_unwatched(error)

    def stop(self) -> None:
        """Stop watching, or leave it to the end of the process if the library does not end."""
        ending = threading.Thread(target=self._end, name="end-of-watching", daemon=True)
        ending.start()
        ending.join(_END_SECONDS)
        threading.excepthook = self._excepthook

    def _end(self) -> None:
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()

    def _tell_end(self, ended: threading.ExceptHookArgs) -> None:
        """Log why a thread of the watchdog library ended; the regular scans continue."""
        if isinstance(ended.thread, BaseThread):
            _tell_unwatched(ended.exc_value)
        else:
            self._excepthook(ended)


def _tell_unwatched(error: BaseException | None) -> None:
    structlog.get_logger().warning("spool.unwatched", reason=str(error))
