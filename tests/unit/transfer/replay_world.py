"""A staging directory onto which tests replay commands, and what is reported to the listener."""

import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dsgmigd.host.directories import Directories
from dsgmigd.source.send_stream import Command
from dsgmigd.transfer.replay import Replay
from tests.unit import send_commands as send

Event = tuple[str, *tuple[bytes, ...]]


class Listener:
    """Records what is reported to it; the paths in `untracked` are not tracked.

    `contents` has the hash, size and time of each file that was written whole.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.contents: dict[bytes, tuple[str, int, int]] = {}
        self.untracked: set[bytes] = set()

    def created(self, path: bytes) -> None:
        self.events.append(("created", path))

    def written(self, path: bytes, digest: str, size: int, mtime_ns: int) -> None:
        self.contents[path] = (digest, size, mtime_ns)

    def created_directory(self, path: bytes) -> None:
        self.events.append(("created_directory", path))

    def renamed(self, old: bytes, new: bytes) -> None:
        self.events.append(("renamed", old, new))

    def linked(self, existing: bytes, path: bytes) -> None:
        self.events.append(("linked", existing, path))

    def removed(self, path: bytes) -> None:
        self.events.append(("removed", path))

    def content_changed(self, path: bytes) -> bool:
        self.events.append(("content_changed", path))
        return path not in self.untracked

    def times_changed(self, path: bytes) -> bool:
        self.events.append(("times_changed", path))
        return path not in self.untracked

    def link_group_changed(self, inode: int) -> None:
        self.events.append(("link_group_changed", b"%d" % inode))

    def appeared(self, path: bytes) -> None:
        self.events.append(("appeared", path))


class World:
    """A staging directory and its parent snapshot, and one replay after another onto it."""

    def __init__(self, top: Path) -> None:
        self.root = top / "staging"
        self.parent = top / "parent"
        self.outside = top / "outside"
        for directory in (self.root, self.parent, self.outside):
            directory.mkdir()
        self.listener = Listener()

    @property
    def events(self) -> list[Event]:
        return self.listener.events

    def replay(self, *commands: Command, has_parent: bool = True, **options: Any) -> Replay:
        """Replay the commands; `checkpoint`, `first` and what `Replay` takes can be given."""
        parent = self.parent if has_parent else None
        return replay_onto(self.root, self.listener, *commands, parent=parent, **options)


def replay_onto(
    root: Path,
    listener: Listener,
    *commands: Command,
    parent: Path | None = None,
    checkpoint: Callable[[], None] = lambda: None,
    first: Command | None = None,
    **options: Any,
) -> Replay:
    """Replay the commands onto the directory `root`, after `first`, or the usual beginning."""
    with ExitStack() as opened:
        replay = Replay(
            opened.enter_context(Directories(str(root))),
            listener,
            parent=opened.enter_context(Directories(str(parent))) if parent else None,
            **options,
        )
        replay.apply([first or send.begin(), *commands], checkpoint=checkpoint)
    return replay


def mode_of(path: Path) -> int:
    """Return the permission bits of `path` itself."""
    return stat.S_IMODE(path.lstat().st_mode)


def tree_of(root: Path) -> dict[str, bytes | None]:
    """Return the content of every file below `root`; None for a directory."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in root.rglob("*")
    }
