"""Measure what a migration costs when journald does not read, or is not there.

The same series is migrated with a journal that reads every record, with one whose queue is full and
stays so, and with none, in turns. The journal is a socket of the benchmark's own.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import bed
from series import CHECKOUT, REPO, Size, beds, build_series, verdict, write_config

CLAIMED_LOSS = 0.05
LONGEST_RECORD = 1 << 16
PROGRAM = """
import sys
sys.path.insert(0, {checkout!r})
from dsgmigd import __main__
from dsgmigd.service import journal
journal.configure_logging.__kwdefaults__["socket_path"] = {socket!r}
__main__.main()
"""


def main() -> int:
    """Build, measure in turns, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--snapshots", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    journals = {"reads": reading, "does not read": deaf, "is not there": absent}
    seconds: dict[str, list[float]] = {words: [] for words in journals}
    with beds() as (root, pool, directory):
        build_series(root / REPO, Size(options.files, options.snapshots, 0.01))
        for _ in range(options.rounds):
            for words, journal in journals.items():
                with journal(directory / "journal") as path:
                    seconds[words].append(migrate(root, pool, directory, path))
    usual = statistics.median(seconds["reads"])
    for words, found in seconds.items():
        median = statistics.median(found)
        print(f"a journal that {words}: {median:.2f} s, {median / usual:.3f} of the usual")
    slowest = max(map(statistics.median, seconds.values()))
    holds = slowest <= (1 + CLAIMED_LOSS) * usual
    print(f"claimed: at most {CLAIMED_LOSS:.0%} more: {verdict(holds=holds)}")
    return 0


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Give a socket as journald has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(path))
        try:
            yield made
        finally:
            path.unlink()


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """Give a journal that reads whatever comes."""
    with listening(path) as journal:
        journal.settimeout(0.1)
        is_over = threading.Event()

        def read() -> None:
            while not is_over.is_set():
                with suppress(TimeoutError):
                    journal.recv(LONGEST_RECORD)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield path
        finally:
            is_over.set()
            reader.join()


@contextmanager
def deaf(path: Path) -> Iterator[Path]:
    """Give a journal whose queue is full, and stays so."""
    with listening(path), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.settimeout(0)
        with suppress(BlockingIOError):
            while True:
                other.sendto(b"full", str(path))
        yield path


@contextmanager
def absent(path: Path) -> Iterator[Path]:
    """Give the path of no journal."""
    yield path


def migrate(root: Path, pool: bed.FilePool, directory: Path, journal: Path) -> float:
    """Return how long a migration takes that logs to the socket `journal`."""
    parent = f"{pool.name}/deaf"
    bed.run("zfs", "create", parent)
    config, errors = directory / "dsgmigd.toml", directory / "stderr"
    write_config(config, directory / "spool", root, parent)
    program = PROGRAM.format(checkout=str(CHECKOUT), socket=str(journal))
    try:
        with errors.open("wb") as stderr:
            status = os.fstat(stderr.fileno())
            began = time.monotonic()
            done = subprocess.run(
                (sys.executable, "-c", program, "--config", config, "migrate", REPO, "--json"),
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
            )
            seconds = time.monotonic() - began
    finally:
        bed.destroy("-R", parent)
    if json.loads(done.stdout)["outcome"] != "done":
        sys.exit("the migration failed")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
