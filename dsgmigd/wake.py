"""Hints that the spool changed.

The watchdog library drops queue overflows silently and tells moves differently by their origin, so
an event says no more than "look again"; whoever waits looks at the directory itself.
"""

import threading

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer


class _Hint(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        paths = (event.src_path, getattr(event, "dest_path", ""))
        if any(str(path).endswith(".request") for path in paths):
            self._wake.set()


class SpoolWatcher:
    """Sets `wake` when something happens in `directory`; without events, nobody is woken."""

    def __init__(self, directory: str, wake: threading.Event) -> None:
        self._directory = directory
        self._wake = wake
        self._observer = Observer()

    def start(self) -> None:
        """Begin to watch; where the kernel refuses, the regular scan has to do."""
        try:
            self._observer.schedule(_Hint(self._wake), self._directory, recursive=False)
            self._observer.start()
        except OSError as error:
            structlog.get_logger().warning("spool.unwatched", reason=str(error))

    def stop(self) -> None:
        """End watching."""
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()
