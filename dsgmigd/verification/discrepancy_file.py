"""All differences that one run found, one JSON object per line: a result contains only the first.

A file that cannot be written does not end the run: `problem` says why it is incomplete.

Raises: nothing.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import IO

from dsgmigd.host.encoding import to_json
from dsgmigd.verification.compare import Discrepancy


class DiscrepancyFile:
    """The file at `path`; it is created with the first difference."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem: str | None = None
        self._file: IO[str] | None = None

    def add(self, snapshot: str, found: Iterable[Discrepancy]) -> None:
        """Write the differences found in the target's `snapshot`."""
        if self.problem is None:
            with self._noting_problems():
                self._write(snapshot, found)

    def _write(self, snapshot: str, found: Iterable[Discrepancy]) -> None:
        for one in found:
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(self.path, flags, 0o644)
                self._file = open(descriptor, "w", encoding="utf-8")  # noqa: SIM115 - see close
            self._file.write(to_json({"snapshot": snapshot, **one.to_json()}) + "\n")

    def close(self) -> None:
        """Sync the file to disk; without any difference there is no file."""
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
