"""Lists of names and values as libnvpair has them: what libzfs_core takes and returns.

Raises: OSError.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_UNIQUE_NAME = 1  # sys/nvpair.h: NV_UNIQUE_NAME


class NvLists:
    """Makes and reads lists; `library` is libnvpair.so.3. A list is valid within its block."""

    def __init__(self, library: Any) -> None:
        self._library = library
        library.nvlist_free.restype = None

    @contextlib.contextmanager
    def of_names(self, names: Sequence[str]) -> Iterator[ctypes.c_void_p]:
        """Give a list of names without values."""
        with self._empty() as made:
            for name in names:
                check(self._library.nvlist_add_boolean(made, os.fsencode(name)))
            yield made

    @contextlib.contextmanager
    def of_texts(self, texts: Mapping[str, str]) -> Iterator[ctypes.c_void_p]:
        """Give a list of names and texts."""
        with self._empty() as made:
            for name, text in texts.items():
                words = (os.fsencode(name), os.fsencode(text))
                check(self._library.nvlist_add_string(made, *words))
            yield made

    @contextlib.contextmanager
    def of_array(self, name: str, texts: Sequence[str]) -> Iterator[ctypes.c_void_p]:
        """Give a list of one name, whose value is an array of texts."""
        array = (ctypes.c_char_p * len(texts))(*map(os.fsencode, texts))
        with self._empty() as made:
            code = self._library.nvlist_add_string_array(made, name.encode(), array, len(texts))
            check(code)
            yield made

    @contextlib.contextmanager
    def answer(self) -> Iterator[ctypes.c_void_p]:
        """Give a place for a list that the library makes; it is freed."""
        made = ctypes.c_void_p()
        try:
            yield made
        finally:
            if made.value:
                self._library.nvlist_free(made)

    def number(self, made: ctypes.c_void_p, name: str) -> int | None:
        """Return the 64-bit number that a list has under a name; None if it has none."""
        found = ctypes.c_int64()
        if not made.value:
            return None
        missing = self._library.nvlist_lookup_int64(made, name.encode(), ctypes.byref(found))
        return None if missing else found.value

    @contextlib.contextmanager
    def _empty(self) -> Iterator[ctypes.c_void_p]:
        with self.answer() as made:
            check(self._library.nvlist_alloc(ctypes.byref(made), _UNIQUE_NAME, 0))
            yield made


def check(code: int) -> None:
    """Raise OSError for the number of an error that one of the libraries returned, if it is one."""
    if code:
        raise OSError(code, os.strerror(code))
