"""Look through a source snapshot for what the target cannot hold, before anything is copied.

Of a snapshot that can be sent only what changed since the one before is looked at, in the source's
own metadata; of any other, every path. On the way turn up the places where another subvolume
begins: a send stream does not tell of them.

Leaving errors: LossNotAllowed, TargetRefused, SourceUnreadable.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import get_args

from dsgmigd.abilities import Abilities, Obstacle, Shortfall, is_carried_xattr
from dsgmigd.btrfs.search import Inode, Nested, Search, Xattr
from dsgmigd.descriptors import Directories
from dsgmigd.errors import LossNotAllowed, TargetRefused
from dsgmigd.exclusion import is_excluded
from dsgmigd.file_errors import source_error
from dsgmigd.request import LOSSES, Loss
from dsgmigd.source import HeldSnapshot

_KEPT_EXAMPLES = 5
_LONG_EXAMPLE = 120
# btrfs send knows no path of PATH_MAX bytes or more, counted from the snapshot.
_PATH_LIMIT_BYTES = 4096
_LONGEST_BELOW_BYTES = 256
_WORDS: dict[Shortfall, str] = {
    "xattr": "extended attributes",
    "acl": "POSIX ACLs",
    "subsecond_mtime": "modification times below the second",
    "mtime_range": "modification times out of the target's range",
    "owner": "user or group numbers above the target's highest",
    "device": "device nodes",
    "name encoding": "names that are not UTF-8",
    "name twins": "names that the target takes for one and the same",
    "name length": "names longer than the target's longest",
    "path length": "paths longer than btrfs send can tell",
}


@dataclass
class _Found:
    count: int = 0
    examples: list[str] = field(default_factory=list)


def survey_snapshot(
    held: HeldSnapshot, since: int, abilities: Abilities, allowed: Iterable[Loss]
) -> frozenset[bytes]:
    """Return where other subvolumes begin in `held`; raise if the target cannot hold the rest.

    `since` is the transaction up to which the snapshot before had the same content; 0 for all.
    Where nothing is known of the source's metadata, no places are returned.
    """
    survey = _Survey(abilities, frozenset(allowed))
    try:
        if held.is_sendable:
            nested = survey.search(held.path, since)
        else:
            nested = frozenset()
            survey.walk(held.path)
        if abilities.has_name_rules:
            survey.read_names(held.path)
    except OSError as error:
        raise source_error(error, f"looking through {held.name}") from error
    survey.judge(str(held.name))
    return nested


class _Survey:
    """What one snapshot has that the target cannot hold and nobody allowed to lose."""

    def __init__(self, abilities: Abilities, allowed: frozenset[Loss]) -> None:
        self._abilities = abilities
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
        """Look for names in a directory that are too far down."""
        if len(path) + _LONGEST_BELOW_BYTES < _PATH_LIMIT_BYTES:
            return
        with Directories(root) as tree:
            names = list(map(os.fsencode, tree.names(path)))
        for name in names:
            if len(path) + 1 + len(name) >= _PATH_LIMIT_BYTES:
                self._note("path length", [path + b"/" + name])

    def walk(self, root: str) -> None:
        """Look at every path below a directory."""
        for path, entry in _entries(root):
            status = entry.stat(follow_symlinks=False)
            facts: list[Inode | Xattr] = [
                Inode(
                    number=status.st_ino,
                    mode=status.st_mode,
                    uid=status.st_uid,
                    gid=status.st_gid,
                    mtime_ns=status.st_mtime_ns,
                )
            ]
            names = os.listxattr(entry.path, follow_symlinks=False)
            facts += [Xattr(status.st_ino, name) for name in names]
            for fact in facts:
                for shortfall in self._shortfalls(fact):
                    self._note(shortfall, [path])

    def read_names(self, root: str) -> None:
        """Look at every name below a directory: what two of them have in common, no inode tells."""
        directory, seen = b"", set[str]()
        for path, entry in _entries(root):
            if os.path.dirname(path) != directory:
                directory, seen = os.path.dirname(path), set()
            key = self._abilities.name_key(os.fsdecode(entry.name))
            for shortfall in self._abilities.name_obstacles(entry.name):
                self._note(shortfall, [path])
            if key in seen:
                self._note("name twins", [path])
            seen.add(key)

    def _shortfalls(self, fact: Inode | Xattr) -> list[Shortfall]:
        if isinstance(fact, Xattr):
            loss = self._abilities.xattr_loss(fact.name) if is_carried_xattr(fact.name) else None
            found: list[Shortfall] = [loss] if loss else []
        else:
            found = self._abilities.shortfalls(fact.mode, fact.uid, fact.gid, fact.mtime_ns)
        return [shortfall for shortfall in found if shortfall not in self._allowed]

    def _note(self, shortfall: Shortfall, paths: list[bytes]) -> None:
        paths = [path for path in paths if not is_excluded(path)]
        if paths:
            found = self._found.setdefault(shortfall, _Found())
            found.count += 1
            if len(found.examples) < _KEPT_EXAMPLES:
                found.examples.append(_shown(paths[0] or b"."))

    def judge(self, snapshot: str) -> None:
        """Raise an error if anything was found."""
        obstacles = [kind for kind in get_args(Obstacle) if kind in self._found]
        losses = [kind for kind in LOSSES if kind in self._found]
        words = "; ".join(self._describe(kind) for kind in (*obstacles, *losses))
        if obstacles:
            raise TargetRefused(
                f"{snapshot} has what the target cannot hold: {words}",
                hint="choose a target file system that can hold it, or change it in the source",
            )
        if losses:
            listed = ", ".join(f'"{loss}"' for loss in losses)
            raise LossNotAllowed(
                f"{snapshot} has what the target cannot hold: {words}",
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
