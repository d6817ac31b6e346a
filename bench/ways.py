"""The ways in which a series can be carried over: dsgmigd's, and what people use without it.

Each way makes a dataset of its own in the pool, and says how long every snapshot took, and how much
space all of it takes there.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import bed
import xxhash
from series import REPO, migrate_into

# The usual scripts validate a sample of the files.
SAMPLED = 0.1
SCRIPTS_OWNER = "0:0"


@dataclass
class Carried:
    """What one pass took; `seconds` has one number for each snapshot.

    `apart` are seconds that belong to no snapshot: starting, planning, validating, publishing.
    `columns` are parts of the later snapshots that are of interest by themselves.
    """

    seconds: list[float] = field(default_factory=list)
    apart: float = 0.0
    first_bytes: int = 0
    all_bytes: int = 0
    columns: dict[str, list[float]] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds for all of it."""
        return sum(self.seconds) + self.apart

    @property
    def later(self) -> list[float]:
        """Seconds for each snapshot but the first."""
        return self.seconds[1:]

    @property
    def growth_bytes(self) -> float:
        """Bytes in the pool for each snapshot but the first."""
        return (self.all_bytes - self.first_bytes) / max(1, len(self.seconds) - 1)


@dataclass(frozen=True)
class Place:
    """Where a way works: the series, the pool, and a private directory."""

    trees: list[Path]
    pool: bed.FilePool
    directory: Path


@contextmanager
def dataset(place: Place, name: str) -> Iterator[str]:
    """Give a new dataset, and destroy it with all that is in it."""
    full = f"{place.pool.name}/{name}"
    bed.run("zfs", "create", full)
    try:
        yield full
    finally:
        bed.destroy("-R", full)


def used_bytes(name: str) -> int:
    """Return how much of the pool a dataset takes, as soon as it is all written."""
    bed.run("zpool", "list")  # a transaction group ends, or not: `zfs list` waits for none
    os.sync()
    return int(bed.run("zfs", "get", "-Hp", "-o", "value", "used", name))


def by_dsgmigd(level: str) -> Callable[[Place], Carried]:
    """Return the way of dsgmigd with a level of verification."""

    def carry(place: Place) -> Carried:
        began = time.monotonic()
        parent = f"{place.pool.name}/{level}"
        try:
            result = migrate_into(parent, place.trees[0].parent.parent, place.directory, level)
            wall = time.monotonic() - began
            rows = result["snapshots"]
            carried = Carried([row["seconds"] + row["verify_seconds"] for row in rows])
            carried.apart = wall - sum(carried.seconds)
            carried.columns = {
                "copy": [row["seconds"] for row in rows[1:]],
                "verify between full walks": verify_seconds(rows[1:], is_full_walk=False),
                "verify by a full walk": verify_seconds(rows[1:], is_full_walk=True),
            }
            carried.all_bytes = used_bytes(parent)
            carried.first_bytes = _first_bytes(f"{parent}/{REPO}")
        finally:
            bed.destroy("-R", parent)
        return carried

    return carry


def verify_seconds(rows: list[dict[str, Any]], *, is_full_walk: bool) -> list[float]:
    """Return what verification took where both trees were walked, or where they were not."""
    return [
        row["verify_seconds"] for row in rows if row["verification"]["is_full_walk"] == is_full_walk
    ]


def _first_bytes(name: str) -> int:
    return int(bed.run("zfs", "get", "-Hp", "-o", "value", "referenced", f"{name}@s1"))


def by_scripts(place: Place) -> Carried:
    """Carry over by rsync, chown, a manifest of all files' hashes; validate a sample in the end."""
    carried = Carried()
    with dataset(place, "scripts") as name:
        root = place.pool.mountpoint / "scripts"
        for tree in place.trees:
            began = time.monotonic()
            bed.run(
                "rsync",
                "-a",
                "--delete",
                "--exclude=/.snap",
                "--exclude=/.dsg",
                f"{tree}/",
                f"{root}/",
            )
            bed.run("chown", "-R", SCRIPTS_OWNER, root)
            write_manifest(root)
            bed.run("zfs", "snapshot", f"{name}@{tree.name}")
            carried.seconds.append(time.monotonic() - began)
            carried.first_bytes = carried.first_bytes or used_bytes(name)
        began = time.monotonic()
        validate_sample(place.trees[-1], root)
        carried.apart = time.monotonic() - began
        carried.all_bytes = used_bytes(name)
    return carried


def by_bare_rsync(place: Place) -> Carried:
    """Carry over by rsync in place; no manifest, no validation."""
    carried = Carried()
    with dataset(place, "bare") as name:
        root = place.pool.mountpoint / "bare"
        for tree in place.trees:
            began = time.monotonic()
            bed.run(
                *("rsync", "-aHAX", "--inplace", "--no-whole-file", "--delete", "--exclude=/.snap"),
                *(f"{tree}/", f"{root}/"),
            )
            bed.run("zfs", "snapshot", f"{name}@{tree.name}")
            carried.seconds.append(time.monotonic() - began)
            carried.first_bytes = carried.first_bytes or used_bytes(name)
        carried.all_bytes = used_bytes(name)
    return carried


def by_the_floor(place: Place) -> Carried:
    """Do what nobody can do without: send each step to nobody, rsync s1, make the snapshots."""
    carried = Carried()
    with dataset(place, "floor") as name:
        root = place.pool.mountpoint / "floor"
        for number, tree in enumerate(place.trees):
            began = time.monotonic()
            send_to_nobody(tree, place.trees[number - 1] if number else None)
            if not number:
                bed.run("rsync", "-a", "--exclude=/.snap", f"{tree}/", f"{root}/")
            bed.run("zfs", "snapshot", f"{name}@{tree.name}")
            carried.seconds.append(time.monotonic() - began)
        carried.first_bytes = carried.all_bytes = used_bytes(name)
    return carried


def read_both_sides(place: Place) -> float:
    """Return how long it takes to copy s1 by rsync and to read it on both sides."""
    with dataset(place, "reading"):
        root = place.pool.mountpoint / "reading"
        began = time.monotonic()
        bed.run("rsync", "-aHAX", "--exclude=/.snap", f"{place.trees[0]}/", f"{root}/")
        hash_tree(place.trees[0])
        hash_tree(root)
        return time.monotonic() - began


def send_to_nobody(tree: Path, parent: Path | None) -> None:
    """Let btrfs say what changed, and forget it."""
    arguments = ("-q", *(("-p", str(parent)) if parent else ()), str(tree))
    with subprocess.Popen(("btrfs", "send", *arguments), stdout=subprocess.PIPE) as sender:
        subprocess.run(("cat",), stdin=sender.stdout, stdout=subprocess.DEVNULL, check=True)
    if sender.returncode:
        sys.exit("btrfs send failed")


def write_manifest(root: Path) -> None:
    """Hash every file and write the list down, as one JSON object."""
    (root / ".dsg").mkdir(exist_ok=True)
    entries = {
        os.path.relpath(path, root): {"hash": digest, "size": os.lstat(path).st_size}
        for path, digest in hash_tree(root).items()
    }
    (root / ".dsg/last-sync.json").write_text(json.dumps({"entries": entries}), encoding="utf-8")


def validate_sample(tree: Path, root: Path) -> None:
    """Compare the bytes of some files of the last snapshot."""
    files = sorted(path for path in tree.glob("**/d*/*") if path.is_file())
    for path in Random(1).sample(files, max(1, round(len(files) * SAMPLED))):  # noqa: S311
        if (root / path.relative_to(tree)).read_bytes() != path.read_bytes():
            sys.exit(f"{path} differs")


def hash_tree(root: Path) -> dict[str, str]:
    """Return the digest of every file below `root`."""
    digests = {}
    for place, directories, names in os.walk(root):
        directories[:] = [name for name in directories if name not in {".dsg", ".snap"}]
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                digests[path] = xxhash.xxh3_64_hexdigest(file.read())
    return digests
