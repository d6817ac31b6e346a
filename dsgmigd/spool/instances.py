"""The instances of one spool: who has which number, and what each says that it does.

    I.lock    held by instance I while it lives
    I.json    what it said last: a hint for people, so not durable

Leaving errors: AlreadyRunning, OSError when the spool's file system fails.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable
from typing import Any

from dsgmigd.durable import read_json
from dsgmigd.errors import AlreadyRunning
from dsgmigd.locks import Lock, try_lock

# Whoever asks whether an instance lives has its lock for a moment; so has a program that one was
# just starting when it was killed.
_ATTEMPTS = 20
_ATTEMPT_SECONDS = 0.1


class Instances:
    """The instances in `directory`, as one of them sees them."""

    def __init__(
        self,
        directory: str,
        *,
        work: str,
        instance: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._directory = directory
        self._sleep = sleep
        self._work = work
        self._instance = instance

    def lock(self) -> Lock:
        """Take this instance's number; raise AlreadyRunning if another process has it."""
        for _ in range(_ATTEMPTS):
            lock = try_lock(self._path(self._instance, "lock"))
            if lock is not None:
                return lock
            self._sleep(_ATTEMPT_SECONDS)
        raise AlreadyRunning(
            f"instance {self._instance} runs already on this spool",
            hint="stop it, or start an instance with another number",
        )

    def is_alive(self, instance: int) -> bool:
        """Say whether a process has that instance number now."""
        path = self._path(instance, "lock")
        lock = try_lock(path) if os.path.exists(path) else None
        if lock is not None:
            lock.release()
        return lock is None and os.path.exists(path)

    def numbers(self) -> set[int]:
        """Return the number of every instance that ever ran on this spool."""
        names = os.listdir(self._directory)
        return {int(name.partition(".")[0]) for name in names if name.endswith(".lock")}

    def write_status(self, status: dict[str, Any]) -> None:
        """Say what this instance does; a hint for people, so not durable."""
        temporary = os.path.join(self._work, f"status.{self._instance}")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(status, file)
        os.rename(temporary, self._path(self._instance, "json"))

    def read_statuses(self) -> dict[int, dict[str, Any]]:
        """Return what each living instance said last."""
        statuses = {}
        with contextlib.suppress(FileNotFoundError):
            for number in sorted(self.numbers()):
                if self.is_alive(number):
                    statuses[number] = read_json(self._path(number, "json"))
        return {number: status for number, status in statuses.items() if status}

    def _path(self, instance: int, ending: str) -> str:
        return os.path.join(self._directory, f"{instance}.{ending}")
