"""What the benchmarks carry over, and whereto: btrfs snapshots in a file, a pool in a file."""

import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import bed
from cost import Cost

from tests.integration.mount_namespace import enter_own_mount_namespace

CHECKOUT = Path(__file__).resolve().parents[1]
REPO = "bench"
# The parts of a change: edited in place, new, deleted.
EDITED, NEW, DELETED = 0.6, 0.2, 0.2
MEDIAN_BYTES = 16 * 1024
SIGMA = 1.0
FILES_IN_DIRECTORY = 50
HUGE_FILE_MIB = 64
EDIT_BYTES = 100
BETWEEN_PUSHES_SECONDS = 1.1
LONGEST_SECONDS = 4 * 3600

Kind = Literal["small", "huge", "rename"]


@dataclass(frozen=True)
class Size:
    """A series: `changed` is the part of the files that changes from one snapshot to the next.

    `small`: many files of log-normal size. `huge`: as many files of 64 MiB, edited in place.
    `rename`: as `small`, and a directory with half of the files gets another name each time.
    """

    files: int
    snapshots: int
    changed: float
    kind: Kind = "small"

    def __str__(self) -> str:
        return f"{self.kind} {self.files:,} x {self.snapshots}, {self.changed:.1%}"


@contextmanager
def beds(*, size_mib: int = 2048) -> Iterator[tuple[Path, bed.FilePool, Path]]:
    """Give a btrfs, a pool and a private directory; take all of them away in the end.

    Ends the benchmark for whoever may not mount file systems.
    """
    if os.geteuid() != 0:
        print("the benchmark mounts file systems: run it as root, for example with sudo")
        sys.exit(1)
    if bed.zfs_kind() == "fuse":
        _enter_own_mount_namespace()
    directory = Path(tempfile.mkdtemp(prefix="dsgmigd-bench-", dir="/var/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        bed.ensure_zfs(directory)
        stack.callback(bed.stop_zfs, directory)
        btrfs = bed.BtrfsLoop(directory / "btrfs.img", directory / "btrfs", size_mib=size_mib)
        loop = stack.enter_context(btrfs)
        name = f"dsgb{os.getpid()}"
        image, mountpoint = directory / "pool.img", directory / "zfs"
        pool = bed.FilePool(name, image, mountpoint, size_mib=size_mib)
        stack.enter_context(pool)
        yield loop.directory, pool, directory


@cache
def _enter_own_mount_namespace() -> None:
    """Let this process have a zfs-fuse of its own, whatever else runs on this host."""
    enter_own_mount_namespace()


def build_series(directory: Path, size: Size) -> list[Path]:
    """Build s1 … sN, each a snapshot of the one before with a part of its files changed."""
    build_all([directory], size)
    return [directory / f"s{number}" for number in range(1, size.snapshots + 1)]


def build_all(directories: Sequence[Path], size: Size) -> None:
    """Build a series in each directory."""
    dice = random.Random(1)  # noqa: S311 - repeatable, not secret
    for directory in directories:
        directory.mkdir()
        bed.run("btrfs", "subvolume", "create", directory / "s1")
        fill(directory / "s1", size, dice)
        finish(directory, 1)
    for number in range(2, size.snapshots + 1):
        # Pushes are days apart. Within a second of a snapshot's creation no change time proves
        # anything, and the verifier would read what nobody ever touched so quickly.
        time.sleep(BETWEEN_PUSHES_SECONDS)
        for directory in directories:
            trees = (directory / f"s{number - 1}", directory / f"s{number}")
            bed.run("btrfs", "subvolume", "snapshot", *trees)
        time.sleep(BETWEEN_PUSHES_SECONDS)
        for directory in directories:
            change(directory / f"s{number}", number, size, dice)
            finish(directory, number)
    os.sync()


def finish(directory: Path, number: int) -> None:
    """Write the push log of a snapshot, and let nobody write to it any more."""
    tree, lines = directory / f"s{number}", ""
    for push in range(1, number + 1):
        day = datetime(2014, 5, 1, tzinfo=UTC) + timedelta(days=push)
        when = day.strftime("%Y-%m-%d %H:%M:%S UTC (%a)")
        lines += f"{directory.name}/s{push} | ana | {when} | push {push}\n"
    (tree / ".snap").mkdir(exist_ok=True)
    (tree / ".snap/push.log").write_text(lines, encoding="utf-8")
    bed.run("btrfs", "property", "set", "-ts", tree, "ro", "true")


def fill(tree: Path, size: Size, dice: random.Random) -> None:
    """Make the files of the first snapshot."""
    for index in range(size.files):
        half = "moved-1/" if size.kind == "rename" and index % 2 else ""
        path = tree / f"{half}d{index // FILES_IN_DIRECTORY:04}/f{index:06}"
        write_file(path, dice, HUGE_FILE_MIB << 20 if size.kind == "huge" else None)


def change(tree: Path, number: int, size: Size, dice: random.Random) -> None:
    """Edit files in place, make new ones, delete some; huge files are only edited."""
    if size.kind == "rename":
        (tree / f"moved-{number - 1}").rename(tree / f"moved-{number}")
    files = sorted(path for path in tree.glob("**/d*/*") if path.is_file())
    dice.shuffle(files)
    count = max(1, round(size.files * size.changed))
    edited = count if size.kind == "huge" else round(count * EDITED)
    for path in files[:edited]:
        with path.open("r+b") as file:
            file.seek(dice.randrange(max(1, path.stat().st_size - EDIT_BYTES)))
            file.write(dice.randbytes(EDIT_BYTES))
    if size.kind == "huge":
        return
    for path in files[edited : edited + round(count * DELETED)]:
        path.unlink()
    for index in range(round(count * NEW)):
        write_file(tree / f"d{dice.randrange(100):04}/new-{number}-{index}", dice)


def write_file(path: Path, dice: random.Random, size_bytes: int | None = None) -> None:
    """Make a file of log-normal size, unless it is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if size_bytes is None:
        size_bytes = round(dice.lognormvariate(0, SIGMA) * MEDIAN_BYTES)
    path.write_bytes(dice.randbytes(size_bytes))


def write_config(config: Path, spool: Path, source_root: Path, parent: str) -> None:
    """Write a configuration for a target that may lose what zfs-fuse cannot hold."""
    losses = ["xattr", "acl", "subsecond_mtime"] if bed.zfs_kind() == "fuse" else []
    config.write_text(
        f"[spool]\ndirectory = {json.dumps(str(spool))}\n"
        f"[source]\nroot = {json.dumps(str(source_root))}\n"
        f"[target]\nparent = {json.dumps(parent)}\nallow_loss = {json.dumps(losses)}\n",
        encoding="utf-8",
    )


def migrate_into(parent: str, source_root: Path, directory: Path, level: str) -> dict[str, Any]:
    """Create the dataset `parent` and migrate into it by dsgmigd; return the result."""
    bed.run("zfs", "create", parent)
    write_config(directory / "dsgmigd.toml", directory / "spool", source_root, parent)
    return Program(CHECKOUT, directory).migrate(REPO, "--verify", level).result


@dataclass(frozen=True)
class Migrated:
    """A migration: its result, and what it had cost at its events (see `launch.py`)."""

    result: dict[str, Any]
    notes: list[tuple[str, str | None, Cost]]

    def at(self, event: str) -> list[Cost]:
        """Return the moments of an event, in their order."""
        return [moment for name, _, moment in self.notes if name == event]

    @property
    def costs(self) -> list[Cost]:
        """What each snapshot cost, from the end of the one before until it was verified."""
        moments = [*self.at("copy"), *self.at("snapshot.verified")]
        return [end - begin for begin, end in pairwise(moments)]


@dataclass(frozen=True)
class Program:
    """The dsgmigd of a checkout, with the configuration `dsgmigd.toml` of a directory."""

    checkout: Path
    directory: Path

    def command(self, *arguments: str, launch: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the words of a command; `launch` are options of `launch.py`."""
        # bed.run gives a bare environment, without PYTHONPATH.
        program = (sys.executable, str(Path(__file__).with_name("launch.py")), *launch)
        return (*program, str(self.checkout), "--config", str(self.config), *arguments)

    @property
    def config(self) -> Path:
        """The path of the configuration."""
        return self.directory / "dsgmigd.toml"

    def migrate(self, repo: str, *options: str) -> Migrated:
        """Migrate in the foreground."""
        path = self.directory / "notes.json"
        words = self.command("migrate", repo, *options, "--json", launch=("--notes", str(path)))
        result = json.loads(bed.run(*words, timeout_seconds=LONGEST_SECONDS))
        notes = [(name, one, Cost(*cost)) for name, one, *cost in json.loads(path.read_bytes())]
        return Migrated(result, notes)


def verdict(*, holds: bool) -> str:
    """Say whether a claim holds."""
    return "holds" if holds else "MISSED"
