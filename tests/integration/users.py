"""Real unprivileged users, as whom a test does things."""

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_SUCCESS = 0
_OPEN = 0o711


@dataclass(frozen=True)
class User:
    """A user that the host knows, in his own group only."""

    name: str
    uid: int
    gid: int

    def tries(self, action: Callable[[], object]) -> int:
        """Do `action` as this user in a process of his own; return 0, or why it failed (errno)."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresgid(self.gid, self.gid, self.gid)
                os.setresuid(self.uid, self.uid, self.uid)
                os.umask(0o022)
                action()
                status = _SUCCESS
            except OSError as error:
                status = error.errno or status
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def does(self, action: Callable[[], object]) -> None:
        """Do `action` as this user; it has to work."""
        failure = self.tries(action)
        assert failure == 0, os.strerror(failure)


def members_and_stranger() -> tuple[User, User, User]:
    """Return two users of one group, and one of another: those that every host has."""
    known = [User(user.pw_name, user.pw_uid, user.pw_gid) for user in pwd.getpwall()]
    users = [user for user in known if user.uid and user.gid]
    for first in users:
        for second in users:
            if first.gid == second.gid and first.uid < second.uid:
                stranger = next(user for user in users if user.gid != first.gid)
                return first, second, stranger
    pytest.fail("no two users of this host have the same group")


@contextmanager
def reachable(directory: Path, top: Path) -> Iterator[None]:
    """Let everybody go through the directories above `directory`, from below `top` on."""
    between = [path for path in directory.parents if path.is_relative_to(top) and path != top]
    modes = {path: path.stat().st_mode for path in between}
    for path in between:
        path.chmod(_OPEN)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
