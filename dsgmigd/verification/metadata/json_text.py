"""Decode a JSON document member by member, holding no more text than the next value needs.

Raises: ValueError, if the text is not JSON or a value is longer than the limit; RecursionError.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

_BLANKS = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


class JsonText:
    """UTF-8 text that comes in pieces; no value may have more than `longest` characters."""

    def __init__(self, pieces: Iterable[bytes], longest: int) -> None:
        self._pieces = iter(pieces)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._longest = longest
        self._text = ""
        self._position = 0
        self._is_whole = False

    def members(self) -> Iterator[str]:
        """Yield each key of the object that begins here; the caller must take its value."""
        self._expect("{")
        mark = self._peek()
        while mark != "}":
            key = self.value()
            if not isinstance(key, str):
                raise ValueError("a key is not a text")  # noqa: TRY004 # of the text, not of code
            self._expect(":")
            yield key
            mark = self._peek()
            if mark != "}":
                self._expect(",")
                mark = '"'
        self._expect("}")

    def value(self) -> Any:
        """Return the value that begins here, and go behind it."""
        self._peek()
        while True:
            try:
                value, end = _decode(self._text, self._position)
            except ValueError:
                if len(self._text) - self._position > self._longest or not self._read_on():
                    raise
                continue
            if end < len(self._text) or not self._read_on():  # a number may go on
                self._position = end
                return value

    def end(self) -> None:
        """Raise ValueError unless nothing but blanks is left."""
        if self._peek():
            raise ValueError("text after the end of the document")

    def _expect(self, mark: str) -> None:
        found = self._peek()
        if found != mark:
            raise ValueError(f"{found!r} in place of {mark!r}")
        self._position += 1

    def _peek(self) -> str:
        """Return the next character that is not blank; an empty text at the end."""
        while True:
            match = _BLANKS.match(self._text, self._position)
            self._position = match.end() if match else self._position
            if self._position < len(self._text):
                return self._text[self._position]
            if not self._read_on():
                return ""

    def _read_on(self) -> bool:
        """Read one more piece; False at the end."""
        if self._is_whole:
            return False
        piece = next(self._pieces, None)
        self._is_whole = piece is None
        more = self._decoder.decode(piece or b"", final=self._is_whole)
        self._text = self._text[self._position :] + more
        self._position = 0
        return not self._is_whole or bool(more)
