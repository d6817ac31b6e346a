"""Single faults in a target tree, and what the verification has to say of each.

A fault is put into a writable copy of a good target. Half of them put the times back that they
moved, as a fault below the file system would. Every path is relative to the root, which is ".".
"""

import os
import shutil
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_NAMED_USER = 2
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Catalogue:
    """What a good target holds, `.dsg` aside: every path, every file, and what has attributes."""

    root: Path
    status: dict[str, os.stat_result]
    contents: dict[str, bytes]
    xattrs: dict[str, dict[str, bytes]]

    def paths(self, *kinds: int) -> list[str]:
        """Return the paths of some kinds, S_IFREG and so on, but not the root."""
        return [
            path
            for path, status in self.status.items()
            if stat.S_IFMT(status.st_mode) in kinds and path != "."
        ]

    @cached_property
    def groups(self) -> dict[int, list[str]]:
        """The names of every regular file, by its inode."""
        groups: dict[int, list[str]] = {}
        for path in self.paths(stat.S_IFREG):
            groups.setdefault(self.status[path].st_ino, []).append(path)
        return groups

    def names_of(self, path: str) -> list[str]:
        """Return all names of the file at `path`."""
        return self.groups.get(self.status[path].st_ino, [path])


def catalogue(root: Path) -> Catalogue:
    """Look at everything below `root`."""
    status = {".": root.lstat()}
    for directory, directories, names in os.walk(root):
        if directory == str(root):
            directories.remove(".dsg")
        for name in directories + names:
            path = os.path.join(directory, name)
            status[os.path.relpath(path, root)] = os.lstat(path)
    files = [path for path, one in status.items() if stat.S_ISREG(one.st_mode)]
    contents = {path: (root / path).read_bytes() for path in files}
    xattrs = {path: found for path in status if (found := read_xattrs(root / path))}
    return Catalogue(root, dict(sorted(status.items())), contents, xattrs)


@dataclass
class Faulty:
    """A copy of a good target, in which one fault is made; `before` is the snapshot before."""

    root: Path
    good: Catalogue
    before: Catalogue | None
    random: Random
    keeps_times: bool
    has_xattrs: bool = True
    has_nanoseconds: bool = True
    expected: set[tuple[str, str]] = field(default_factory=set)
    allowed: set[str] = field(default_factory=set)
    allows_manifest: bool = False

    def pick(self, paths: Iterable[str]) -> str:
        """Choose one of `paths`."""
        return self.random.choice(sorted(paths))

    def expect(self, path: str, attribute: str) -> None:
        """Expect a discrepancy of `attribute` at `path`, and at every other name of that file."""
        names = self.good.names_of(path) if path in self.good.status else [path]
        self.expected |= {(shown(name), attribute) for name in names}

    def allow(self, path: str) -> None:
        """Let more be said of `path`, which is what the fault is about."""
        self.allowed.add(path)

    def unsaid(self, found: set[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return what was expected and is not among `found`.

        `a|b` is the one path or the other; an empty path or attribute is any.
        """
        return [
            (paths, attribute)
            for paths, attribute in sorted(self.expected)
            if not any(
                (not paths or path in paths.split("|")) and attribute in {"", said}
                for path, said in found
            )
        ]

    def unasked(self, found: set[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return what was found of paths that the fault is not about."""
        named = {path for paths, _ in self.expected for path in paths.split("|")} | self.allowed
        return [
            (path, said)
            for path, said in sorted(found)
            if not any(path == one or path.startswith(f"{one}/") for one in named)
            and not (self.allows_manifest and said.startswith("manifest"))
        ]

    @contextmanager
    def changing(self, *paths: str) -> Iterator[None]:
        """Let the block change `paths`; their times and their directories' are put back, or not."""
        touched = {*paths, *(os.path.dirname(path) or "." for path in paths)}
        yield
        for path in sorted(touched & self.good.status.keys()):
            good = self.good.status[path]
            try:
                now = os.lstat(self.root / path)
            except FileNotFoundError:
                continue
            if stat.S_IFMT(now.st_mode) != stat.S_IFMT(good.st_mode) or self.is_same_time(
                now.st_mtime_ns, good.st_mtime_ns
            ):
                continue
            if self.keeps_times:
                os.utime(self.root / path, ns=(0, good.st_mtime_ns), follow_symlinks=False)
            else:
                self.expect(path, "mtime")

    def is_same_time(self, one: int, other: int) -> bool:
        """Say whether the target holds the two times as one."""
        unit = 1 if self.has_nanoseconds else _SECOND
        return one // unit == other // unit

    def copy_facts(self, origin: str, path: str) -> None:
        """Give what is new at `path` all that `origin` has beside its content."""
        good = self.good.status[origin]
        full = self.root / path
        os.chown(full, good.st_uid, good.st_gid, follow_symlinks=False)
        if not full.is_symlink():
            full.chmod(stat.S_IMODE(good.st_mode))
            for name, value in self.good.xattrs.get(origin, {}).items() if self.has_xattrs else ():
                os.setxattr(full, name, value, follow_symlinks=False)
        os.utime(full, ns=(0, good.st_mtime_ns), follow_symlinks=False)


def read_xattrs(path: Path) -> dict[str, bytes]:
    """Return the extended attributes of `path` itself, none where the file system has none."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def shown(path: str) -> str:
    """Return a path as a discrepancy has it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


FILE, DIRECTORY, LINK, FIFO = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO
DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
SOCKET = stat.S_IFSOCK


# Contents.


def flip_one_bit(tree: Faulty) -> None:
    path = tree.pick(path for path, content in tree.good.contents.items() if content)
    content = tree.good.contents[path]
    position = tree.random.randrange(len(content))
    byte = bytes([content[position] ^ 1 << tree.random.randrange(8)])
    with tree.changing(path), (tree.root / path).open("r+b") as file:
        file.seek(position)
        file.write(byte)
    tree.expect(path, "content")


def cut_a_file(tree: Faulty) -> None:
    path = tree.pick(path for path, content in tree.good.contents.items() if content)
    with tree.changing(path):
        os.truncate(tree.root / path, tree.random.randrange(len(tree.good.contents[path])))
    tree.expect(path, "size")


def extend_a_file(tree: Faulty) -> None:
    path = tree.pick(tree.good.contents)
    with tree.changing(path), (tree.root / path).open("ab") as file:
        file.write(bytes(tree.random.choice((1, 4096))))
    tree.expect(path, "size")


def exchange_contents(tree: Faulty) -> None:
    contents = tree.good.contents
    pairs = [
        (one, other)
        for one in contents
        for other in contents
        if one < other
        and len(contents[one]) == len(contents[other])
        and contents[one] != contents[other]
    ]
    one, other = tree.random.choice(pairs)
    with tree.changing(one, other):
        for path, content in ((one, contents[other]), (other, contents[one])):
            with (tree.root / path).open("r+b") as file:
                file.write(content)
    tree.expect(one, "content")
    tree.expect(other, "content")


def fill_a_hole(tree: Faulty) -> None:
    path = tree.pick(
        path
        for path, content in tree.good.contents.items()
        if len(content) >= 65536 and not any(content[4096:-4096])
    )
    position = tree.random.randrange(4096, len(tree.good.contents[path]) - 4096)
    with tree.changing(path), (tree.root / path).open("r+b") as file:
        file.seek(position)
        file.write(b"x")
    tree.expect(path, "content")


def lose_a_write(tree: Faulty) -> None:
    assert tree.before is not None
    before, now = tree.before.contents, tree.good.contents
    path = tree.pick(path for path in before.keys() & now.keys() if before[path] != now[path])
    with tree.changing(path):
        (tree.root / path).write_bytes(before[path])
    is_same_size = len(before[path]) == len(now[path])
    tree.expect(path, "content" if is_same_size else "size")


# Names.


def change_a_name(tree: Faulty) -> None:
    old = tree.pick(path for path in tree.good.status if path != ".")
    new = old + "~"
    with tree.changing(old, new):
        (tree.root / old).rename(tree.root / new)
    tree.expected |= {(shown(old), "presence"), (shown(new), "presence")}


def lose_an_entry(tree: Faulty) -> None:
    path = tree.pick(set(tree.good.status) - {"."} - set(tree.good.paths(DIRECTORY)))
    with tree.changing(path):
        (tree.root / path).unlink()
    tree.expected.add((shown(path), "presence"))


def lose_an_empty_directory(tree: Faulty) -> None:
    path = tree.pick(
        path for path in tree.good.paths(DIRECTORY) if not os.listdir(tree.root / path)
    )
    with tree.changing(path):
        (tree.root / path).rmdir()
    tree.expected.add((shown(path), "presence"))


def add_an_entry(tree: Faulty) -> None:
    directory = tree.pick([".", *tree.good.paths(DIRECTORY)])
    name = tree.random.choice(("extra", ".extra", ".snap", "HEAD"))
    path = os.path.normpath(os.path.join(directory, name))
    make = tree.random.choice(
        (Path.touch, Path.mkdir, os.mkfifo, lambda place: place.symlink_to("extra"))
    )
    with tree.changing(path):
        make(tree.root / path)
    tree.expected.add((shown(path), "presence"))


# Attributes.


def change_a_mode(tree: Faulty) -> None:
    _flip_mode(tree, 1 << tree.random.randrange(9))


def change_a_special_mode(tree: Faulty) -> None:
    _flip_mode(tree, tree.random.choice((stat.S_ISUID, stat.S_ISGID, stat.S_ISVTX)))


def _flip_mode(tree: Faulty, bit: int) -> None:
    path = tree.pick(set(tree.good.status) - set(tree.good.paths(LINK)))
    (tree.root / path).chmod(stat.S_IMODE(tree.good.status[path].st_mode) ^ bit)
    tree.expect(path, "mode")


def change_the_owner(tree: Faulty) -> None:
    _change_owner(tree, is_group=False)


def change_the_group(tree: Faulty) -> None:
    _change_owner(tree, is_group=True)


def _change_owner(tree: Faulty, *, is_group: bool) -> None:
    path = tree.pick(tree.good.status)
    good = tree.good.status[path]
    one = (good.st_gid if is_group else good.st_uid) + 1
    uid, gid = (-1, one) if is_group else (one, -1)
    os.chown(tree.root / path, uid, gid, follow_symlinks=False)
    if not stat.S_ISLNK(good.st_mode):  # chown takes these bits away
        (tree.root / path).chmod(stat.S_IMODE(good.st_mode))
    tree.expect(path, "gid" if is_group else "uid")


def move_a_time_by_a_nanosecond(tree: Faulty) -> None:
    _move_time(tree, tree.pick(tree.good.status), 1)


def move_a_time_by_a_second(tree: Faulty) -> None:
    _move_time(tree, tree.pick(tree.good.status), _SECOND)


def move_the_time_of_a_directory(tree: Faulty) -> None:
    unit = 1 if tree.has_nanoseconds else _SECOND
    _move_time(tree, tree.pick([".", *tree.good.paths(DIRECTORY)]), unit)


def _move_time(tree: Faulty, path: str, unit: int) -> None:
    mtime = tree.good.status[path].st_mtime_ns + tree.random.choice((-unit, unit))
    os.utime(tree.root / path, ns=(0, mtime), follow_symlinks=False)
    tree.expect(path, "mtime")


def change_a_device_number(tree: Faulty) -> None:
    path = tree.pick(tree.good.paths(*DEVICES))
    good = tree.good.status[path]
    with tree.changing(path):
        (tree.root / path).unlink()
        os.mknod(tree.root / path, good.st_mode, good.st_rdev ^ 1)
        tree.copy_facts(path, path)
    tree.expect(path, "device")


# Types and links.


def change_a_link_target(tree: Faulty) -> None:
    path = tree.pick(tree.good.paths(LINK))
    reference = os.readlink(tree.root / path)
    with tree.changing(path):
        (tree.root / path).unlink()
        (tree.root / path).symlink_to(tree.random.choice((reference + "x", reference[:-1] or "y")))
        tree.copy_facts(path, path)
    tree.expect(path, "link target")


def change_a_type(tree: Faulty) -> None:
    path = tree.pick(tree.good.paths(FILE, LINK, FIFO, SOCKET, *DEVICES))
    full = tree.root / path
    kind = stat.S_IFMT(tree.good.status[path].st_mode)
    others = [one for one in (FILE, LINK, FIFO, SOCKET, *DEVICES, DIRECTORY) if one != kind]
    other = tree.random.choice(others)
    with tree.changing(path):
        content = full.read_bytes() if kind == FILE else b""
        full.unlink()
        if other == LINK:
            full.symlink_to("somewhere")
        elif other == DIRECTORY:
            full.mkdir()
        elif other == FILE:
            full.write_bytes(content)
        else:
            os.mknod(full, other | 0o600, os.makedev(1, 3))
        os.utime(full, ns=(0, tree.good.status[path].st_mtime_ns), follow_symlinks=False)
    tree.expected.add((shown(path), "type"))


def split_a_hard_link(tree: Faulty) -> None:
    names = tree.random.choice([names for names in tree.good.groups.values() if len(names) > 1])
    path = tree.pick(names)
    with tree.changing(path):
        (tree.root / path).unlink()
        (tree.root / path).write_bytes(tree.good.contents[path])
        tree.copy_facts(path, path)
    # Which of the names is the odd one out depends on the order of the walk.
    tree.expected.add(("|".join(shown(name) for name in names), "hard links"))


def join_two_files(tree: Faulty) -> None:
    """Make one file of two whose contents are the same; all else about them is made the same."""
    files = [names[0] for names in tree.good.groups.values() if len(names) == 1]
    contents = tree.good.contents
    pairs = [
        (one, other)
        for one in files
        for other in files
        if one < other and contents[one] == contents[other] and _is_alike(tree.good, one, other)
    ]
    one, other = tree.random.choice(pairs)
    with tree.changing(one, other):
        (tree.root / other).unlink()
        (tree.root / other).hardlink_to(tree.root / one)
    tree.expected.add((f"{shown(one)}|{shown(other)}", "hard links"))


def _is_alike(good: Catalogue, one: str, other: str) -> bool:
    def facts(path: str) -> tuple[object, ...]:
        status = good.status[path]
        owner = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
        return (*owner, good.xattrs.get(path))

    return facts(one) == facts(other)


# Extended attributes.


def change_an_xattr(tree: Faulty) -> None:
    path, name = _some_xattr(tree, lambda name: name not in {ACCESS, DEFAULT})
    value = tree.good.xattrs[path][name]
    os.setxattr(tree.root / path, name, value + b"x", follow_symlinks=False)
    tree.expect(path, f"xattr {name}")


def lose_an_xattr(tree: Faulty) -> None:
    path, name = _some_xattr(tree, lambda name: name not in {ACCESS, DEFAULT})
    os.removexattr(tree.root / path, name, follow_symlinks=False)
    tree.expect(path, f"xattr {name}")


def add_an_xattr(tree: Faulty) -> None:
    path = tree.pick(tree.good.status)
    is_plain = path == "." or path in tree.good.paths(FILE, DIRECTORY)
    name = "user.extra" if is_plain else "trusted.extra"
    os.setxattr(tree.root / path, name, b"", follow_symlinks=False)
    tree.expect(path, f"xattr {name}")


def change_an_acl(tree: Faulty) -> None:
    path, name = _some_xattr(tree, lambda name: name in {ACCESS, DEFAULT})
    value = bytearray(tree.good.xattrs[path][name])
    for position in range(4, len(value), _ACL_ENTRY.size):
        tag, permissions, who = _ACL_ENTRY.unpack_from(value, position)
        if tag == _ACL_NAMED_USER:
            # Only the named user's: the mask, and with it the mode, stays.
            _ACL_ENTRY.pack_into(value, position, tag, permissions ^ 1, who)
    os.setxattr(tree.root / path, name, bytes(value))
    tree.expect(path, f"xattr {name}")


def lose_an_acl(tree: Faulty) -> None:
    path, name = _some_xattr(tree, lambda name: name in {ACCESS, DEFAULT})
    os.removexattr(tree.root / path, name)
    (tree.root / path).chmod(stat.S_IMODE(tree.good.status[path].st_mode))
    tree.expect(path, f"xattr {name}")


def _some_xattr(tree: Faulty, is_wanted: Callable[[str], bool]) -> tuple[str, str]:
    found = [
        (path, name)
        for path, xattrs in tree.good.xattrs.items()
        for name in xattrs
        if is_wanted(name)
    ]
    return tree.random.choice(found)


def lose_a_tree(tree: Faulty) -> None:
    path = tree.pick(path for path in tree.good.paths(DIRECTORY) if os.listdir(tree.root / path))
    with tree.changing(path):
        shutil.rmtree(tree.root / path)
    tree.expected.add((shown(path), "presence"))


Fault = Callable[[Faulty], None]
PLAIN: tuple[Fault, ...] = (
    *(flip_one_bit, flip_one_bit, cut_a_file, extend_a_file, exchange_contents, fill_a_hole),
    *(lose_a_write, change_a_name, lose_an_entry, lose_an_empty_directory, lose_a_tree),
    *(add_an_entry, change_a_mode, change_a_special_mode, change_the_owner, change_the_group),
    *(move_a_time_by_a_second, move_the_time_of_a_directory, change_a_device_number),
    *(change_a_link_target, change_a_type, change_a_type, split_a_hard_link, join_two_files),
)
RICH: tuple[Fault, ...] = (
    *(move_a_time_by_a_nanosecond, change_an_xattr, lose_an_xattr, add_an_xattr),
    *(change_an_acl, lose_an_acl),
)
