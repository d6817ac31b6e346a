"""All differences that one run found, as lines of JSON: a result names only the first.

Leaving error: OSError, when the file cannot be written.
"""

import json
import os
from collections.abc import Iterable
from typing import IO

from dsgmigd.verify.compare import Discrepancy


class DiscrepancyFile:
    """The file at `path`; it is made when there is something to write."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def add(self, snapshot: str, found: Iterable[Discrepancy]) -> None:
        """Write differences of the target's `snapshot`."""
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
            with file:
                file.flush()
                os.fsync(file.fileno())
