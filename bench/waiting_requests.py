"""Measure the queue: how soon a worker claims its first request, and how many it ends a second.

A spool is filled with requests whose bodies ask for something impossible, so that each is claimed,
answered durably and removed, and nothing else is done. One worker is started, and on another such
spool four are. No pool and no btrfs is touched.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from series import CHECKOUT

from dsgmigd.spool.spool import Spool

CLAIMED_FIRST_SECONDS = 1.0
WORKERS = 4
POLL_SECONDS = 0.002


def main() -> int:
    """Fill, start, look, print."""
    options = parse_options()
    base = first_claim_seconds(1)
    print(f"a worker starts and claims the only request: {base:.2f} s")
    print(f"{'waiting':>9}{'one look s':>12}{'first claim s':>15}{'1 worker /s':>13}{'4 /s':>8}")
    for count in options.waiting:
        measure(count, base, options.seconds)
    return 0


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--waiting", type=int, nargs="+", default=[1_000, 20_000, 100_000])
    parser.add_argument("--seconds", type=float, default=10, help="to count what is ended")
    return parser.parse_args()


def first_claim_seconds(count: int) -> float:
    """Return how long a worker takes from its start to its first claim."""
    with filled_spool(count) as spool, workers(configured(spool), 1):
        return wait_first(spool)


def measure(count: int, base: float, seconds: float) -> None:
    """Print one row: `count` requests wait."""
    with filled_spool(count) as spool:
        began = time.monotonic()
        look = Spool(str(spool))
        look.records.claims()
        look.waiting()
        looked = time.monotonic() - began
        with workers(configured(spool), 1):
            first = wait_first(spool) - base
            one = ended_each_second(spool, seconds)
    with filled_spool(count) as spool, workers(configured(spool), WORKERS):
        four = ended_each_second(spool, seconds)
    verdict = "yes" if first <= CLAIMED_FIRST_SECONDS else "NO"
    print(
        f"{count:>9}{looked:>12.3f}{first:>15.2f}{one:>13.0f}{four:>8.0f}  "
        f"claimed: first claim within {CLAIMED_FIRST_SECONDS} s more: {verdict}",
        flush=True,
    )


@contextmanager
def filled_spool(count: int) -> Iterator[Path]:
    """Give a spool in which so many requests wait; R0 came first."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        spool = Path(directory) / "spool"
        spool.mkdir()
        for number in range(count):
            (spool / f"R{number}.request").write_text('{"limit": 0}')
        yield spool


def configured(spool: Path) -> Path:
    """Write a configuration with neither source nor target; return its path."""
    config = spool.parent / "dsgmigd.toml"
    config.write_text(
        f'[spool]\ndirectory = "{spool}"\n'
        '[source]\nroot = "/nowhere"\n[target]\nparent = "nothing"\n',
        encoding="utf-8",
    )
    return config


@contextmanager
def workers(config: Path, count: int, checkout: Path = CHECKOUT) -> Iterator[None]:
    """Let so many workers of a checkout work by a configuration."""
    path = f"{checkout}:{os.environ.get('PYTHONPATH', '')}"
    command = (sys.executable, "-m", "dsgmigd", "--config", str(config), "run", "--instance")
    processes = [
        subprocess.Popen(
            (*command, str(number)),
            cwd="/",
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(1, count + 1)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def wait_first(spool: Path) -> float:
    """Return the seconds until the oldest request is no longer one."""
    began = time.monotonic()
    while (spool / "R0.request").exists():
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def ended_each_second(spool: Path, seconds: float) -> float:
    """Return how many requests are ended in a second, from the first that is."""
    kept = spool / ".dsgmigd/results"
    before = count_files(kept)
    while (now := count_files(kept)) == before and has_waiting(spool):
        time.sleep(POLL_SECONDS)
    began, before = time.monotonic(), now
    while time.monotonic() < began + seconds and has_waiting(spool):
        time.sleep(seconds / 50)
    return (count_files(kept) - before) / (time.monotonic() - began)


def count_files(directory: Path) -> int:
    """Return how many results are in a directory; none if there is no directory yet."""
    return len(list(directory.glob("*.json")))


def has_waiting(spool: Path) -> bool:
    """Say whether a request waits."""
    return any(name.endswith(".request") for name in os.listdir(spool))


if __name__ == "__main__":
    sys.exit(main())
