"""The ways in which a series can be carried over: dsgmigd's, and what people use without it.

Each way makes a dataset of its own in the pool, and says how long every snapshot took, and how much
space all of it takes there.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from random import Random

import bed
import xxhash
from cost import Cost, cost_of, now, total
from series import CHECKOUT, REPO, Migrated, Program, write_config

# The usual scripts validate a sample of the files.
SAMPLED = 0.1
SCRIPTS_OWNER = "0:0"


@dataclass
class Carried:
    """What one pass cost; `costs` has one for each snapshot.

    `apart` belongs to no snapshot: starting, planning, validating, publishing. `columns` are parts
    of the later snapshots that are of interest by themselves.
    """

    costs: list[Cost] = field(default_factory=list)
    apart: Cost = field(default_factory=Cost)
    first_bytes: int = 0
    all_bytes: int = 0
    columns: dict[str, list[Cost]] = field(default_factory=dict)

    @property
    def total(self) -> Cost:
        """The cost of all of it."""
        return total([*self.costs, self.apart])

    @property
    def later(self) -> list[Cost]:
        """The cost of each snapshot but the first."""
        return self.costs[1:]

    @property
    def growth_bytes(self) -> float:
        """Bytes in the pool for each snapshot but the first."""
        return (self.all_bytes - self.first_bytes) / max(1, len(self.costs) - 1)


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


def by_dsgmigd(level: str, checkout: Path = CHECKOUT) -> Callable[[Place], Carried]:
    """Return the way of a checkout's dsgmigd with a level of verification."""

    def carry(place: Place) -> Carried:
        began = now()
        parent = f"{place.pool.name}/{level}"
        program = Program(checkout, place.directory)
        source_root = place.trees[0].parent.parent
        write_config(program.config, place.directory / "spool", source_root, parent)
        bed.run("zfs", "create", parent)
        try:
            migrated = program.migrate(REPO, "--verify", level)
            whole = now() - began
            carried = Carried(migrated.costs)
            carried.apart = whole - total(carried.costs)
            carried.columns = parts_of(migrated)
            carried.all_bytes = used_bytes(parent)
            carried.first_bytes = _first_bytes(f"{parent}/{REPO}")
        finally:
            bed.destroy("-R", parent)
        return carried

    return carry


def parts_of(migrated: Migrated) -> dict[str, list[Cost]]:
    """Return what copying and verification of later snapshots cost.

    Nothing, if the next snapshot is made before the one before is verified.
    """
    made, verified = (migrated.at(f"snapshot.{done}") for done in ("made", "verified"))
    copied = [end - begin for begin, end in zip(verified, made[1:], strict=False)]
    if any(one.seconds < 0 for one in copied):
        return {}
    checked = [end - begin for begin, end in zip(made[1:], verified[1:], strict=True)]
    rows = migrated.result["snapshots"][1:]
    walked = [row["verification"]["is_full_walk"] for row in rows]
    return {
        "copy": copied,
        "verify between full walks": list(compress(checked, (not one for one in walked))),
        "verify by a full walk": list(compress(checked, walked)),
    }


def _first_bytes(name: str) -> int:
    return int(bed.run("zfs", "get", "-Hp", "-o", "value", "referenced", f"{name}@s1"))


def by_scripts(place: Place) -> Carried:
    """Carry over by rsync, chown, a manifest of all files' hashes; validate a sample in the end."""
    carried = Carried()
    with dataset(place, "scripts") as name:
        root = place.pool.mountpoint / "scripts"
        for tree in place.trees:
            began = now()
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
            carried.costs.append(now() - began)
            carried.first_bytes = carried.first_bytes or used_bytes(name)
        carried.apart = cost_of(lambda: validate_sample(place.trees[-1], root))
        carried.all_bytes = used_bytes(name)
    return carried


def by_bare_rsync(place: Place) -> Carried:
    """Carry over by rsync in place; no manifest, no validation."""
    carried = Carried()
    with dataset(place, "bare") as name:
        root = place.pool.mountpoint / "bare"
        for tree in place.trees:
            began = now()
            bed.run(
                *("rsync", "-aHAX", "--inplace", "--no-whole-file", "--delete", "--exclude=/.snap"),
                *(f"{tree}/", f"{root}/"),
            )
            bed.run("zfs", "snapshot", f"{name}@{tree.name}")
            carried.costs.append(now() - began)
            carried.first_bytes = carried.first_bytes or used_bytes(name)
        carried.all_bytes = used_bytes(name)
    return carried


def by_the_floor(place: Place) -> Carried:
    """Do what nobody can do without: send each step to nobody, rsync s1, make the snapshots."""
    carried = Carried()
    with dataset(place, "floor") as name:
        root = place.pool.mountpoint / "floor"
        for number, tree in enumerate(place.trees):
            began = now()
            send_to_nobody(tree, place.trees[number - 1] if number else None)
            if not number:
                bed.run("rsync", "-a", "--exclude=/.snap", f"{tree}/", f"{root}/")
            bed.run("zfs", "snapshot", f"{name}@{tree.name}")
            carried.costs.append(now() - began)
        carried.first_bytes = carried.all_bytes = used_bytes(name)
    return carried


def read_both_sides(place: Place) -> Cost:
    """Return what it costs to copy s1 by rsync and to read it on both sides."""
    with dataset(place, "reading"):
        root = place.pool.mountpoint / "reading"
        began = now()
        bed.run("rsync", "-aHAX", "--exclude=/.snap", f"{place.trees[0]}/", f"{root}/")
        hash_tree(place.trees[0])
        hash_tree(root)
        return now() - began


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
