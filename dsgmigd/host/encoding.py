"""Names and output are UTF-8, whatever the locale of the host, the unit or the terminal.

JSON for others is ASCII, and has no half of a surrogate pair: many parsers refuse those.

Raises: OSError if Python cannot be started again.
"""

import contextlib
import io
import json
import locale
import os
import re
import sys
from datetime import UTC, datetime
from typing import Any

_PERHAPS_HALF = "\\ud"
_HALF = re.compile("[\ud800-\udfff]")


def enter_utf8_mode() -> None:
    """Start this program again in Python's UTF-8 mode (PEP 540) if the locale is not UTF-8.

    Python decodes the names of files by the locale, and decides on it before our first line. The
    process keeps its number, its arguments and its descriptors.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(  # noqa: S606 # there is no shell in between, on purpose
            sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        )


def escape_output() -> None:
    """Let standard output and error escape what they cannot show, instead of failing.

    A terminal shows what its locale has. A file or a pipe gets UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue  # the descriptor was closed when the program started
        stream.reconfigure(errors="backslashreplace")
        if stream.isatty():
            with contextlib.suppress(LookupError):  # a codec that Python does not know
                stream.reconfigure(encoding=locale.getencoding())


def to_json(document: Any, *, indent: int | None = None) -> str:
    r"""Return a document as JSON in ASCII that every parser accepts.

    Half of a surrogate pair, which stands for a byte of a name that is not UTF-8, or which somebody
    wrote, becomes the text `\udcff`.
    """
    text = json.dumps(document, indent=indent)
    if _PERHAPS_HALF not in text:
        return text
    whole = _HALF.sub(
        lambda half: f"\\\\u{ord(half[0]):04x}", json.dumps(document, ensure_ascii=False)
    )
    return json.dumps(json.loads(whole), indent=indent)


def iso_time(timestamp: float) -> str:
    """Return seconds since the epoch in UTC, to the millisecond."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")
