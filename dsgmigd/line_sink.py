"""Log lines for a human, where no journald listens.

No error leaves this module: that something cannot be told is no reason to do nothing else.
"""

import contextlib
import threading
from typing import Self, TextIO


class LineSink:
    """Writes lines to a stream; structlog's logger, and the factory of itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()

    def __call__(self, *_arguments: object) -> Self:
        """Return the sink itself, for structlog calls it as the factory of loggers."""
        return self

    def msg(self, line: str) -> None:
        """Write `line`; what the stream does not take is lost."""
        with self._lock, contextlib.suppress(OSError):
            print(line, file=self._stream, flush=True)

    log = debug = info = warn = warning = error = critical = fatal = exception = msg
