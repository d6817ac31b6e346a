"""Logging: to journald's own socket when it listens, as lines on stderr otherwise.

Modules log through `structlog.get_logger()`: a constant dotted event name and fields. What a
record looks like is in `journal_record`; only the sinks here have effects. Logging raises nothing
and never blocks on journald, whether it is stopped, frozen or missing: records wait in a bounded
buffer, and lost records are counted and reported as `journal.dropped`.

A thread starts with an empty structlog context: fields bound in the main thread are seen in a
worker thread only if its work runs in a copy of that context.
"""

import array
import contextlib
import errno
import fcntl
import functools
import logging
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final, Self, TextIO

import structlog
from structlog.contextvars import merge_contextvars
from structlog.processors import TimeStamper, add_log_level, format_exc_info
from structlog.typing import EventDict, Processor, WrappedLogger

from dsgmigd.service.journal_record import (
    IDENTIFIER,
    encode_record,
    journal_fields,
    render_line,
    render_record,
)

BUFFERED_RECORDS: Final = 1000

_SOCKET = "/run/systemd/journal/socket"

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
# journald is stopped (no listener, no socket) or does not read (queue full).
_REFUSALS = frozenset({errno.EAGAIN, errno.ENOENT, errno.ECONNREFUSED})
_TOO_LONG = frozenset({errno.EMSGSIZE, errno.ENOBUFS})


class JournalSink:
    """Sends encoded records to journald; structlog's logger, and the factory of itself.

    Invariants: no call blocks on journald; records arrive in the order of the calls; at most
    `capacity` records wait, the oldest are dropped, and each loss is reported once journald reads
    again.
    """

    def __init__(self, socket_path: str, *, capacity: int = BUFFERED_RECORDS) -> None:
        self._socket_path = socket_path
        self._capacity = capacity
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        # Reentrant, because a signal handler may log while its own thread is logging.
        self._lock = threading.RLock()
        # Not connected: a new journald is a new socket below the same path.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def __call__(self, *_arguments: object) -> Self:
        """Return the sink itself: structlog calls it as the factory of loggers."""
        return self

    def msg(self, record: bytes) -> None:
        """Send the waiting records and then `record`, or keep it for the next call."""
        with self._lock:
            self._waiting.append(record)
            self.flush()
            while len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self._dropped += 1

    log = debug = info = warn = warning = error = critical = fatal = exception = msg

    def flush(self) -> None:
        """Send as many of the waiting records as journald accepts now."""
        with self._lock:
            if not self._report_losses():
                return
            while self._waiting:
                record = self._waiting.popleft()
                failure = self._send(record)
                if failure in _REFUSALS:
                    self._waiting.appendleft(record)
                    return
                # A record that can never be sent must not hold up all that follow.
                self._dropped += failure != 0

    def close(self) -> None:
        """Close the socket; records that still wait are lost."""
        self._socket.close()

    def _report_losses(self) -> bool:
        if not self._dropped:
            return True
        lost = self._dropped
        event = {"event": "journal.dropped", "level": "warning", "dropped": lost}
        if self._send(encode_record(journal_fields(event))):
            return False
        self._dropped -= lost
        return True

    def _send(self, record: bytes) -> int:
        """Send a record and return 0, or the errno of the failure."""
        try:
            self._send_or_raise(record)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _send_or_raise(self, record: bytes) -> None:
        try:
            self._socket.sendmsg([record], [], socket.MSG_DONTWAIT, self._socket_path)
        except OSError as error:
            if error.errno not in _TOO_LONG:
                raise
        else:
            return
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        with open(os.memfd_create(IDENTIFIER, flags), "wb") as file:
            file.write(record)
            file.flush()
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()]))
            # Not socket.send_fds: it ignores its flags and its address in Python 3.11.
            self._socket.sendmsg([], [rights], socket.MSG_DONTWAIT, self._socket_path)


class LineSink:
    """Writes lines to a stream; structlog's logger, and the factory of itself.

    A line that cannot be written is lost: logging never stops the work.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()

    def __call__(self, *_arguments: object) -> Self:
        """Return the sink itself: structlog calls it as the factory of loggers."""
        return self

    def msg(self, line: str) -> None:
        """Write `line`."""
        with self._lock, contextlib.suppress(OSError):
            print(line, file=self._stream, flush=True)

    log = debug = info = warn = warning = error = critical = fatal = exception = msg


def _add_instance(
    _logger: WrappedLogger, _method: str, event_dict: EventDict, *, instance: int | None
) -> EventDict:
    event_dict.setdefault("instance", instance)
    return event_dict


def is_journal_stream(environment: Mapping[str, str], descriptor: int) -> bool:
    """Tell whether systemd connected this descriptor to the journal (systemd.exec(5))."""
    try:
        status = os.fstat(descriptor)
    except OSError:  # it is closed
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def configure_logging(
    *,
    instance: int | None = None,
    socket_path: str | None = None,
    is_for_journal: bool | None = None,
) -> None:
    """Direct every `structlog.get_logger()` of this process; `instance` goes with each record.

    Records go to the journal if `is_for_journal`, by default if stderr does. Nothing is filtered by
    level: journald does that per unit (LogLevelMax=).
    """
    processors: list[Processor] = [
        merge_contextvars,
        functools.partial(_add_instance, instance=instance),
        add_log_level,
        format_exc_info,
    ]
    if is_for_journal is None:
        is_for_journal = is_journal_stream(os.environ, 2)
    if is_for_journal:
        factory: Any = JournalSink(socket_path or _SOCKET)
        processors += [TimeStamper(fmt="iso", utc=True), render_record]
    else:
        factory = LineSink(sys.stderr)
        render = functools.partial(render_line, is_coloured=sys.stderr.isatty())
        processors += [TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False), render]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=factory,
        cache_logger_on_first_use=False,
    )


@contextlib.contextmanager
def logging_to_journal() -> Iterator[None]:
    """Send what is logged in the block to the journal alone, unless logging is configured already.

    Without a journal it is lost.
    """
    if structlog.is_configured():
        yield
        return
    configure_logging(is_for_journal=True)
    sink = structlog.get_config()["logger_factory"]
    try:
        yield
    finally:
        flush_journal()
        structlog.reset_defaults()
        sink.close()


def flush_journal() -> None:
    """Try again to send records that wait for journald: call it when idle and before exit."""
    factory = structlog.get_config()["logger_factory"]
    if isinstance(factory, JournalSink):
        factory.flush()
