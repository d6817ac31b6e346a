"""What a log record becomes: a journal record, or one line of text. Pure rules.

Control characters in a value never reach a terminal.
"""

import re
import struct
import uuid
from collections.abc import Mapping
from typing import Any, Final

from structlog.typing import EventDict, WrappedLogger

from dsgmigd.host.terminal import printable

IDENTIFIER: Final = "dsgmigd"

# Never change it: catalogs and operators' filters contain the identifiers that it produces.
_MESSAGE_NAMESPACE = uuid.UUID("9f0a6d3c-52f7-4c0e-8d0b-6a1c7e4b21d8")
# The numbers are those of syslog(3).
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_COLOURS = {"critical": "\x1b[1;31m", "error": "\x1b[31m", "warning": "\x1b[33m"}
_FIELD = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_NOT_IN_FIELD = re.compile(r"[^A-Z0-9_]")
_NEEDS_QUOTES = re.compile(r'[\s"\\=]')
# Keys that are shown in other ways than as key=value.
_PLACED = frozenset({"event", "level", "timestamp", "exception"})


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


def sentence(event_dict: Mapping[str, Any]) -> str:
    """Return a record as one printable line: the event, then key=value, `repo` first.

    A value with blanks, quotes, backslashes, `=` or control characters is quoted. Of a traceback
    only the last line is included.
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
    if "timestamp" in event_dict:  # journald's own timestamp is late if the record had to wait
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
    """Return the record as a line for people, with a traceback in lines below it."""
    level = event_dict["level"]
    lines = [f"{event_dict['timestamp']} {level:8} {sentence(event_dict)}"]
    if is_coloured and level in _COLOURS:
        lines = [f"{_COLOURS[level]}{lines[0]}\x1b[0m"]
    if "exception" in event_dict:
        lines += [printable(line) for line in as_text(event_dict["exception"]).splitlines()]
    return "\n".join(lines)


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
