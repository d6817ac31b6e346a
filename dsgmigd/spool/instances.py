"""The instances of one spool: which numbers are in use, and the last status of each instance.

    I.lock    locked by instance I while it runs
    I.json    the last status of instance I: information for people, so not durable

Raises: AlreadyRunning, OSError when the spool's file system fails.
"""

import os
import time
from collections.abc import Callable
from typing import Any

from dsgmigd.host.encoding import to_json
from dsgmigd.host.locks import Lock, already_locked, try_lock
from dsgmigd.host.regular import read_json
from dsgmigd.spool.file_names import parse_instance_numbers
from dsgmigd.spool.layout import SpoolLayout

# A process that checks whether an instance runs holds its lock for a moment; so does a program
# that an instance was just starting when it was killed.
_ATTEMPTS = 20
_ATTEMPT_SECONDS = 0.1


class Instances:
    """The instances of one spool, as one of them sees them."""

    def __init__(
        self, layout: SpoolLayout, instance: int, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._layout = layout
        self._instance = instance
        self._sleep = sleep

    def lock(self) -> Lock:
        """Take this instance's number; raise AlreadyRunning if another process has it."""
        path = self._layout.instance_lock(self._instance)
        for _ in range(_ATTEMPTS):
            lock = try_lock(path)
            if lock is not None:
                return lock
            self._sleep(_ATTEMPT_SECONDS)
        raise already_locked(
            path,
            f"instance {self._instance} is already running on this spool",
            hint="stop it, or start an instance with another number",
        )

    def is_alive(self, instance: int) -> bool:
        """Say whether a running process has that instance number."""
        path = self._layout.instance_lock(instance)
        lock = try_lock(path) if os.path.exists(path) else None
        if lock is not None:
            lock.release()
        return lock is None and os.path.exists(path)

    def numbers(self) -> set[int]:
        """Return the number of every instance that ever ran on this spool."""
        try:
            return parse_instance_numbers(os.listdir(self._layout.instances))
        except FileNotFoundError:
            return set()

    def write_status(self, status: dict[str, Any]) -> None:
        """Replace the status of this instance; it is information for people, so not durable."""
        temporary = self._layout.new_status(self._instance)
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(to_json(status))
        os.rename(temporary, self._layout.instance_status(self._instance))

    def read_statuses(self) -> dict[int, dict[str, Any]]:
        """Return the last status of each running instance."""
        statuses = {}
        for number in sorted(self.numbers()):
            if self.is_alive(number):
                statuses[number] = read_json(self._layout.instance_status(number))
        return {number: status for number, status in statuses.items() if status}
