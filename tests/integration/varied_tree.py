"""A tree of some hundred paths of every kind, and what changes from snapshot to snapshot."""

import os
import stat
from pathlib import Path
from random import Random

_NAMES = ("a", "Bericht ü", ".hidden", "x.tmp", "two\nlines", "-rf", os.fsdecode(b"latin-\xe9"))
_SIZES = (0, 1, 100, 100, 100, 4096, 5000, 70_000)
# POSIX ACL, version 2: user::rw-, user:7:r--, group::r--, mask::r--, other::r--
ACL = bytes.fromhex(
    "02000000 0100 0600 ffffffff 0200 0400 07000000 0400 0400 ffffffff"
    "1000 0400 ffffffff 2000 0400 ffffffff"
)


def plant(root: Path, random: Random, *, files: int, has_xattrs: bool = True) -> None:
    """Make the tree below `root`, which is empty."""
    directories = [root]
    for number in range(files // 6):
        parent = random.choice(directories)
        directories.append(parent / f"{random.choice(_NAMES)} d{number}")
        directories[-1].mkdir()
    for directory in directories[-5:]:
        (directory / "empty").mkdir()
    for number in range(files):
        path = random.choice(directories) / f"{random.choice(_NAMES)}{number}"
        path.write_bytes(random.randbytes(random.choice(_SIZES)))
        if number % 9 == 0:
            path.chmod(random.choice((0o600, 0o755, 0o4755, 0o2755)))
        if number % 7 == 0:
            os.chown(path, random.choice((1000, 65_534)), 7)
    for number in range(files // 20):
        _plant_oddities(random, directories, number)
    if has_xattrs:
        _set_xattrs(root, random)
    for number, path in enumerate(sorted(root.rglob("*"))):
        mtime = 1_400_000_000_000_000_000 + number * 86_400_000_000_001
        os.utime(path, ns=(mtime, mtime), follow_symlinks=False)
    _plant_twins(random, directories)


def _plant_oddities(random: Random, directories: list[Path], number: int) -> None:
    """Make one of each kind that is not a plain file."""

    def place(name: str) -> Path:
        return random.choice(directories) / f"{name}{number}"

    with place("sparse").open("wb") as file:
        file.write(b"head")
        file.seek(200_000)
        file.write(b"tail")
    place("to file").symlink_to(f"a{number}")
    place("to nowhere").symlink_to("/absent/ü")
    linked = place("linked")
    linked.write_bytes(random.randbytes(1000))
    place("linked too").hardlink_to(linked)
    if number % 2:
        place("linked again").hardlink_to(linked)
    os.mkfifo(place("pipe"))
    os.mknod(place("socket"), stat.S_IFSOCK | 0o600)
    os.mknod(place("null"), stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.mknod(place("disk"), stat.S_IFBLK | 0o640, os.makedev(8, number))


def _plant_twins(random: Random, directories: list[Path]) -> None:
    """Make files that are alike in all but their names."""
    for number in range(4):
        for name in ("twin", "other twin"):
            path = random.choice(directories) / f"{name} {number}"
            path.write_bytes(b"alike %d" % number)
            os.utime(path, ns=(0, 1_300_000_000_123_456_789 + number))


def _set_xattrs(root: Path, random: Random) -> None:
    paths = sorted(root.rglob("*"))
    for path in random.sample(paths, len(paths) // 4):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            os.setxattr(path, "user.origin", random.randbytes(random.choice((0, 5, 3000))))
            if random.random() < 0.3:
                os.setxattr(path, "system.posix_acl_access", ACL)
        else:
            os.setxattr(path, "trusted.origin", b"x", follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.setxattr(path, "system.posix_acl_default", ACL)


def change(root: Path, random: Random, number: int) -> None:
    """Change some of the tree, as it is done between two snapshots."""
    files = sorted(path for path in root.rglob("a*") if path.is_file() and not path.is_symlink())
    edited, appended, removed, moved, touched = random.sample(files, 5)
    with edited.open("r+b") as file:
        file.write(b"edited %d" % number)
    with appended.open("ab") as file:
        file.write(b"appended %d" % number)
    removed.unlink()
    moved.rename(root / f"moved {number}")
    os.utime(touched, ns=(0, 1_450_000_000_000_000_001 + number))
    (root / f"new {number}").mkdir()
    (root / f"new {number}" / "file").write_bytes(random.randbytes(3000))
