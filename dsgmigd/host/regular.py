"""Read files in directories into which others may put anything: only regular files, only so much.

A FIFO, a device or a leased file would block whoever opens it, a symbolic link would lead away, and
a sparse file of a few bytes on disk can be larger than all memory.

Raises: Unfit, OSError.
"""

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

READ_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Enough for the rows of 80,000 snapshots, or for the messages of as many.
DOCUMENT_LIMIT_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 256 * 1024
_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.EAGAIN})


class Unfit(FileNotFoundError, ValueError):
    """What is at a path is not a regular file, or is larger than the reader's limit.

    Most readers treat it like a file that does not exist, or like one without valid content.
    """

    def __init__(self, problem: str, path: str | bytes) -> None:
        super().__init__(errno.ENOENT, problem, path)


def open_regular(path: str | bytes, *, dir_fd: int | None = None) -> int:
    """Open a regular file for reading, and never wait; raise Unfit for anything else.

    A file on which a process holds a lease (fcntl(2)) is unfit too: opening it would block.
    """
    try:
        descriptor = os.open(path, READ_SAFELY, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise Unfit("it is not a regular file", path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unfit("it is not a regular file", path)
    return descriptor


def read_pieces(
    path: str | bytes,
    limit_bytes: int | None = None,
    *,
    dir_fd: int | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> Iterator[bytes]:
    """Yield the content of a regular file, up to the size that it has when it is opened.

    Raises Unfit if that is more than `limit_bytes`. `checkpoint` is called for every piece. Not
    reading beyond the known size saves a system call per file, which matters where the file system
    is another process.
    """
    with open(open_regular(path, dir_fd=dir_fd), "rb", buffering=0) as file:
        left = os.fstat(file.fileno()).st_size
        if limit_bytes is not None and left > limit_bytes:
            raise Unfit(f"it is larger than {limit_bytes} bytes", path)
        while left > 0 and (piece := file.read(min(_PIECE_BYTES, left))):
            left -= len(piece)
            checkpoint()
            yield piece


def read_regular(path: str | bytes, limit_bytes: int, *, dir_fd: int | None = None) -> bytes:
    """Return the content of a regular file; raise Unfit if it has more than `limit_bytes`."""
    return b"".join(read_pieces(path, limit_bytes, dir_fd=dir_fd))


def read_json(path: str, limit_bytes: int = DOCUMENT_LIMIT_BYTES) -> dict[str, Any] | None:
    """Return the JSON object in a regular file; None if `path` has no such content."""
    try:
        document = json.loads(read_regular(path, limit_bytes))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
