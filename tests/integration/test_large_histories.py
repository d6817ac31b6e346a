"""Histories of thousands of operations a step, on many names, as fsstress makes them.

What a history does follows from DSGMIGD_SEED and its number. tests/amounts.py says how many there
are.
"""

import os
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from dsgmigd.migration.plan import Method
from tests.acls import ACL
from tests.amounts import amount, seed
from tests.integration.history import History
from tests.integration.judges import Bench

HISTORIES = int(amount("DSGMIGD_LARGE_HISTORIES"))
SEED = seed()
OPERATIONS, STEPS = 2000, 4
_LOOK_EVERY = 100

_ODD_NAMES = [b".hidden", b"HEAD", b".snap", b"x.tmp", b"\xff\n ", b"x~20250101T120000-0800~"]
_NAMES = [*_ODD_NAMES, *(b"n%d" % number for number in range(100)), b"N1", b"N2"]
_SIZES = [0, 1, 100, 1500, 4096, 12_288, 70_000]
_OFFSETS = [0, 1, 4095, 4096, 8192, 100_000]
_MODES = [0o600, 0o755, 0o4755, 0o2755, 0o1777, 0o000]
_IDS = [0, 1000, 2**31 + 5, 2**32 - 2]
_TIMES = [-5, 0, 10**18 + 999_999_999, 2**62]
_SPECIAL = [stat.S_IFIFO | 0o640, stat.S_IFCHR | 0o600, stat.S_IFSOCK | 0o755]
_TYPES = ["file", "directory", "symlink"]
_REFERENCES = [b"n1", b"../x", b"/nowhere/file", b"\xff"]
_XATTRS = [
    *(("user.small", b"x"), ("user.large", b"y" * 3000), ("trusted.dsg", b"z")),
    *(("system.posix_acl_access", ACL), ("system.posix_acl_default", ACL)),
]


class Chooser:
    """Chooses arguments of operations; knows what was in the tree a moment ago."""

    def __init__(self, history: History, random: Random) -> None:
        self.history = history
        self.random = random
        self.known: list[bytes] = []
        self.directories: list[bytes] = []

    def look(self) -> None:
        """Learn what is in the tree."""
        root = os.fsencode(self.history.live)
        self.known, self.directories = [], [b""]
        for place, directories, names in os.walk(root):
            below = os.path.relpath(place, root) if place != root else b""
            directories.sort()
            self.directories += [os.path.join(below, name) for name in directories]
            self.known += [os.path.join(below, name) for name in sorted([*directories, *names])]

    def old(self) -> bytes:
        return self.random.choice(self.known or [b"n0"])

    def new(self) -> bytes:
        name = os.path.join(self.random.choice(self.directories), self.random.choice(_NAMES))
        self.known.append(name)
        return name

    def blocks(self) -> tuple[int, int, int]:
        return self.random.randrange(4), self.random.randint(1, 4), self.random.randrange(7)

    def size(self) -> int:
        return self.random.choice(_SIZES)

    def offset(self) -> int:
        return self.random.choice(_OFFSETS)

    def one_id(self) -> int:
        return self.random.choice(_IDS)

    def do_one(self) -> None:
        """Do one operation; one that is not possible does nothing."""
        (name,) = self.random.choices([*_CHOICES], [weight for weight, _ in _CHOICES.values()])
        self.history.do(name, *_CHOICES[name][1](self))


# How often an operation is chosen, and its arguments.
_CHOICES: dict[str, tuple[int, Callable[[Chooser], tuple[object, ...]]]] = {
    "create": (14, lambda one: (one.new(), one.size())),
    "write": (12, lambda one: (one.old(), one.offset(), one.size())),
    "truncate": (4, lambda one: (one.old(), one.size())),
    "punch": (3, lambda one: (one.old(), one.offset(), one.size())),
    "clone_range": (6, lambda one: (one.old(), one.old(), one.blocks())),
    "copy_by_reference": (4, lambda one: (one.old(), one.new())),
    "rename": (14, lambda one: (one.old(), one.random.choice((one.old, one.new))())),
    "exchange": (4, lambda one: (one.old(), one.old())),
    "change_case": (2, lambda one: (one.old(),)),
    "link": (8, lambda one: (one.old(), one.new())),
    "replace_by_copy": (3, lambda one: (one.old(),)),
    "rewrite_keeping_times": (3, lambda one: (one.old(),)),
    "unlink": (8, lambda one: (one.old(),)),
    "make_directory": (6, lambda one: (one.new(),)),
    "remove_directory": (2, lambda one: (one.old(),)),
    "remove_tree": (1, lambda one: (one.old(),)),
    "make_subvolume": (1, lambda one: (one.new(),)),
    "delete_subvolume": (1, lambda one: (one.old(),)),
    "symlink": (3, lambda one: (one.new(), one.random.choice(_REFERENCES))),
    "make_special": (2, lambda one: (one.new(), one.random.choice(_SPECIAL))),
    "change_type": (1, lambda one: (one.old(), one.random.choice(_TYPES))),
    "change_mode": (4, lambda one: (one.old(), one.random.choice(_MODES))),
    "change_owner": (4, lambda one: (one.old(), one.one_id(), one.one_id())),
    "set_times": (3, lambda one: (one.old(), one.random.choice(_TIMES))),
    "set_xattr": (4, lambda one: (one.old(), *one.random.choice(_XATTRS))),
    "remove_xattr": (2, lambda one: (one.old(), one.random.choice(_XATTRS)[0])),
}


def live(history: History, random: Random) -> None:
    """Do thousands of operations before each snapshot."""
    compression = random.choice(["", "zlib", "lzo", "zstd"])
    if compression:
        history.compress(compression)
    chooser = Chooser(history, random)
    for number in range(STEPS * OPERATIONS):
        if number % _LOOK_EVERY == 0:
            chooser.look()
        chooser.do_one()
        if number % OPERATIONS == OPERATIONS - 1:
            history.snapshot()


@pytest.mark.sweep
@pytest.mark.parametrize("method", ["send", "rsync"])
def test_every_large_history_arrives_exactly(
    btrfs_root: Path, second_btrfs: Path, method: Method
) -> None:
    bench = Bench(btrfs_root, second_btrfs, [method])
    for number in range(HISTORIES):
        print(f"DSGMIGD_SEED={SEED}: history {number} by {method}")  # noqa: T201
        history = History(btrfs_root / uuid.uuid4().hex)
        try:
            live(history, Random(f"{SEED} {number}"))  # noqa: S311
            found = [path for one in history.snapshots for path in one.rglob("*")]
            assert len(found) > len(_NAMES), "a history hardly anything of which is left"
            bench.check(history)
        finally:
            history.delete()
    assert bench.steps == HISTORIES * STEPS
