"""Copies the content of one file, hashes it in the same read, and makes holes where it has zeros.

Raises: those of `host.file_errors.target_error` for what is read, OSError for what is written, and
whatever the checkpoint raises.
"""

import hashlib
import os
from collections.abc import Callable

from dsgmigd.host.file_errors import target_errors
from dsgmigd.host.terminal import printable

_PIECE_BYTES = 1024 * 1024
_RECORD_BYTES = 128 * 1024
_ZEROS = bytes(_RECORD_BYTES)


def copy_content(source: int, new: int, path: str, checkpoint: Callable[[], None]) -> str:
    """Copy the content of the open file `source` to `new`, which is empty; return its SHA-256.

    Records that have only zeros become holes. `path` is what errors call the source.
    """
    digest = hashlib.sha256()
    size = 0
    while True:
        with target_errors(f"reading {printable(path)}"):
            piece = os.read(source, _PIECE_BYTES)
        if not piece:
            break
        checkpoint()
        digest.update(piece)
        for start in range(0, len(piece), _RECORD_BYTES):
            record = piece[start : start + _RECORD_BYTES]
            if record != _ZEROS[: len(record)]:
                _write_at(new, record, size + start)
        size += len(piece)
    os.ftruncate(new, size)
    return digest.hexdigest()


def _write_at(descriptor: int, content: bytes, position: int) -> None:
    left = memoryview(content)
    while left:
        count = os.pwrite(descriptor, left, position)
        left, position = left[count:], position + count
