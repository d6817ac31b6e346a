"""Locks that the kernel releases when their holder ends.

A lock is a flock(2) on an open file. Children that inherit the descriptor hold it too, so the
kernel releases it when the last of them has ended. A lock never has to be judged stale by its age
or by a process id.

Raises: OSError.
"""

import contextlib
import fcntl
import os
import pwd
import shlex

from dsgmigd.errors import AlreadyRunning

_COMMAND_CHARACTERS = 200


class Lock:
    """A held lock; children may inherit the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def release(self) -> None:
        """Release the lock; children that inherited the descriptor still hold it."""
        os.close(self.descriptor)


def try_lock(path: str) -> Lock | None:
    """Lock the file `path`, which is created if necessary; return None if it is locked already."""
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


def already_locked(path: str, message: str, *, hint: str) -> AlreadyRunning:
    """Return the error for the lock `path` that another process holds; it names that process."""
    holder = describe_holder(path)
    if holder is not None:
        return AlreadyRunning(f"{message}: {holder}", hint=hint)
    find = f"fuser -v {shlex.quote(os.path.realpath(path))}"
    return AlreadyRunning(message, hint=f"{hint}; to see the process, as root: {find}")


def describe_holder(path: str) -> str | None:
    """Return command, pid and user of a process that holds the lock `path`; None if none is seen.

    Only root sees the processes of other users. The answer is for people: the lock may be free by
    now.
    """
    file = os.path.realpath(path)
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        if _holds(pid, file):
            with contextlib.suppress(OSError):
                return _describe(pid)
    return None


def _holds(pid: int, file: str) -> bool:
    # Links are only read: to follow one to a file on a dead mount could hang.
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{number}") != file:
                    continue
                with open(f"/proc/{pid}/fdinfo/{number}", encoding="utf-8") as info:
                    if "FLOCK" in info.read():
                        return True
    return False


def _describe(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="backslashreplace") as file:
        command = shlex.join(file.read().rstrip("\0").split("\0"))
    if len(command) > _COMMAND_CHARACTERS:
        command = command[: _COMMAND_CHARACTERS - 1] + "…"
    uid = os.stat(f"/proc/{pid}").st_uid
    user = str(uid)
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(uid).pw_name
    return f"{command} (pid {pid}, user {user})"
