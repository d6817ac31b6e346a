"""Checks a source snapshot for what the target cannot hold, before anything is copied.

If the snapshot can be sent, only what changed since the snapshot before is checked, in btrfs's own
metadata; otherwise every path. The search also finds nested subvolumes, which are not in a send
stream. Where the target takes two names for one, names are compared with those before, too.

Raises: LossNotAllowed, TargetRefused, SourceUnreadable.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import get_args

from dsgmigd.dsg.push_line import UNKNOWN_USER
from dsgmigd.errors import LossNotAllowed, TargetRefused
from dsgmigd.exclusion import is_excluded
from dsgmigd.host.directories import Directories
from dsgmigd.host.file_errors import source_error
from dsgmigd.host.hashing import HOLES_LIMIT_BYTES
from dsgmigd.migration.name_changes import find_name_changes
from dsgmigd.request import LOSS_WORDS, LOSSES, Loss
from dsgmigd.source.provenance import Pushes
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.source.tree_search import Inode, Nested, Search, Xattr
from dsgmigd.target.capabilities import Capabilities, Obstacle, Shortfall, is_carried_xattr

_KEPT_EXAMPLES = 5
_BLOCK_BYTES = 512
_LONG_EXAMPLE = 120
# btrfs send supports no path of PATH_MAX bytes or more, counted from the snapshot.
_PATH_LIMIT_BYTES = 4096
_LONGEST_BELOW_BYTES = 256
_OBSTACLE_WORDS: dict[Obstacle, str] = {
    "owner": "user or group numbers above the target's highest",
    "device": "device nodes",
    "holes": f"files with more than {HOLES_LIMIT_BYTES >> 40} TiB of holes, which would take hours "
    "to hash",
    "name encoding": "names that are not UTF-8",
    "name twins": "names that collide on the target (case or Unicode normalization)",
    "name change": "names that the snapshot before has in another case or Unicode normalization",
    "name length": "names longer than the target's longest",
    "path length": "paths longer than btrfs send supports",
}
_WORDS = LOSS_WORDS | _OBSTACLE_WORDS


@dataclass
class _Found:
    count: int = 0
    examples: list[str] = field(default_factory=list)


def survey_snapshot(
    held: HeldSnapshot,
    since: int,
    capabilities: Capabilities,
    allowed: Iterable[Loss],
    *,
    parent: HeldSnapshot | None = None,
) -> frozenset[bytes]:
    """Return the nested subvolumes in `held`; raise if the target cannot hold the rest.

    `since` is the transaction up to which the snapshot `parent` had the same content; 0 for all.
    Without btrfs's metadata no nested subvolumes are returned.
    """
    survey = _Survey(capabilities, frozenset(allowed))
    try:
        if held.is_sendable:
            nested = survey.search(held.path, since)
        else:
            nested = frozenset()
            survey.walk(held.path)
        if capabilities.has_name_rules:
            survey.read_names(held.path)
        if capabilities.has_name_twins and parent is not None:
            survey.compare_names(held, parent, since)
    except OSError as error:
        raise source_error(error, f"looking through {held.name}") from error
    survey.raise_on_findings(str(held.name))
    return nested


def check_pushes(pushes: Pushes, allowed: Iterable[Loss]) -> None:
    """Raise LossNotAllowed if who pushed a snapshot cannot be read and may not be lost."""
    if not pushes.unread or "push_log" in allowed:
        return
    (first, problem), *_ = pushes.unread.items()
    raise LossNotAllowed(
        f"who pushed {len(pushes.unread)} snapshots cannot be read, first {first}: {problem}",
        hint="correct the push log in the source, or submit with "
        f'"allow_loss": ["push_log"] added: {UNKNOWN_USER!r} is recorded for these snapshots',
    )


class _Survey:
    """What the target cannot hold of one snapshot, and the request does not allow to lose."""

    def __init__(self, capabilities: Capabilities, allowed: frozenset[Loss]) -> None:
        self._capabilities = capabilities
        self._allowed = allowed
        self._found: dict[Shortfall, _Found] = {}

    def search(self, path: str, since: int) -> frozenset[bytes]:
        """Look at what changed in a subvolume."""
        nested = set()
        with Search(path) as search:
            for item in search.changes(since):
                if isinstance(item, Nested):
                    nested.add(search.path_in(item.directory, item.name))
                    continue
                inode = item.number if isinstance(item, Inode) else item.inode
                for shortfall in self._shortfalls(item):
                    self._note(shortfall, search.paths_of(inode))
                if isinstance(item, Inode) and stat.S_ISDIR(item.mode):
                    self._check_depth(path, search.paths_of(inode)[0])
        return frozenset(path for path in nested if not is_excluded(path))

    def _check_depth(self, root: str, path: bytes) -> None:
        """Note the names in a directory whose path is too long."""
        if len(path) + _LONGEST_BELOW_BYTES < _PATH_LIMIT_BYTES:
            return
        with Directories(root) as tree:
            names = list(map(os.fsencode, tree.names(path)))
        for name in names:
            if len(path) + 1 + len(name) >= _PATH_LIMIT_BYTES:
                self._note("path length", [path + b"/" + name])

    def walk(self, root: str) -> None:
        """Check a directory and every path below it."""
        self._check(b"", os.lstat(root), os.listxattr(root, follow_symlinks=False))
        for path, entry in _entries(root):
            names = os.listxattr(entry.path, follow_symlinks=False)
            self._check(path, entry.stat(follow_symlinks=False), names)

    def _check(self, path: bytes, status: os.stat_result, xattrs: list[str]) -> None:
        facts: list[Inode | Xattr] = [
            Inode(
                number=status.st_ino,
                mode=status.st_mode,
                uid=status.st_uid,
                gid=status.st_gid,
                mtime_ns=status.st_mtime_ns,
                hole_bytes=max(0, status.st_size - status.st_blocks * _BLOCK_BYTES),
            )
        ]
        facts += [Xattr(status.st_ino, name) for name in xattrs]
        for fact in facts:
            for shortfall in self._shortfalls(fact):
                self._note(shortfall, [path])

    def read_names(self, root: str) -> None:
        """Check every name below a directory: btrfs's metadata cannot tell which names collide."""
        directory, seen = b"", set[str]()
        for path, entry in _entries(root):
            if os.path.dirname(path) != directory:
                directory, seen = os.path.dirname(path), set()
            key = self._capabilities.name_key(os.fsdecode(entry.name))
            for shortfall in self._capabilities.name_obstacles(entry.name):
                self._note(shortfall, [path])
            if key in seen:
                self._note("name twins", [path])
            seen.add(key)

    def compare_names(self, held: HeldSnapshot, parent: HeldSnapshot, since: int) -> None:
        """Check every name that is new in its directory."""
        for path in find_name_changes(held, parent, since, self._capabilities.name_key):
            self._note("name change", [path])

    def _shortfalls(self, fact: Inode | Xattr) -> list[Shortfall]:
        if isinstance(fact, Xattr):
            loss = self._capabilities.xattr_loss(fact.name) if is_carried_xattr(fact.name) else None
            found: list[Shortfall] = [loss] if loss else []
        else:
            found = self._capabilities.shortfalls(fact.mode, fact.uid, fact.gid, fact.mtime_ns)
            if stat.S_ISREG(fact.mode) and fact.hole_bytes > HOLES_LIMIT_BYTES:
                found.append("holes")
        return [shortfall for shortfall in found if shortfall not in self._allowed]

    def _note(self, shortfall: Shortfall, paths: list[bytes]) -> None:
        paths = [path for path in paths if not is_excluded(path)]
        if paths:
            found = self._found.setdefault(shortfall, _Found())
            found.count += 1
            if len(found.examples) < _KEPT_EXAMPLES:
                found.examples.append(_shown(paths[0] or b"."))

    def raise_on_findings(self, snapshot: str) -> None:
        """Raise an error if anything was found."""
        obstacles = [kind for kind in get_args(Obstacle) if kind in self._found]
        losses = [kind for kind in LOSSES if kind in self._found]
        words = "; ".join(self._describe(kind) for kind in (*obstacles, *losses))
        if obstacles:
            raise TargetRefused(
                f"{snapshot} has content that the target cannot hold: {words}",
                hint="choose a target that can hold it, or change it in the source",
            )
        if losses:
            listed = ", ".join(f'"{loss}"' for loss in losses)
            raise LossNotAllowed(
                f"{snapshot} has content that the target cannot hold: {words}",
                hint=f'choose another target, or submit with "allow_loss": [{listed}] added',
            )

    def _describe(self, kind: Shortfall) -> str:
        found = self._found[kind]
        return f"{_WORDS[kind]} ({found.count}, first: {', '.join(map(repr, found.examples))})"


def _shown(path: bytes) -> str:
    text = path.decode("utf-8", "backslashreplace")
    half = _LONG_EXAMPLE // 2
    return text if len(text) <= _LONG_EXAMPLE else f"{text[:half]} … {text[-half:]}"


def _entries(root: str) -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
    """Yield every path below `root` with its entry; other file systems are not entered."""
    device = os.lstat(root).st_dev
    waiting = [b""]
    while waiting:
        directory = waiting.pop()
        with os.scandir(os.path.join(os.fsencode(root), directory)) as entries:
            for entry in entries:
                path = os.path.join(directory, entry.name)
                if is_excluded(path):
                    continue
                yield path, entry
                if (
                    entry.is_dir(follow_symlinks=False)
                    and entry.stat(follow_symlinks=False).st_dev == device
                ):
                    waiting.append(path)
