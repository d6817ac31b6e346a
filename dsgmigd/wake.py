"""Hints that the spool changed.

The watchdog library drops queue overflows silently and tells moves differently by their origin, so
an event says no more than "look again"; whoever waits looks at the directory itself.
"""

import threading

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

# Not those of opening and reading: whoever is woken looks, and would wake himself for ever.
_CHANGES = {"created", "deleted", "moved"}


class _Hint(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        paths = (event.src_path, getattr(event, "dest_path", ""))
        if any(str(path).endswith(".request") for path in paths):
            self._wake.set()


class _ControlHint(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _CHANGES:
            self._wake.set()


class SpoolWatcher:
    """Sets `wake` when requests come, or files of `control` come and go, if events work at all."""

    def __init__(self, directory: str, control: str, wake: threading.Event) -> None:
        self._directory = directory
        self._control = control
        self._wake = wake
        self._observer = Observer()

    def start(self) -> None:
        """Begin to watch; where the kernel refuses, the regular scan has to do."""
        try:
            self._observer.schedule(_Hint(self._wake), self._directory, recursive=False)
            self._observer.schedule(_ControlHint(self._wake), self._control, recursive=False)
            self._observer.start()
        except OSError as error:
            structlog.get_logger().warning("spool.unwatched", reason=str(error))

    def stop(self) -> None:
        """End watching."""
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()
