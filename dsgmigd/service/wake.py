"""What wakes a worker: signals, and hints that the spool changed.

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

# Not those of opening and reading: whoever is woken looks, and would wake himself for ever.
_CHANGES = {"created", "deleted", "moved"}


class Wake:
    """Wakes whoever waits, from any thread and from a signal's handler too.

    A handler runs in between two steps of the main thread, which may be within a lock then:
    threading.Event would wait for itself. Of the queues of the library, this one may be re-entered.
    """

    def __init__(self) -> None:
        self._hints: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Wake who waits, or will wait next."""
        self._hints.put(None)

    def clear(self) -> None:
        """Forget what there was to wake for."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._hints.get_nowait()

    def wait(self, seconds: float) -> bool:
        """Sleep so long at most; say whether something woke us."""
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
        if any(str(path).endswith(".request") for path in paths):
            self._wake.set()


class _ControlHint(FileSystemEventHandler):
    def __init__(self, wake: Wake) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _CHANGES:
            self._wake.set()


class SpoolWatcher:
    """Sets `wake` when requests come, or files of `control` come and go, if events work at all."""

    def __init__(self, directory: str, control: str, wake: Wake) -> None:
        self._directory = directory
        self._control = control
        self._wake = wake
        self._observer = Observer()
        self._excepthook = threading.excepthook

    def start(self) -> None:
        """Begin to watch; where the kernel refuses, the regular scan has to do."""
        threading.excepthook = self._tell_end
        try:
            self._observer.schedule(_Hint(self._wake), self._directory, recursive=False)
            self._observer.schedule(_ControlHint(self._wake), self._control, recursive=False)
            self._observer.start()
        except OSError as error:
            _tell_unwatched(error)

    def stop(self) -> None:
        """End watching."""
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()
        threading.excepthook = self._excepthook

    def _tell_end(self, ended: threading.ExceptHookArgs) -> None:
        """Say in one line why a thread of the watchdog library ended; the regular scan goes on."""
        if isinstance(ended.thread, BaseThread):
            _tell_unwatched(ended.exc_value)
        else:
            self._excepthook(ended)


def _tell_unwatched(error: BaseException | None) -> None:
    structlog.get_logger().warning("spool.unwatched", reason=str(error))
