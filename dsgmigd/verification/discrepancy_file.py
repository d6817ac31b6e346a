"""All differences that one run found, as lines of JSON: a result names only the first.

A file that cannot be written ends no work: `problem` says so.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import IO

from dsgmigd.verify.compare import Discrepancy


class DiscrepancyFile:
    """The file at `path`; it is made when there is something to write."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem: str | None = None
        self._file: IO[str] | None = None

    def add(self, snapshot: str, found: Iterable[Discrepancy]) -> None:
        """Write differences of the target's `snapshot`."""
        if self.problem is None:
            with self._noting_problems():
                self._write(snapshot, found)

    def _write(self, snapshot: str, found: Iterable[Discrepancy]) -> None:
        for one in found:
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(self.path, flags, 0o644)
                self._file = open(descriptor, "w", encoding="utf-8")  # noqa: SIM115 - see close
            self._file.write(json.dumps({"snapshot": snapshot, **one.to_json()}) + "\n")

    def close(self) -> None:
        """Bring everything to the disk; without any difference there is nothing."""
        file, self._file = self._file, None
        if file is not None:
            with self._noting_problems(), file:
                file.flush()
                os.fsync(file.fileno())

    @contextlib.contextmanager
    def _noting_problems(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.problem = f"the list of all differences is not complete: {error.strerror}"
