"""Measure what a tree of very many entries costs in memory: its manifest, and its verification.

Two equal trees of empty files are made on a tmpfs, in directories of 1,000. Each part runs in a
process of its own and reports its peak (`ru_maxrss`) and what it took:

- manifest: the manifest of a tree that nothing is known of, written
- rewrite: the manifest after 100 files changed, written, and the one before put into the archive
- verify: the trees compared, completely; and once more, with proofs
- together: all of this in one process, as the daemon does it

Each line has the seconds, those of the processor, and the latter for one entry in microseconds: for
a verification in which all is proven, that is what an unchanged entry costs in Python.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import bed

from dsgmigd.dsg.archive import DsgDirectory
from dsgmigd.dsg.manifest import Manifest
from dsgmigd.dsg.metadata import Metadata, Previous, make_metadata, render_manifest
from dsgmigd.dsg.push_line import Push
from dsgmigd.dsg.refresh import Refresher
from dsgmigd.exclusion import DSG_DIRECTORY
from dsgmigd.host.directories import Directories
from dsgmigd.names import SnapshotName
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.verifier import Verifier

FILES_IN_DIRECTORY = 1000
CHANGED_FILES = 100
MTIME = 1_399_483_646_000_000_000
MIB = 1024 * 1024
PUSH = Push("pball", 1399483646.0, "--")
# Seconds, and seconds of processors with those of children, by what was done.
Seconds = dict[str, tuple[float, float]]


def main() -> int:
    """Build, measure, print; or measure one part, as the child of such a process."""
    options = parse_options()
    if options.part:
        print(json.dumps(measure(options.part, options.directory)))
        return 0
    if os.geteuid() != 0:
        print("the benchmark mounts a tmpfs: run it as root, for example with sudo")
        return 1
    with memory_file_system() as directory:
        print(f"making two trees of {options.entries} files", flush=True)
        for side in ("source", "target"):
            make_tree(directory / side, options.entries)
        columns = ("peak MiB", "seconds", "processor", "µs/entry")
        print(" " * 46 + "".join(f"{name:>10}" for name in columns), flush=True)
        for part in PARTS:
            report(part, run_part(part, directory), options.entries)
    return 0


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=2_000_000)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


@contextmanager
def memory_file_system() -> Iterator[Path]:
    """Give an empty file system in memory, of as many files as one likes, and take it away."""
    directory = Path(tempfile.mkdtemp(prefix="dsgmigd-bench-", dir="/var/tmp"))
    bed.run("mount", "-t", "tmpfs", "-o", "nr_inodes=0,size=90%", "dsgmigd-bench", directory)
    try:
        yield directory
    finally:
        bed.unmount_below(directory)
        directory.rmdir()


def make_tree(root: Path, count: int) -> None:
    """Make `count` empty files of one age, in directories of 1,000."""
    root.mkdir()
    for start in range(0, count, FILES_IN_DIRECTORY):
        path = root / f"region-{start // FILES_IN_DIRECTORY:05}"
        path.mkdir()
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        for number in range(start, min(start + FILES_IN_DIRECTORY, count)):
            name = f"interview-{number:08}.txt"
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=directory))
            os.utime(name, ns=(MTIME, MTIME), dir_fd=directory)
        os.close(directory)
        os.utime(path, ns=(MTIME, MTIME))
    os.utime(root, ns=(MTIME, MTIME))


def run_part(part: str, directory: Path) -> tuple[float, Seconds]:
    """Measure one part in a process of its own; return its peak in MiB, and its times."""
    done = subprocess.run(
        (sys.executable, __file__, "--part", part, "--directory", directory),
        check=True,
        stdout=subprocess.PIPE,
    )
    peak, seconds = json.loads(done.stdout)
    return peak, seconds


def measure(part: str, directory: Path) -> tuple[float, Seconds]:
    """Run one part in this process; return the peak of its memory in MiB, and its times."""
    seconds = PARTS[part](directory)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB, seconds


def report(part: str, measured: tuple[float, Seconds], entries: int) -> None:
    """Print the lines of one part: its peak is that of all that it did."""
    peak, seconds = measured
    print(f"{part:46}{peak:10.0f}")
    for words, (wall, processor) in seconds.items():
        each = processor / entries * 1e6
        print(f"  {words:54}{wall:10.2f}{processor:10.2f}{each:10.2f}", flush=True)


class Writer:
    """What the daemon holds of a series that it writes; `.dsg` goes into the target."""

    def __init__(self, directory: Path) -> None:
        self._root = directory / "target"
        self._manifest = Manifest()
        self._messages: list[Metadata] = []
        self._dsg = DsgDirectory(str(self._root))

    def write_first(self) -> None:
        """Make the manifest of all that is there."""
        for name in os.listdir(os.fsencode(self._root)):
            if name != DSG_DIRECTORY:
                self._manifest.appeared(name)
        self._settle_and_write()

    def write_changed(self) -> None:
        """Make the manifest again, after a few files changed."""
        for entry in list(islice(self._manifest.entries(), CHANGED_FILES)):
            self._manifest.content_changed(json.loads(entry)["path"].encode())
        self._settle_and_write()

    def _settle_and_write(self) -> None:
        with Directories(str(self._root)) as tree:
            refresher = Refresher(
                self._manifest, staging=tree, source=tree, user="pball", checkpoint=lambda: None
            )
            refresher.settle_all()
        previous = None
        if self._messages:
            last = self._messages[-1]
            previous = Previous(SnapshotName.parse(last["snapshot_id"]), last["snapshot_hash"])
        name = SnapshotName(len(self._messages) + 1)

        def describe(entry_count: int, entries_hash: str) -> Metadata:
            self._messages.append(make_metadata(name, entry_count, entries_hash, PUSH, previous))
            return self._messages[-1]

        pieces = render_manifest(self._manifest.lines(), describe)
        self._dsg.write_manifest(pieces, previous=str(previous.snapshot) if previous else None)
        self._dsg.write_messages(self._messages)
        os.utime(self._root, ns=(MTIME, MTIME))


def measure_manifest(directory: Path) -> Seconds:
    """Make the first manifest."""
    return {"files read, manifest written": taken(Writer(directory).write_first)}


def measure_rewrite(directory: Path) -> Seconds:
    """Make the second manifest."""
    writer = Writer(directory)
    writer.write_first()
    return {"manifest rewritten, archive written": taken(writer.write_changed)}


def measure_verify(directory: Path) -> Seconds:
    """Verify what the part before left; the second time, all is proven."""
    verifier = Verifier(level="complete", hash_threads=2, capabilities=Capabilities())
    return {
        "first verification, all files read": taken(lambda: verify(verifier, directory, 2)),
        "second verification, all proven": taken(lambda: verify(verifier, directory, 2)),
    }


def measure_together(directory: Path) -> Seconds:
    """Write and verify two snapshots."""
    shutil.rmtree(directory / "target" / ".dsg")
    writer, verifier = (
        Writer(directory),
        Verifier(level="complete", hash_threads=2, capabilities=Capabilities()),
    )
    return {
        "first snapshot: manifest": taken(writer.write_first),
        "first snapshot: verification": taken(lambda: verify(verifier, directory, 1)),
        "second snapshot: manifest": taken(writer.write_changed),
        "second snapshot: verification": taken(lambda: verify(verifier, directory, 2)),
    }


def verify(verifier: Verifier, directory: Path, number: int) -> None:
    """Verify snapshot s`number`; the snapshots were made an hour after the files."""
    later = time.time() + 3600
    found = verifier.verify(
        str(directory / "source"), str(directory / "target"), number, Moments((later,), later)
    )
    if found.discrepancies:
        raise SystemExit(f"source and target differ: {found.discrepancies[0]}")


def taken(action: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds that `action` takes, and those of processors."""
    began, processor = time.monotonic(), sum(os.times()[:4])
    action()
    return time.monotonic() - began, sum(os.times()[:4]) - processor


PARTS: dict[str, Callable[[Path], Seconds]] = {
    "manifest": measure_manifest,
    "rewrite": measure_rewrite,
    "verify": measure_verify,
    "together": measure_together,
}


if __name__ == "__main__":
    sys.exit(main())
