"""Locks that die with their holder.

A lock is a flock(2) on an open file. Children that inherit the descriptor hold it too, so the
kernel frees it when the last of them is gone; nothing is judged by age or process number.
"""

import fcntl
import os


class Lock:
    """A held flock; the descriptor may be given to children."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def release(self) -> None:
        """Let go of it; children that inherited the descriptor keep the lock alive."""
        os.close(self.descriptor)


def try_lock(path: str) -> Lock | None:
    """Take the lock on the file `path`, which is made if need be; None if somebody has it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return Lock(descriptor)
