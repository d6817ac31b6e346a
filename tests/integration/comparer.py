"""Everything that two directory trees can differ in, by a walk that knows nothing of dsgmigd."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Skip = frozenset[bytes]
_ZEROS = bytes(1 << 20)
# btrfs: the root of a subvolume, and what a snapshot has in the place of one in its origin.
_SUBVOLUME, _NO_SUBVOLUME = 256, 2
EXCLUDED: Skip = frozenset({b".snap", b".zfs", b"HEAD", b"lost+found", b".Trash-0"})
DSG: Skip = frozenset({b".dsg"})


@dataclass
class Entry:
    """What one path is; `group` is the first of the paths that are the same file."""

    facts: tuple[object, ...]
    xattrs: dict[str, bytes]
    digest: str
    group: bytes = b""


def read_tree(root: Path, skipped: Skip) -> dict[bytes, Entry]:
    """Return everything below `root` but the names that are skipped at the root."""
    entries: dict[bytes, Entry] = {}
    groups: dict[tuple[int, int], bytes] = {}
    inodes: dict[bytes, tuple[int, int]] = {}
    for path in _walk(os.fsencode(root), skipped):
        full = os.path.join(os.fsencode(root), path)
        status = os.lstat(full)
        inode = (status.st_dev, status.st_ino)
        groups[inode] = min(path, groups.get(inode, path))
        entries[path] = Entry(_facts(full, status), _xattrs(full), _digest(full, status))
        inodes[path] = inode
    for path, inode in inodes.items():
        entries[path].group = groups[inode]
    return entries


def differences(source: Path, target: Path) -> list[str]:
    """Return in words where `target` is not what `source` is, the excluded aside.

    For a nested subvolume only the existence of a directory counts: its times are invented.
    """
    mine, theirs = read_tree(source, EXCLUDED), read_tree(target, EXCLUDED | DSG)
    for path in nested_subvolumes(source) & theirs.keys():
        if stat.S_ISDIR(os.lstat(os.path.join(os.fsencode(target), path)).st_mode):
            del mine[path], theirs[path]
    found = [f"missing: {path!r}" for path in sorted(mine.keys() - theirs.keys())]
    found += [f"extra: {path!r}" for path in sorted(theirs.keys() - mine.keys())]
    for path in sorted(mine.keys() & theirs.keys()):
        one, other = vars(mine[path]), vars(theirs[path])
        found += [
            f"{path!r}: {key} is {other[key]!r}, source {one[key]!r}"
            for key in one
            if one[key] != other[key]
        ]
    return found


def nested_subvolumes(root: Path) -> set[bytes]:
    """Return the paths below `root` at which other subvolumes begin."""
    top = os.lstat(root)
    return {
        path
        for path in _walk(os.fsencode(root), EXCLUDED)
        if is_border(os.lstat(os.path.join(os.fsencode(root), path)), top)
    }


def _walk(root: bytes, skipped: Skip) -> Iterator[bytes]:
    yield b"."
    top = os.lstat(root)
    stack = [name for name in os.listdir(root) if name not in skipped]
    while stack:
        path = stack.pop()
        yield path
        full = os.path.join(root, path)
        status = os.lstat(full)
        if stat.S_ISDIR(status.st_mode) and not is_border(status, top):
            stack += [path + b"/" + name for name in os.listdir(full)]


def is_border(status: os.stat_result, top: os.stat_result) -> bool:
    """Say whether below `top` another subvolume begins there, or an empty directory in its place.

    The numbers alone do not tell: ZFS gives them to any directory.
    """
    if not stat.S_ISDIR(status.st_mode) or status.st_dev != top.st_dev:
        return stat.S_ISDIR(status.st_mode)
    return (status.st_ino, top.st_ino) == (_NO_SUBVOLUME, _SUBVOLUME)


def _facts(full: bytes, status: os.stat_result) -> tuple[object, ...]:
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    reference = os.readlink(full) if stat.S_ISLNK(status.st_mode) else b""
    facts = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev)
    return (*facts, size, reference)


def _xattrs(full: bytes) -> dict[str, bytes]:
    # How btrfs stores a file is not what is in it.
    names = [
        name for name in os.listxattr(full, follow_symlinks=False) if not name.startswith("btrfs.")
    ]
    return {name: os.getxattr(full, name, follow_symlinks=False) for name in names}


def _digest(full: bytes, status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return ""
    digest = hashlib.blake2b()
    with open(full, "rb") as file:
        while chunk := file.read(len(_ZEROS)):
            # Holes are long, and an emulated processor hashes slowly; the size is compared too.
            digest.update(b"zeros" if chunk == _ZEROS else chunk)
    return digest.hexdigest()
