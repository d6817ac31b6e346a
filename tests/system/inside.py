"""What the tests ask of the machine that takes more than a command; this runs inside.

`inside.py VERB ARGUMENTS` prints one JSON value.
"""

import json
import os
import pickle
import stat
import sys
from functools import partial
from pathlib import Path
from typing import Any

import bed
from sample import build_sample

from tests import invariants
from tests.integration.comparer import differences
from tests.integration.oddities import ODDITIES, plant_all
from tests.integration.trees import Series, delete_subvolumes, filling

SOURCE = Path("/var/repos/btrsnap")
TARGET = Path("/var/repos/zsd")
SPOOL = Path("/var/spool/dsgmigd")
WORLD = Path("/root/world")
# The first is replaced by an empty directory; the others take an emulated machine minutes.
_NOT_PLANTED = {"nested subvolume", "many names", "many names in a directory"}


def sample(repo: str, snapshots: str, files: str, big_file_mib: str) -> None:
    """Build a repository as the demo has them."""
    build_sample(
        SOURCE,
        repo,
        snapshots=int(snapshots),
        files=int(files),
        big_file_mib=int(big_file_mib),
        normalised=False,
    )


def odd(repo: str) -> None:
    """Build a repository with every oddity that btrfs can hold and a dataset too."""
    series = Series(SOURCE / repo)
    series.push(partial(plant_all, names=set(ODDITIES) - _NOT_PLANTED))
    series.push(lambda tree: [path.rename(tree / f"moved {path.name}") for path in tree.glob("o*")])


def named(*repos: str) -> None:
    """Build repositories of three snapshots with names that no single-byte locale can spell."""

    def make(tree: Path) -> None:
        for name in (b"a", "m\u00fcll".encode(), b"m\xfcll", "\u65e5\u672c".encode()):
            Path(os.fsdecode(os.path.join(os.fsencode(tree), name))).write_bytes(name)

    for repo in repos:
        series = Series(SOURCE / repo)
        series.push(make)
        series.push(lambda tree: (tree / "m\u00fcll").rename(tree / "\u00e4ndert"))
        series.push(filling("more", 1))


def bulky(snapshots: str, mebibytes: str, *repos: str) -> None:
    """Build repositories whose snapshots keep a worker busy for a while."""
    for series in (Series(SOURCE / repo) for repo in repos):
        for number in range(int(snapshots)):
            series.push(filling(f"f{number}", int(mebibytes)))


def sparse(repo: str, gibibytes: str) -> None:
    """Build a repository of two snapshots of one huge file that has next to no data."""
    size = int(gibibytes) << 30

    def make(tree: Path) -> None:
        with (tree / "sparse").open("xb") as file:
            file.truncate(size)
        for offset in (0, size // 2 + 1, size - 4):
            edit(tree, offset)

    def edit(tree: Path, offset: int = size // 3) -> None:
        with (tree / "sparse").open("r+b") as file:
            file.seek(offset)
            file.write(b"data")

    series = Series(SOURCE / repo)
    series.push(make)
    series.push(edit)


def compare(*repos: str) -> list[str]:
    """Return in words how the snapshots of datasets differ from their sources."""
    return [words for repo in repos for words in _compare_all(repo)]


def _compare_all(repo: str) -> list[str]:
    names = sorted(path.name for path in (SOURCE / repo).glob("s[0-9]*"))
    views = TARGET / repo / ".zfs/snapshot"
    extra = sorted({path.name for path in views.iterdir()} ^ set(names))
    found = [f"{name}: {words}" for name in names for words in _compare_one(repo, name)]
    return [*found, *(f"only on one side: {name}" for name in extra)]


def _compare_one(repo: str, name: str) -> list[str]:
    source, target = SOURCE / repo / name, TARGET / repo / ".zfs/snapshot" / name
    return [*differences(source, target), *_unwanted_blocks(source, target)]


def _unwanted_blocks(source: Path, target: Path) -> list[str]:
    """Name the files that hold a MiB more than their sources: their holes are not holes."""
    return [
        f"{path}: {blocks} blocks, source {wanted}"
        for path in (*target.glob("*"), *target.glob("*/*"))
        if stat.S_ISREG(path.lstat().st_mode) and ".dsg" not in path.parts
        for blocks in [path.stat().st_blocks]
        for wanted in [(source / path.relative_to(target)).stat().st_blocks]
        if blocks > wanted + 2048
    ]


def remove(*repos: str) -> None:
    """Remove repositories with their datasets and results, to make space."""
    for repo in repos:
        bed.destroy("-r", f"zsd/{repo}")
        delete_subvolumes(SOURCE / repo)
        (SPOOL / f"{repo}.result.json").unlink(missing_ok=True)


def observe() -> None:
    """Note how everything is before the first request."""
    WORLD.write_bytes(pickle.dumps(invariants.observe(SPOOL, SOURCE, "zsd")))


def violations(requests: str, repeated: str = "[]") -> list[str]:
    """Return what does not hold; `requests` is a JSON object, how often each was requested."""
    world = pickle.loads(WORLD.read_bytes())  # noqa: S301 - written above
    asked = invariants.Asked(json.loads(requests), set(json.loads(repeated)))
    return invariants.violations(world, asked)


FUNCTIONS: dict[str, Any] = {
    function.__name__: function
    for function in (sample, odd, named, bulky, sparse, compare, remove, observe, violations)
}

if __name__ == "__main__":
    print(json.dumps(FUNCTIONS[sys.argv[1]](*sys.argv[2:])))
