"""Who can exchange what is on a path: the rules for directories on which root relies.

`weakness_of` is the rule; the other functions are the system calls.

Raises: OSError.
"""

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass

_MOST_LINKS = 40


@dataclass(frozen=True)
class Component:
    """One directory or symbolic link on an absolute path, as lstat describes it."""

    path: str
    mode: int
    uid: int

    @property
    def is_link(self) -> bool:
        """Say whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_directory(self) -> bool:
        """Say whether it is a directory."""
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True)
class Weakness:
    """Why others can exchange what is there, and what an administrator does about it."""

    problem: str
    fix: str


def weakness_of(component: Component, euid: int, *, may_be_sticky: bool = True) -> Weakness | None:
    """Return what lets others than root and user `euid` exchange a component or what is in it.

    In a sticky directory others may only add names, and exchange their own; with `may_be_sticky`
    that counts as safe.
    """
    quoted = shlex.quote(component.path)
    if component.uid not in {0, euid}:
        return Weakness(
            f"belongs to user {component.uid}, who can replace what is in it",
            f"check what is in it, then: chown {'-h ' * component.is_link}root {quoted}",
        )
    if component.is_link or not component.mode & 0o022:  # a link has no mode of its own
        return None
    if not may_be_sticky:
        return Weakness(
            "is group- or world-writable", f"remove the write bits: chmod go-w {quoted}"
        )
    if component.mode & stat.S_ISVTX:
        return None
    return Weakness(
        "is group- or world-writable without the sticky bit",
        f"set the sticky bit: chmod +t {quoted}; or remove the write bits: chmod go-w {quoted}",
    )


def look_at(path: str) -> Component:
    """Return a component of a path."""
    status = os.lstat(path)
    return Component(path, status.st_mode, status.st_uid)


def paths_to(directory: str) -> list[str]:
    """Return the path of every component from / to `directory`, which is one of them."""
    parts = [part for part in directory.split("/") if part]
    return ["/" + "/".join(parts[:count]) for count in range(len(parts) + 1)]


def way_to(path: str) -> Iterator[Component]:
    """Yield every component that the kernel passes on the way to `path`, links and their targets.

    The last one is what `path` leads to.
    """
    waiting = _reversed_parts(os.path.abspath(path))
    current, links = "/", 0
    yield look_at(current)
    while waiting:
        name = waiting.pop()
        if name == "..":
            current = os.path.dirname(current)
            yield look_at(current)
            continue
        component = look_at(os.path.join(current, name))
        yield component
        if not component.is_link:
            current = component.path
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(component.path)
        waiting += _reversed_parts(target)
        if os.path.isabs(target):
            current = "/"


def _reversed_parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}][::-1]
