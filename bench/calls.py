"""Count what a migration asks of the kernel: system calls by strace, pool transactions by OpenZFS.

Both are counts and no times, so that they are nearly the same on every machine, and tests hold them
(`bounds.py`). A count for one file is a slope: the same migration of more files, and what it has
more. What does not depend on the number of files is not in it.

Left out are calls for memory, locks and the clock, pipes, and the start of other programs and what
they do: their number depends on the machine, and not on the files.
"""

import compileall
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bed
from series import CHECKOUT, LONGEST_SECONDS, Program, finish, write_config

FILES = (100, 400)
CHANGED_AMONG = 200
CHANGED = (10, 110)
FILES_IN_DIRECTORY = 50
FILE_BYTES = 26_000
EDIT_BYTES = 100
# Change times prove nothing of what happened within the second of a snapshot's creation, and both
# may be given in whole seconds.
SETTLE_SECONDS = 2.1
LEFT_OUT = frozenset(
    (
        *("mmap", "munmap", "mremap", "mprotect", "madvise", "brk"),
        *("futex", "sched_yield", "restart_syscall", "poll", "select", "wait4"),
        *("clock_gettime", "clock_nanosleep", "gettimeofday"),
        *("vfork", "execve", "close_range", "dup2", "chdir", "setsid", "pipe2"),
        *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn"),
    )
)
# PID NAME(, unless it is about a pipe or a socket: a stream comes in as many pieces as it likes.
_CALL = re.compile(r"\d+ +(\w+)\((?!\d+<(?:pipe|socket|UNIX))")

Edit = Callable[[Path], None]


@dataclass(frozen=True)
class Place:
    """Where is counted: a btrfs, the parent of datasets, a private directory, and whose dsgmigd."""

    source_root: Path
    parent: str
    directory: Path
    checkout: Path = CHECKOUT

    @property
    def pool(self) -> str:
        """The name of the pool."""
        return self.parent.partition("/")[0]


def count_files(place: Place) -> dict[str, float]:
    """Count for a new file, and for one that did not change in the next snapshot."""
    few, many = build_sizes(place, [nothing])
    first, both = (slope(place, (few, many), limit, "complete") for limit in (1, 2))
    return {"new": first, "unchanged": both - first}


def count_changed(place: Place) -> dict[str, float]:
    """Count for a file in which a few bytes changed."""
    repos = {f"edits{count}": count for count in CHANGED}
    build(place, {repo: (CHANGED_AMONG, [editing(count)]) for repo, count in repos.items()})
    few, many = (migration_calls(place, repo, 2, "complete") for repo in repos)
    return {"changed": (many - few) / (CHANGED[1] - CHANGED[0])}


def count_between_walks(place: Place) -> dict[str, float]:
    """Count for a file that did not change, where the verification does not walk the trees."""
    sizes = build_sizes(place, [nothing] * 2)
    # The last snapshot is verified by a full walk, and so is the first.
    walked, all_three = (slope(place, sizes, limit, "changes") for limit in (2, 3))
    return {"unchanged, changes": all_three - walked}


def count_extended(place: Place) -> dict[str, float]:
    """Count for a file of a published dataset that gets another snapshot."""
    sizes = build_sizes(place, [nothing])
    return {"extended": slope(place, sizes, 2, "complete", existing=1)}


def count_rsync(place: Place) -> dict[str, float]:
    """Count the same for rsync."""
    few, many = build_sizes(place, [nothing])
    new, unchanged = (
        (some - others) / (FILES[1] - FILES[0])
        for some, others in zip(rsync_calls(place, many), rsync_calls(place, few), strict=True)
    )
    return {"rsync, new": new, "rsync, unchanged": unchanged}


COUNTS: dict[str, Callable[[Place], dict[str, float]]] = {
    "files": count_files,
    "changed": count_changed,
    "between walks": count_between_walks,
    "extended": count_extended,
}


def slope(
    place: Place, sizes: tuple[str, str], limit: int, level: str, *, existing: int = 0
) -> float:
    """Return the calls for one file more, in a migration of the first `limit` snapshots."""
    few, many = (migration_calls(place, one, limit, level, existing=existing) for one in sizes)
    return (many - few) / (FILES[1] - FILES[0])


def transactions(place: Place) -> dict[str, int]:
    """Return how many transactions of the pool a migration waits for; only OpenZFS tells.

    The pool begins one by itself after five seconds without any, so that the least of several
    counts is right.
    """
    few, _ = build_sizes(place, [nothing] * 2)

    def count(limit: int) -> int:
        return min(_count_transactions(place, few, limit) for _ in range(3))

    first, second, third = (count(limit) for limit in (1, 2, 3))
    return {"whole": first, "later": third - second}


def build_sizes(place: Place, edits: Sequence[Edit]) -> tuple[str, str]:
    """Build a repository of few files and one of many, with the same edits."""
    few, many = (f"files{count}" for count in FILES)
    build(place, {few: (FILES[0], edits), many: (FILES[1], edits)})
    return few, many


def build(place: Place, repos: Mapping[str, tuple[int, Sequence[Edit]]]) -> None:
    """Build repositories of one snapshot with so many files, and one more for each edit."""
    # Otherwise the first of two counts has what it takes to write all compiled modules.
    compileall.compile_dir(place.checkout / "dsgmigd", quiet=2)
    trees = {repo: place.source_root / repo for repo in repos}
    for number in range(1, 2 + max(len(edits) for _, edits in repos.values())):
        time.sleep(SETTLE_SECONDS)
        for tree in trees.values():
            if number == 1:
                tree.mkdir()
                bed.run("btrfs", "subvolume", "create", tree / "s1")
            else:
                bed.run(
                    "btrfs", "subvolume", "snapshot", tree / f"s{number - 1}", tree / f"s{number}"
                )
        time.sleep(SETTLE_SECONDS)
        for repo, (files, edits) in repos.items():
            [filling(files), *edits][number - 1](trees[repo] / f"s{number}")
        # What is written in the transaction in which a snapshot ends belongs to the next one too.
        os.sync()
        for tree in trees.values():
            finish(tree, number)
        os.sync()


def filling(files: int) -> Edit:
    """Return what makes so many files."""
    dice = random.Random(files)  # noqa: S311 - repeatable, not secret

    def fill(tree: Path) -> None:
        for number in range(files):
            path = tree / f"d{number // FILES_IN_DIRECTORY:03}" / f"f{number:05}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(dice.randbytes(FILE_BYTES))

    return fill


def editing(files: int) -> Edit:
    """Return what writes a few bytes in the middle of so many files, spread over the tree."""

    def edit(tree: Path) -> None:
        paths = sorted(tree.glob("d*/f*"))
        for number in range(files):
            with paths[number * len(paths) // files].open("r+b") as file:
                file.seek(FILE_BYTES // 2)
                file.write(b"#" * EDIT_BYTES)

    return edit


def nothing(_tree: Path) -> None:
    """Change nothing."""


def migration_calls(place: Place, repo: str, limit: int, level: str, *, existing: int = 0) -> int:
    """Return how many system calls a migration makes, with all programs that it starts.

    `existing` snapshots are migrated before, and not counted.
    """
    program = Program(place.checkout, place.directory)
    with _target(place, program):
        if existing:
            bed.run(*_words(program, repo, existing, level))
        return _traced(place, _words(program, repo, limit, level))


def rsync_calls(place: Place, repo: str) -> list[int]:
    """Return how many system calls rsync makes for the first snapshot, and for the second."""
    program = Program(place.checkout, place.directory)
    with _target(place, program):
        mountpoint = bed.run("zfs", "get", "-Hp", "-o", "value", "mountpoint", _dataset(place))
        options = ("-aHAX", "--inplace", "--no-whole-file", "--delete")
        trees = [place.source_root / repo / name for name in ("s1", "s2")]
        return [
            _traced(place, ("rsync", *options, f"{tree}/", f"{mountpoint.strip()}/"))
            for tree in trees
        ]


def _count_transactions(place: Place, repo: str, limit: int) -> int:
    program = Program(place.checkout, place.directory)
    with _target(place, program):
        before = _transaction(place.pool)
        program.migrate(repo, "--limit", str(limit))
        return _transaction(place.pool) - before


def _transaction(pool: str) -> int:
    """Return the number of the open transaction group."""
    lines = Path(f"/proc/spl/kstat/zfs/{pool}/txgs").read_text(encoding="ascii").splitlines()
    return int(lines[-1].split()[0])


@contextmanager
def _target(place: Place, program: Program) -> Iterator[None]:
    """Make a parent for one dataset, and the configuration; destroy it in the end."""
    spool = place.directory / "spool"
    write_config(program.config, spool, place.source_root, _dataset(place))
    bed.run("zfs", "create", _dataset(place))
    try:
        yield
    finally:
        bed.destroy("-R", _dataset(place))


def _dataset(place: Place) -> str:
    return f"{place.parent}/counted"


def _words(program: Program, repo: str, limit: int, level: str) -> tuple[str, ...]:
    arguments = ("migrate", repo, "--limit", str(limit), "--verify", level)
    return program.command(*arguments, launch=("--settle", str(SETTLE_SECONDS)))


def _traced(place: Place, words: Sequence[str]) -> int:
    """Run a program by strace; return how many calls it made."""
    path = place.directory / "strace"
    # What other programs do is not followed: the number of times that one is asked until a dataset
    # is no longer busy depends on the machine. With -y a descriptor says what it is.
    tracing = ("strace", "-f", "--detach-on=execve", "-qq", "-y", "-s0", "-o", str(path))
    bed.run(*tracing, *words, timeout_seconds=LONGEST_SECONDS)
    with path.open(encoding="ascii", errors="replace") as lines:
        return sum(_is_counted(line) for line in lines)


def _is_counted(line: str) -> bool:
    """Say whether a line of strace begins a call that counts."""
    found = _CALL.match(line)
    return found is not None and found[1] not in LEFT_OUT
