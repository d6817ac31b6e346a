"""Log records: to journald's own socket when it listens, as lines on stderr otherwise.

Modules log through `structlog.get_logger()`: a constant dotted event name and fields. The
processors here are pure; only the logger at the end of the chain, `JournalSink` or `LineSink`, has
an effect. Logging raises nothing: a line that stderr does not take is lost. It never blocks on
journald, be that stopped, frozen or gone: records wait in a bounded buffer, and losses are counted
and told as `journal.dropped`. Control characters in a value never reach a terminal.

A thread starts with an empty structlog context: fields bound in the main thread are seen in a
worker thread only if its work runs in a copy of that context.
"""

import array
import errno
import fcntl
import functools
import logging
import os
import re
import socket
import struct
import sys
import threading
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Self

import structlog
from structlog.contextvars import merge_contextvars
from structlog.processors import TimeStamper, add_log_level, format_exc_info
from structlog.typing import EventDict, Processor, WrappedLogger

from dsgmigd.line_sink import LineSink

IDENTIFIER: Final = "dsgmigd"
BUFFERED_RECORDS: Final = 1000

# Never change it: catalogs and operators' filters hold the identifiers that come from it.
_MESSAGE_NAMESPACE = uuid.UUID("9f0a6d3c-52f7-4c0e-8d0b-6a1c7e4b21d8")
# The numbers are those of syslog(3).
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_COLOURS = {"critical": "\x1b[1;31m", "error": "\x1b[31m", "warning": "\x1b[33m"}
_FIELD = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_NOT_IN_FIELD = re.compile(r"[^A-Z0-9_]")
_NEEDS_QUOTES = re.compile(r'[\s"\\=]')
# Keys that have a place of their own and are no key=value pair.
_PLACED = frozenset({"event", "level", "timestamp", "exception"})
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
# journald is stopped (no listener, no socket) or does not read (queue full).
_REFUSALS = frozenset({errno.EAGAIN, errno.ENOENT, errno.ECONNREFUSED})
_TOO_LONG = frozenset({errno.EMSGSIZE, errno.ENOBUFS})


def message_id(event: str) -> str:
    """Return the MESSAGE_ID (32 hexadecimal digits) of every record of this event name."""
    return uuid.uuid5(_MESSAGE_NAMESPACE, event).hex


def field_name(key: str) -> str:
    """Return the name of the journal field that carries a log call's key."""
    return ("DSGMIGD_" + _NOT_IN_FIELD.sub("_", key.upper()))[:64]


def encode_record(fields: Mapping[str, str | bytes]) -> bytes:
    """Return one record in the format of systemd.io/JOURNAL_NATIVE_PROTOCOL.

    Text becomes UTF-8, lone surrogates become backslash escapes; bytes go as they are. Raises
    ValueError for a name that journald would ignore, or that would break the record's framing.
    """
    record = bytearray()
    for name, value in fields.items():
        if not _FIELD.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a journal field")
        data = value.encode("utf-8", "backslashreplace") if isinstance(value, str) else value
        mark = b"\n" + struct.pack("<Q", len(data)) if b"\n" in data else b"="
        record += name.encode() + mark + data + b"\n"
    return bytes(record)


def as_text(value: object) -> str:
    """Return a field's value as text; bytes that are not UTF-8 become backslash escapes.

    A file name gives the same text as bytes and as the str that `os.fsdecode` makes of it.
    """
    data = value if isinstance(value, bytes | bytearray) else _encoded(str(value))
    return data.decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Return `text` with everything that could steer a terminal as backslash escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def sentence(event_dict: Mapping[str, Any]) -> str:
    """Return a record as one printable line: the event, then key=value, `repo` first.

    A value with blanks, quotes, backslashes, `=` or control characters stands in quotes. Of a
    traceback only the last line is told.
    """
    ordered = sorted(_pairs(event_dict), key=lambda pair: pair[0] != "repo")
    pairs = {key: as_text(value) for key, value in ordered}
    if "exception" in event_dict:
        pairs["exception"] = as_text(event_dict["exception"]).rstrip().rpartition("\n")[2]
    words = [printable(as_text(event_dict["event"]))]
    words += [f"{printable(key)}={_quoted(text)}" for key, text in pairs.items()]
    return " ".join(words)


def journal_fields(event_dict: Mapping[str, Any]) -> dict[str, str]:
    """Return the journal fields of a record; a key whose value is None has none."""
    event = as_text(event_dict["event"])
    fields = {
        "MESSAGE": sentence(event_dict),
        "MESSAGE_ID": message_id(event),
        "PRIORITY": str(_PRIORITIES[event_dict["level"]]),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
    }
    fields |= {field_name(key): as_text(value) for key, value in _pairs(event_dict)}
    fields["DSGMIGD_EVENT"] = event
    if "timestamp" in event_dict:  # journald's own is late if the record had to wait
        fields["DSGMIGD_TIMESTAMP"] = as_text(event_dict["timestamp"])
    if "exception" in event_dict:
        fields["DSGMIGD_TRACEBACK"] = as_text(event_dict["exception"])
    return fields


def render_record(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> bytes:
    """Return the record as journald takes it; the last processor under systemd."""
    return encode_record(journal_fields(event_dict))


def render_line(
    _logger: WrappedLogger, _method: str, event_dict: EventDict, *, is_coloured: bool
) -> str:
    """Return the record for a human's eyes, a traceback in lines below it."""
    level = event_dict["level"]
    lines = [f"{event_dict['timestamp']} {level:8} {sentence(event_dict)}"]
    if is_coloured and level in _COLOURS:
        lines = [f"{_COLOURS[level]}{lines[0]}\x1b[0m"]
    if "exception" in event_dict:
        lines += [printable(line) for line in as_text(event_dict["exception"]).splitlines()]
    return "\n".join(lines)


class JournalSink:
    """Sends encoded records to journald; structlog's logger, and the factory of itself.

    Invariants: no call blocks on journald; records arrive in the order of the calls; at most
    `capacity` records wait, the oldest give way, and no loss goes untold once journald is back.
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
        """Return the sink itself, for structlog calls it as the factory of loggers."""
        return self

    def msg(self, record: bytes) -> None:
        """Send what waits and then `record`, or keep it for the next call."""
        with self._lock:
            self._waiting.append(record)
            self.flush()
            while len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self._dropped += 1

    log = debug = info = warn = warning = error = critical = fatal = exception = msg

    def flush(self) -> None:
        """Send as much of what waits as journald takes now."""
        with self._lock:
            if not self._has_told_losses():
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
        """Close the socket; what still waits is lost."""
        self._socket.close()

    def _has_told_losses(self) -> bool:
        if not self._dropped:
            return True
        lost = self._dropped
        event = {"event": "journal.dropped", "level": "warning", "dropped": lost}
        if self._send(encode_record(journal_fields(event))):
            return False
        self._dropped -= lost
        return True

    def _send(self, record: bytes) -> int:
        """Send a record and return 0, or the errno that says why not."""
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


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that no file name gives
        return text.encode("utf-8", "backslashreplace")


def _pairs(event_dict: Mapping[str, Any]) -> list[tuple[str, Any]]:
    items = event_dict.items()
    return [(key, value) for key, value in items if key not in _PLACED and value is not None]


def _quoted(text: str) -> str:
    if text and text.isprintable() and not _NEEDS_QUOTES.search(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(escaped)}"'


def _add_instance(
    _logger: WrappedLogger, _method: str, event_dict: EventDict, *, instance: int | None
) -> EventDict:
    event_dict.setdefault("instance", instance)
    return event_dict


def is_journal_stream(environment: Mapping[str, str], descriptor: int) -> bool:
    """Tell whether systemd connected this descriptor to the journal (systemd.exec(5))."""
    try:
        status = os.fstat(descriptor)
    except OSError:  # closed: nobody reads there
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def configure_logging(
    *, instance: int | None = None, socket_path: str = "/run/systemd/journal/socket"
) -> None:
    """Direct every `structlog.get_logger()` of this process; `instance` goes with each record.

    Nothing is filtered by level: journald does that per unit (LogLevelMax=).
    """
    processors: list[Processor] = [
        merge_contextvars,
        functools.partial(_add_instance, instance=instance),
        add_log_level,
        format_exc_info,
    ]
    if is_journal_stream(os.environ, 2):
        factory: Any = JournalSink(socket_path)
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


def flush_journal() -> None:
    """Try again to send records that wait for journald: call it when idle and before exit."""
    factory = structlog.get_config()["logger_factory"]
    if isinstance(factory, JournalSink):
        factory.flush()
