"""Sample repositories: series of btrfs snapshots with what real ones have.

The same seed gives the same trees. The names are unkind on purpose, the clock is simulated: an
entry that an edit touched gets a time in 2014 with a fraction of a second, so that a second run
has the same times and a target with whole seconds shows what it loses.
"""

import os
import random
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bed

_FIRST_PUSH = datetime(2014, 5, 7, 17, 27, 26, tzinfo=UTC)
_SIMULATED_BEFORE_NS = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()) * 10**9
_BETWEEN_PUSHES = timedelta(days=3, hours=5, minutes=7)
_PEOPLE = ("ana", "boris", "chen")
_MESSAGES = ("first import", "clean the dates | second pass", "--", "añadir nombres", "fix merge")
# zfs-fuse holds owners below 2^31 only.
_OWNERS = (0, 1000, 1001, 65534, 1_000_000, 2**31 - 2)
_MODES = (0o600, 0o644, 0o755, 0o440, 0o4755)
_MIB = 1 << 20
_FILES_IN_DIRECTORY = 50

UNKIND_NAMES = (
    "with blank.txt",
    "M\u00fcller stra\u00dfe.csv",
    "two\nlines.txt",
    os.fsdecode(b"latin-\xe9.txt"),
    ".hidden",
    "-dash",
    "back\\slash*?.txt",
    "nombres/\u00e1\u00e9\u00ed.csv",
)


def build_sample(
    source_root: Path,
    repo: str,
    *,
    snapshots: int,
    files: int,
    big_file_mib: int,
    normalised: bool,
    seed: int = 1,
) -> None:
    """Build `source_root/REPO[-norm]/s1 … sN`; each one is a btrfs snapshot of the one before.

    Every second snapshot is read-only. `source_root` lies on btrfs.
    """
    directory = source_root / (f"{repo}-norm" if normalised else repo)
    directory.mkdir(parents=True)
    dice = random.Random(f"{seed} {repo}")  # noqa: S311 - repeatable, not secret
    series = Series(repo, directory, dice, big_file_mib)
    for number in range(1, snapshots + 1):
        tree = directory / f"s{number}"
        if number == 1:
            bed.run("btrfs", "subvolume", "create", tree)
            series.tree = tree
            series.fill(files)
        else:
            before = directory / f"s{number - 1}"
            bed.run("btrfs", "subvolume", "snapshot", before, tree)
            series.tree = tree
            series.edit(number)
        series.write_push_log(number)
        series.settle_times(number)
        if number % 2 == 0:
            bed.run("btrfs", "property", "set", "-ts", tree, "ro", "true")
    (directory / "HEAD").symlink_to(f"s{snapshots}")
    (directory / "v1.0").symlink_to(f"s{min(3, snapshots)}")
    (directory / "v2-first-release").symlink_to(f"s{snapshots}/")


@dataclass
class Series:
    """The growing series: `tree` is the snapshot that is being edited."""

    repo: str
    directory: Path
    dice: random.Random
    big_file_mib: int
    tree: Path = Path()
    log: list[str] = field(default_factory=list)

    def fill(self, files: int) -> None:
        """Make the first tree."""
        for number in range(files):
            path = self.tree / f"data/d{number // _FILES_IN_DIRECTORY:03}/f{number:05}.csv"
            self.write(path, self.dice.randrange(16_384))
        for name in UNKIND_NAMES:
            self.write(self.tree / "names" / name, 200)
        os.setxattr(self.tree / "names" / UNKIND_NAMES[0], "user.origin", b"field office\x00")
        self.write(self.tree / "module-1/src/main.R", 3000)
        self.write(self.tree / "same-second.bin", 4096)
        self.write(self.tree / "swap/a", 100)
        self.write(self.tree / "swap/b", 90)
        # Left out at the root of a snapshot, data anywhere else.
        self.write(self.tree / "clone/git/HEAD", 23)
        self.write(self.tree / "clone/lost+found/found", 10)
        (self.tree / "HEAD").symlink_to("module-1")
        (self.tree / "empty").mkdir()
        os.mkfifo(self.tree / "fifo", 0o620)
        links = self.tree / "links"
        links.mkdir()
        (links / "relative").symlink_to("../same-second.bin")
        (links / "dangling").symlink_to("nowhere/at all")
        (links / "absolute").symlink_to("/etc/hostname")
        with (self.tree / "holes.img").open("wb") as file:
            file.truncate(8 * _MIB)
            file.seek(3 * _MIB)
            file.write(self.dice.randbytes(5000))
        with (self.tree / "big.bin").open("wb") as file:
            for _ in range(self.big_file_mib):
                file.write(self.dice.randbytes(_MIB))

    def edit(self, number: int) -> None:
        """Do what people do between two pushes."""
        paths = self.data_files()
        self.dice.shuffle(paths)
        share = max(1, len(paths) // 100)
        chosen = [paths[at * share : (at + 1) * share] for at in range(7)]
        for path in chosen[0]:
            self.overwrite(path)
        for path in chosen[1]:
            with path.open("ab") as file:
                file.write(self.dice.randbytes(700))
        for path in chosen[2]:
            path.unlink()
        for path in chosen[3]:
            path.rename(path.with_name(f"renamed-{number}-{path.name}"))
        for path in chosen[4]:
            path.chmod(self.dice.choice(_MODES))
        for path in chosen[5]:
            os.chown(path, self.dice.choice(_OWNERS), self.dice.choice(_OWNERS))
        for at, path in enumerate(chosen[6]):
            os.link(path, self.tree / f"links/hard-{number}-{at}")
        for at in range(share):
            self.write(self.tree / f"data/new-{number}/f{at:05}.csv", 2000)
        self.edit_structure(number)
        self.edit_contents(number)

    def edit_structure(self, number: int) -> None:
        """Rename a directory, swap two names, change links and what is in an empty directory."""
        (self.tree / f"module-{number - 1}").rename(self.tree / f"module-{number}")
        (self.tree / "HEAD").unlink()
        (self.tree / "HEAD").symlink_to(f"module-{number}")
        swap = self.tree / "swap"
        (swap / "a").rename(swap / "kept")
        (swap / "b").rename(swap / "a")
        (swap / "kept").rename(swap / "b")
        relative = self.tree / "links/relative"
        relative.unlink()
        relative.symlink_to(f"../module-{number}/src/main.R")
        turning = self.tree / "file-or-directory"
        if number % 2 == 0:
            turning.unlink(missing_ok=True)
            self.write(turning / "inside", 50)
        else:
            shutil.rmtree(turning)
            self.write(turning, 60)

    def edit_contents(self, number: int) -> None:
        """Edit in place: a MiB in the middle of the big file, around holes, an unkind name."""
        with (self.tree / "big.bin").open("r+b") as file:
            file.seek(self.big_file_mib * _MIB // 2)
            file.write(self.dice.randbytes(min(self.big_file_mib, 1) * _MIB))
        with (self.tree / "holes.img").open("r+b") as file:
            file.seek((number % 8) * _MIB + 777)
            file.write(self.dice.randbytes(3000))
            file.truncate(8 * _MIB + number)
        self.overwrite(self.tree / "same-second.bin")
        self.overwrite(self.tree / "names" / UNKIND_NAMES[number % len(UNKIND_NAMES)])

    def write(self, path: Path, size: int) -> None:
        """Make a file with an owner and a mode."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.dice.randbytes(size))
        os.chown(path, self.dice.choice(_OWNERS), self.dice.choice(_OWNERS))
        # After the chown, which takes the set-user-id bit away.
        path.chmod(self.dice.choice(_MODES))

    def overwrite(self, path: Path) -> None:
        """Change a few bytes in place; the size stays."""
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(self.dice.randrange(max(1, size - 40)))
            file.write(self.dice.randbytes(min(size, 40)))

    def data_files(self) -> list[Path]:
        """Return the files below `data/`, in an order that does not depend on the disk."""
        return sorted(path for path in (self.tree / "data").rglob("*") if path.is_file())

    def write_push_log(self, number: int) -> None:
        """Write .snap/push.log: one line for each snapshot so far, readable by root only."""
        pushed = _FIRST_PUSH + number * _BETWEEN_PUSHES
        user = _PEOPLE[number % len(_PEOPLE)]
        message = _MESSAGES[(number - 1) % len(_MESSAGES)]
        when = pushed.strftime("%Y-%m-%d %H:%M:%S UTC (%a)")
        self.log.append(f"{self.repo}/s{number} | {user} | {when} | {message}\n")
        path = self.tree / ".snap/push.log"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(self.log), encoding="utf-8")
        path.chmod(0o600)

    def settle_times(self, number: int) -> None:
        """Give all entries that this snapshot's edits touched a time of the simulated clock."""
        second = int((_FIRST_PUSH + number * _BETWEEN_PUSHES).timestamp()) - 3600
        for directory, names, others in os.walk(self.tree, topdown=False):
            for name in sorted(names + others):
                self.settle_time(os.path.join(directory, name), second)
        self.settle_time(str(self.tree), second)
        # Edited each time at the same size within one second: only its content tells.
        first_second = int(_FIRST_PUSH.timestamp()) * 10**9
        same_second = (first_second + number, first_second + number)
        os.utime(self.tree / "same-second.bin", ns=same_second)

    def settle_time(self, path: str, second: int) -> None:
        """Replace a time of today."""
        if os.lstat(path).st_mtime_ns > _SIMULATED_BEFORE_NS:
            moment = second * 10**9 + self.dice.randrange(3600 * 10**9)
            os.utime(path, ns=(moment, moment), follow_symlinks=False)
