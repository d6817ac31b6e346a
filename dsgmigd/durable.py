"""Files that are whole on disk, or not there.

Leaving error: OSError.
"""

import contextlib
import errno
import json
import os
from typing import Any

READ_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def write_durably(path: str, content: bytes, mode: int) -> None:
    """Write a new file and wait until it is on disk; an older one of that name is removed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def sync_directory(path: str) -> None:
    """Wait until the names in a directory are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: str) -> dict[str, Any] | None:
    """Return the JSON object in a regular file; None if there is no such thing at `path`."""
    try:
        descriptor = os.open(path, READ_SAFELY)
        with open(descriptor, "rb") as file:
            document = json.load(file)
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            return None
        raise
    return document if isinstance(document, dict) else None
