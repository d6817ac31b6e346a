"""What a btrfs snapshot can hold, one oddity a directory."""

import fcntl
import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import bed

from tests.acls import ACL, ACL_OF_DIRECTORIES
from tests.amounts import amount

Plant = Callable[[bytes], object]
SECOND = 1_000_000_000
SPARSE_BYTES = 64 * 1024 * 1024
# linux/fs.h
_FICLONE = 0x40049409

NAMES = {
    "newline": b"a\nb",
    "carriage return": b"a\rb",
    "tab": b"a\tb",
    "escape": b"\x1b[31m",
    "delete": b"\x7f",
    "no utf-8": b"\xff\xfe",
    "half a character": b"\xc3\x28",
    "longest": b"n" * 255,
    "longest in characters of three bytes": "語".encode() * 85,
    "astral": "\U0001d518\U0001f4be".encode(),
    "zero width": "a\u200bb".encode(),
    "right to left": "\u202eabc".encode(),
    "leading dash": b"-rf",
    "leading blank": b" a",
    "trailing blank": b"a ",
    "only a blank": b" ",
    "three dots": b"...",
    "backslash": b"a\\b",
    "quotes": b"'\"`",
    "glob": b"*?[a]",
    "percent": b"%s%n",
    "at and hash": b"x@s1#y",
    "reserved elsewhere": b"CON",
    "trailing dot": b"a.",
    "tilde": b"a~",
    "a deep .dsg": b".dsg",
    "a deep HEAD": b"HEAD",
    "a deep lost+found": b"lost+found",
    "a deep .snap": b".snap",
    "a deep .Trash-0": b".Trash-0",
}


def plant_all(tree: Path, names: set[str]) -> None:
    """Plant the oddities called `names`, each in a directory of its own."""
    for number, (name, plant) in enumerate(sorted(ODDITIES.items())):
        if name in names:
            place = os.fsencode(tree / f"o{number:03}")
            os.mkdir(place)
            plant(place)


def _file(path: bytes, content: bytes = b"content\n") -> bytes:
    with open(path, "wb") as file:
        file.write(content)
    return path


def _named(name: bytes) -> Plant:
    return lambda place: _file(place + b"/" + name)


def _twins(one: str, other: str) -> Plant:
    def plant(place: bytes) -> None:
        _file(place + b"/" + one.encode(), b"one")
        _file(place + b"/" + other.encode(), b"other")

    return plant


def _sized(size: int) -> Plant:
    return lambda place: _file(
        place + b"/f", bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    )


def _sparse(size: int, *offsets: int) -> Plant:
    def plant(place: bytes) -> None:
        with open(place + b"/f", "wb") as file:
            file.truncate(size)
            for offset in offsets:
                file.seek(offset)
                file.write(b"data")

    return plant


def _preallocated(place: bytes) -> None:
    with open(place + b"/f", "wb") as file:
        file.write(b"data")
        os.posix_fallocate(file.fileno(), 0, 1 << 20)


def _cloned(place: bytes) -> None:
    _sized(100_000)(place)
    with open(place + b"/f", "rb") as origin, open(place + b"/clone", "wb") as clone:
        fcntl.ioctl(clone, _FICLONE, origin.fileno())


def _compressed(place: bytes) -> None:
    bed.run("btrfs", "property", "set", os.fsdecode(place), "compression", "zstd")
    _file(place + b"/f", b"a" * 200_000)


def _not_copied_on_write(place: bytes) -> None:
    subprocess.run(("chattr", "+C", place), check=True)
    _file(place + b"/f", b"a" * 10_000)


def _with_mode(mode: int, *, is_directory: bool = False) -> Plant:
    def plant(place: bytes) -> None:
        path = place + b"/f"
        if is_directory:
            os.mkdir(path)
            _file(path + b"/inside")
        else:
            _file(path)
        os.chmod(path, mode)

    return plant


def _owned(uid: int, gid: int) -> Plant:
    def plant(place: bytes) -> None:
        os.chown(_file(place + b"/f"), uid, gid)
        os.symlink(b"f", place + b"/l")
        os.chown(place + b"/l", uid, gid, follow_symlinks=False)

    return plant


def _dated(nanoseconds: int) -> Plant:
    def plant(place: bytes) -> None:
        os.symlink(b"f", place + b"/l")
        os.mkdir(place + b"/d")
        for path in (_file(place + b"/f"), place + b"/l", place + b"/d"):
            os.utime(path, ns=(0, nanoseconds), follow_symlinks=False)

    return plant


def _linked(count: int) -> Plant:
    def plant(place: bytes) -> None:
        _file(place + b"/0")
        os.mkdir(place + b"/d")
        for number in range(1, count):
            directory = b"/d" if number % 2 else b""
            os.link(place + b"/0", place + directory + b"/%d" % number)

    return plant


def _linked_special(make: Callable[[bytes], object]) -> Plant:
    def plant(place: bytes) -> None:
        make(place + b"/a")
        os.link(place + b"/a", place + b"/b", follow_symlinks=False)

    return plant


def _link_to(reference: bytes) -> Plant:
    return lambda place: os.symlink(reference, place + b"/l")


def _node(mode: int, device: int = 0) -> Plant:
    return lambda place: os.mknod(place + b"/n", mode | 0o640, device)


def _socket(place: bytes) -> None:
    before = os.getcwd()
    os.chdir(place)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("s")
    finally:
        os.chdir(before)


def _deep(depth: int, name: bytes) -> Plant:
    def plant(place: bytes) -> None:
        path = place
        for _ in range(depth):
            path += b"/" + name
            os.mkdir(path)
        _file(path + b"/f")

    return plant


def _many(count: int) -> Plant:
    def plant(place: bytes) -> None:
        for number in range(count):
            _file(place + b"/f%05d" % number, b"")

    return plant


def _attributed(key: bytes, value: bytes, kind: str = "file") -> Plant:
    def plant(place: bytes) -> None:
        path = place + b"/x"
        if kind == "file":
            _file(path)
        elif kind == "directory":
            os.mkdir(path)
        elif kind == "link":
            os.symlink(b"nowhere", path)
        else:
            os.mkfifo(path)
        os.setxattr(path, key, value, follow_symlinks=False)

    return plant


def _defaulted_later(place: bytes) -> None:
    """Make a directory in which nothing has the ACL that it passes on."""
    os.makedirs(place + b"/d/e")
    with open(place + b"/d/f", "xb"):
        pass
    os.setxattr(place + b"/d", b"system.posix_acl_default", ACL_OF_DIRECTORIES)


def _much_attributed(place: bytes) -> None:
    _file(place + b"/x")
    for number in range(50):
        os.setxattr(place + b"/x", b"user.n%d" % number, b"v" * number)


def _nested(place: bytes) -> None:
    bed.run("btrfs", "subvolume", "create", os.fsdecode(place + b"/nested"))
    _file(place + b"/nested/not migrated")


MANY_NAMES = int(amount("DSGMIGD_NAMES"))
ORDINARY: dict[str, Plant] = {
    **{f"name: {key}": _named(name) for key, name in NAMES.items()},
    "names: composed and decomposed": _twins("\u00e9", "e\u0301"),
    "names: upper and lower case": _twins("readme", "README"),
    "size 0": _sized(0),
    "size 1": _sized(1),
    "size 2048, inline": _sized(2048),
    "size 4095": _sized(4095),
    "size 4096": _sized(4096),
    "size 4097": _sized(4097),
    "size over a MiB": _sized((1 << 20) + 1),
    "all a hole": _sparse(SPARSE_BYTES),
    "a hole first": _sparse(SPARSE_BYTES, SPARSE_BYTES - 4),
    "a hole last": _sparse(SPARSE_BYTES, 0),
    "a hole between": _sparse(SPARSE_BYTES, 0, SPARSE_BYTES // 2 + 17),
    "preallocated": _preallocated,
    "a clone": _cloned,
    "compressed": _compressed,
    "not copied on write": _not_copied_on_write,
    "setuid": _with_mode(0o4755),
    "setgid": _with_mode(0o2755),
    "sticky": _with_mode(0o1644),
    "mode 0": _with_mode(0),
    "directory, setgid and sticky": _with_mode(0o3775, is_directory=True),
    "directory, mode 0": _with_mode(0, is_directory=True),
    "owner nobody": _owned(65534, 65534),
    "owner of 31 bits": _owned(2**31 - 1, 2**31 - 2),
    "before 1970": _dated(-3 * SECOND),
    "in 1902": _dated(-(2**31) * SECOND),
    "at 1970": _dated(0),
    "two names": _linked(2),
    "many names": _linked(MANY_NAMES),
    "link to a symlink": _linked_special(lambda path: os.symlink(b"x", path)),
    "link to a pipe": _linked_special(os.mkfifo),
    "absolute link": _link_to(b"/etc/passwd"),
    "link out": _link_to(b"../../../../../etc/passwd"),
    "link to itself": _link_to(b"l"),
    "link to nothing": _link_to(b"gone"),
    "link no utf-8": _link_to(b"\xff/\n"),
    "longest link": _link_to(b"x" * 4000),
    "pipe": _node(stat.S_IFIFO),
    "socket": _socket,
    "character device": _node(stat.S_IFCHR, os.makedev(1, 3)),
    "block device": _node(stat.S_IFBLK, os.makedev(7, 200)),
    "empty directory": lambda _: None,
    "200 levels": _deep(200, b"d"),
    "a path of 3,500 bytes": _deep(14, b"n" * 249),
    "many names in a directory": _many(MANY_NAMES),
    "nested subvolume": _nested,
}
XATTRS: dict[str, Plant] = {
    "xattr": _attributed(b"user.a", b"value"),
    "xattr, empty": _attributed(b"user.a", b""),
    "xattr, large": _attributed(b"user.a", b"v" * 8000),
    "xattr, zeros": _attributed(b"user.a", b"\0\0"),
    "xattr, name no utf-8": _attributed(b"user.\xff", b"v"),
    "xattr of a directory": _attributed(b"user.a", b"v", "directory"),
    "xattrs, many": _much_attributed,
    "trusted xattr": _attributed(b"trusted.a", b"v"),
    "trusted xattr of a link": _attributed(b"trusted.a", b"v", "link"),
    "trusted xattr of a pipe": _attributed(b"trusted.a", b"v", "pipe"),
    "capability": _attributed(
        b"security.capability", bytes.fromhex("0000000200040000 0000000000000000 00000000")
    ),
}
ACLS: dict[str, Plant] = {
    "acl": _attributed(b"system.posix_acl_access", ACL),
    "acl of a directory": _attributed(b"system.posix_acl_access", ACL, "directory"),
    "default acl": _attributed(b"system.posix_acl_default", ACL_OF_DIRECTORIES, "directory"),
    "default acl, younger than what is there": _defaulted_later,
}
LATE: dict[str, Plant] = {
    "in 2038": _dated(2**31 * SECOND),
    "in 2106": _dated(2**32 * SECOND + SECOND),
    "in 2500": _dated(16_725_225_600 * SECOND),
}
FINE: dict[str, Plant] = {
    "one nanosecond": _dated(1_400_000_000 * SECOND + 1),
    "almost a second": _dated(1_400_000_000 * SECOND + 999_999_999),
    "before 1970, with a fraction": _dated(-SECOND // 2),
}
OWNED: dict[str, Plant] = {
    "owner of 32 bits": _owned(2**31 + 5, 2**31 + 6),
    "highest owner": _owned(2**32 - 2, 2**32 - 2),
}
ODDITIES = ORDINARY | XATTRS | ACLS | LATE | FINE | OWNED
