"""Measure what several workers gain: the same repositories by one worker, and by four at once.

Both are daemons that are started on a spool in which all requests wait. What counts is the time
from the start of the first until the last result stands.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import bed
from cost import Cost, now
from series import CHECKOUT, Size, beds, build_all, verdict, write_config
from waiting_requests import workers

WORKERS = 4
CLAIMED_GAIN = 1.6
POLL_SECONDS = 0.02
LONGEST_SECONDS = 3600


def main() -> int:
    """Build, measure in turns, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=3_000)
    parser.add_argument("--snapshots", type=int, default=5)
    parser.add_argument("--changed", type=float, default=0.01)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    size = Size(options.files, options.snapshots, options.changed)
    with beds(size_mib=2048 + WORKERS * 4 * size.files * 32 // 1024) as (root, pool, directory):
        repos = [f"bench{number}" for number in range(WORKERS)]
        build_all([root / repo for repo in repos], size)
        counts: dict[int, list[float]] = {1: [], WORKERS: []}
        for _ in range(options.rounds):
            for count, found in counts.items():
                found.append(migrate_all(repos, count, root, pool.name, directory).seconds)
    one, four = (statistics.median(found) for found in counts.values())
    print(f"{len(repos)} repositories, each {size}, {os.cpu_count()} processors")
    print(f"one worker {one:.1f} s, {WORKERS} at once {four:.1f} s: {one / four:.2f} x faster")
    print(f"claimed {CLAIMED_GAIN}: {verdict(holds=one >= CLAIMED_GAIN * four)}")
    return 0


def migrate_all(
    repos: list[str],
    count: int,
    root: Path,
    pool: str,
    directory: Path,
    *,
    checkout: Path = CHECKOUT,
) -> Cost:
    """Return what so many workers of a checkout cost for all of the repositories."""
    parent, spool = f"{pool}/workers{count}", directory / f"spool{count}"
    bed.run("zfs", "create", parent)
    config = directory / f"workers{count}.toml"
    write_config(config, spool, root, parent)
    spool.mkdir()
    for repo in repos:
        (spool / f"{repo}.request").touch()
    try:
        began = now()
        with workers(config, count, checkout):
            wait_results(spool, repos)
            return now() - began
    finally:
        bed.destroy("-R", parent)
        shutil.rmtree(spool)


def wait_results(spool: Path, repos: list[str]) -> None:
    """Wait until every repository has its result, and end the benchmark if one is none."""
    deadline = time.monotonic() + LONGEST_SECONDS
    results = [spool / f"{repo}.result.json" for repo in repos]
    while not all(path.exists() for path in results):
        if time.monotonic() > deadline:
            sys.exit("the workers did not come to an end")
        time.sleep(POLL_SECONDS)
    outcomes = {json.loads(path.read_bytes())["outcome"] for path in results}
    if outcomes != {"done"}:
        sys.exit(f"outcomes: {outcomes}")


if __name__ == "__main__":
    sys.exit(main())
