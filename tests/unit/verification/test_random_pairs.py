"""Random pairs of trees that change from step to step: batches say what a look at each entry says.

What the two sides have in common, what they have not, and when the snapshots were made is all at
random; so it is often wrong. Only that both walks say the same of it counts here.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dsgmigd.request import VerifyLevel
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.side import Side
from dsgmigd.verification.verifier import Changed
from dsgmigd.verification.walk_proofs import BatchProofs
from tests.amounts import amount
from tests.reference_walk import Referee
from tests.unit.verification.metadata.dsg_documents import write_documents

PAIRS = int(amount("DSGMIGD_PAIRS"))
STEPS = 6
SECOND = 1_000_000_000
NAMES = [
    *"abcd",
    ".a",
    ".b",
    "HEAD",
    "\u00fc",
    'q"u',
    "b\\",
    os.fsdecode(b"\xe9"),
    "\ue000",
    "line\n",
]
DIRECTORIES = ["", "a", "d", "d/a", "d/.b", "e"]
LEVELS: tuple[VerifyLevel, ...] = ("complete", "complete", "complete", "structure", "exhaustive")
Operation = Callable[[Path, str, str, int], None]


def open_at_once(path: str, flags: int) -> int:
    """Open a file, and no pipe that has no reader."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def write(root: Path, one: str, _: str, value: int) -> None:
    with open(root / one, "wb", opener=open_at_once) as file:
        file.write(b"%d" % value * (value % 5))


def make_directory(root: Path, one: str, _: str, __: int) -> None:
    (root / one).mkdir()


def make_link(root: Path, one: str, _: str, value: int) -> None:
    (root / one).symlink_to("abcd"[value % 4])


def make_second_name(root: Path, one: str, other: str, _: int) -> None:
    os.link(root / other, root / one, follow_symlinks=False)


def make_pipe(root: Path, one: str, _: str, __: int) -> None:
    os.mkfifo(root / one)


def rename(root: Path, one: str, other: str, _: int) -> None:
    (root / one).rename(root / other)


def remove(root: Path, one: str, _: str, __: int) -> None:
    path = root / one
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def set_mode(root: Path, one: str, _: str, value: int) -> None:
    if not (root / one).is_symlink():
        (root / one).chmod(0o700 | value % 8)


def set_time(root: Path, one: str, _: str, value: int) -> None:
    time_ns = value * SECOND // 4
    os.utime(root / one, ns=(0, time_ns), follow_symlinks=False)


def touch(root: Path, one: str, _: str, __: int) -> None:
    """Change nothing but the ctime."""
    status = os.lstat(root / one)
    os.chown(root / one, status.st_uid, status.st_gid, follow_symlinks=False)


OPERATIONS: list[Operation] = [
    *(write, write, write, make_directory, make_link, make_second_name, make_pipe),
    *(rename, remove, set_mode, set_time, touch),
]


class Pair:
    """A source and a target below `directory`, and what the two walks say of them."""

    def __init__(self, directory: Path, random: Random) -> None:
        self.random = random
        self.source, self.target = directory / "source", directory / "target"
        self.source.mkdir(parents=True)
        self.target.mkdir()
        self.capabilities = Capabilities(subsecond_mtime=random.random() < 0.7)
        self.level = random.choice(LEVELS)
        self.referee = Referee(level=self.level, hash_threads=2, capabilities=self.capabilities)
        for path in DIRECTORIES[1:]:
            self.apply(make_directory, path, "", 0)
        for _ in range(25):
            self.apply(write, self.any_path(), "", random.randrange(50))

    def any_path(self) -> str:
        path = os.path.join(self.random.choice(DIRECTORIES), self.random.choice(NAMES))
        return "c" if path == "HEAD" else path  # that one is excluded

    def apply(self, operation: Operation, one: str, other: str, value: int) -> None:
        """Do something on both sides, or on one; what cannot be done is not done."""
        is_common = self.random.random() < 0.98
        roots = (self.source, self.target) if is_common else (self.random.choice(self.roots()),)
        for root in roots:
            try:
                operation(root, one, other, value)
            except OSError:
                continue

    def roots(self) -> list[Path]:
        return [self.source, self.target]

    def change(self) -> None:
        """Do a few things, or none."""
        for _ in range(self.random.choice([0, 0, 1, 1, 2, 5])):
            operation = self.random.choice(OPERATIONS)
            arguments = self.any_path(), self.any_path(), self.random.randrange(50)
            self.apply(operation, *arguments)

    def copy_times(self) -> None:
        """Give the target the times of the source, nearly everywhere."""
        for path in (self.source, *sorted(self.source.rglob("*"), reverse=True)):
            there = self.target / path.relative_to(self.source)
            if not os.path.lexists(there) or self.random.random() < 0.002:
                continue
            held = self.capabilities.held_mtime_ns(os.lstat(path).st_mtime_ns)
            if os.lstat(there).st_mtime_ns != held:
                os.utime(there, ns=(0, held), follow_symlinks=False)

    def moments(self) -> Moments:
        """Return when the snapshots were made, as far as anybody knows."""
        later = time.time() + 1000
        if self.random.random() < 0.7:
            return Moments((later,), later)
        near = [time.time() + self.random.choice([-0.3, -0.1, 0, 0.03, 0.3, 2]) for _ in range(3)]
        return Moments(tuple(near[:2]), self.random.choice([near[2], later, None]))

    def changed(self) -> Changed | None:
        if self.random.random() < 0.9:
            return None
        paths = {os.fsencode(self.any_path()) for _ in range(4)}
        paths = {path for path in paths if os.path.isdir((self.source / os.fsdecode(path)).parent)}
        return Changed(paths, {b""})

    def verify(self, number: int) -> Verification:
        found = self.referee.verify(
            *(str(self.source), str(self.target), number, self.moments()),
            changed=self.changed(),
            is_verified_before=self.random.random() < 0.1,
        )
        if self.random.random() < 0.3:
            self.referee.keep_proofs(f"{self.source}.proofs")
        return found

    def spoil(self, entries: dict[str, Any]) -> None:
        """Spoil a manifest, sometimes."""
        if entries and self.random.random() < 0.05:
            path = self.random.choice(sorted(entries))
            if self.random.random() < 0.5:
                del entries[path]
            else:
                entries[path]["user"] = "somebody"


@pytest.fixture(params=[1000, 3])
def _names_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (
        "dsgmigd.verification.walk",
        "dsgmigd.verification.batch",
        "tests.reference_walk",
    ):
        monkeypatch.setattr(f"{module}.NAMES_AT_ONCE", request.param)


def stub_nested(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return inode numbers that one may add to: those of directories on other file systems."""
    inodes: set[int] = set()

    def is_nested(_: Side, status: os.stat_result) -> bool:
        return status.st_ino in inodes

    real = Side.has_one_file_system
    monkeypatch.setattr(Side, "is_nested_subvolume", is_nested)
    monkeypatch.setattr(
        Side, "has_one_file_system", lambda side, table: not inodes and real(side, table)
    )
    return inodes


def count_unchanged_batches(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that grows with each batch: whether it was proven to be unchanged at once."""
    found: list[bool] = []
    real = BatchProofs.kinds_if_unchanged

    def noted(*arguments: Any) -> bytes | None:
        kinds = real(*arguments)
        found.append(kinds is not None)
        return kinds

    monkeypatch.setattr(BatchProofs, "kinds_if_unchanged", noted)
    return found


@pytest.mark.sweep
@pytest.mark.usefixtures("_names_at_once")
def test_batches_say_what_a_look_at_each_entry_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = read = different = 0
    unchanged = count_unchanged_batches(monkeypatch)
    nested = stub_nested(monkeypatch)
    for seed in range(PAIRS):
        nested.clear()
        pair = Pair(tmp_path / str(seed), Random(f"pair {seed}"))  # noqa: S311
        for number in range(1, STEPS + 1):
            if number > 1:
                pair.change()
            if seed % 7 == 0 and number > 3:
                nested.update(os.lstat(path).st_ino for path in pair.source.glob("d/*"))
            pair.copy_times()
            write_documents(pair.target, number, change=pair.spoil)
            found = pair.verify(number)
            proven += found.files_proven
            read += found.files_read
            different += found.discrepancy_count > 0
        shutil.rmtree(tmp_path / str(seed))
    assert proven > PAIRS, "little was proven"
    assert read > PAIRS
    assert 0 < different < PAIRS * STEPS
    assert sum(unchanged) > PAIRS
