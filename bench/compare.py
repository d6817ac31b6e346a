"""Carry the same series over in several ways, side by side, and print how they compare.

Every round takes all ways in turn, because a machine is never equally busy for long; what counts is
the median over the rounds, and the ratios within one run.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import bed
from cost import Cost
from plots import plot
from prices import known_prices, median
from series import REPO, Kind, Size, beds, build_series, verdict
from table import Table
from ways import (
    Carried,
    Place,
    by_bare_rsync,
    by_dsgmigd,
    by_scripts,
    by_the_floor,
    read_both_sides,
)

WAYS: dict[str, Callable[[Place], Carried]] = {
    "complete": by_dsgmigd("complete"),
    "changes": by_dsgmigd("changes"),
    "scripts": by_scripts,
    "bare": by_bare_rsync,
    "floor": by_the_floor,
}
WORDS = {
    "complete": "dsgmigd, complete verification",
    "changes": "dsgmigd, changes between full walks",
    "scripts": "rsync, chown, hash all, validate a sample",
    "bare": "bare rsync, neither manifest nor validation",
    "floor": "btrfs send to nobody, rsync of s1, snapshots",
}
FIGURES = {"total": "in all", "first": "the first snapshot", "later": "a later snapshot"}
MIB = 1 << 20

SHORT = (Size(5_000, 5, 0.01), Size(8, 5, 0.2, "huge"), Size(2_000, 5, 0.01, "rename"))
CLAIMS = (Size(20_000, 20, 0.01),)
LONG = (
    *(Size(files, 5, 0.01) for files in (5_000, 20_000, 100_000)),
    *(Size(5_000, snapshots, 0.01) for snapshots in (20, 100)),
    *(Size(20_000, 5, changed) for changed in (0.001, 0.1)),
    *(Size(20_000, 20, 0.01), Size(20_000, 100, 0.01), Size(100_000, 20, 0.01)),
    *(Size(16, 20, 0.2, "huge"), Size(20_000, 20, 0.01, "rename")),
)
# Ten times the files, and as many of them changed.
GROWTH = (Size(5_000, 6, 0.02), Size(50_000, 6, 0.002))
CLAIMED_GROWTH = 1.5
SETS = {"short": SHORT, "claims": CLAIMS, "growth": GROWTH, "long": LONG}


@dataclass
class Samples:
    """What the rounds of one size gave, by way."""

    size: Size
    carried: dict[str, list[Carried]] = field(default_factory=dict)
    reading: list[Cost] = field(default_factory=list)

    def costs(self, way: str) -> dict[str, list[Cost]]:
        """Return the costs of all rounds by figure; `later` has every later snapshot."""
        rounds = self.carried[way]
        return {
            "total": [one.total for one in rounds],
            "first": [one.costs[0] for one in rounds],
            "later": [cost for one in rounds for cost in one.later],
        }

    def parts(self, way: str) -> dict[str, list[Cost]]:
        """Return the costs of parts of the later snapshots; a part that never was is left out."""
        columns = [one.columns for one in self.carried[way]]
        found = {name: [cost for one in columns for cost in one[name]] for name in columns[0]}
        return {name: costs for name, costs in found.items() if costs}

    def growth_mib(self, way: str) -> float:
        """Return how many MiB of the pool a later snapshot takes."""
        return statistics.median(one.growth_bytes for one in self.carried[way]) / MIB

    def seconds(self, way: str) -> dict[str, float]:
        """Return the median seconds of each figure."""
        costs = {**self.costs(way), **self.parts(way)}
        return {name: median(some).seconds for name, some in costs.items()}


def main() -> int:
    """Build, measure, print."""
    options = parse_options()
    table = Table(known_prices())
    print(table.prices_said())
    found = []
    for size in options.sizes or SETS[options.set]:
        samples = measure(size, options.rounds, options.ways)
        print_tables(samples, table)
        found.append(samples)
        if options.json:
            text = json.dumps(document(found, table), indent=1)
            options.json.write_text(text + "\n", encoding="utf-8")
    if options.set == "growth" and not options.sizes:
        print_growth(found[0], found[1], table)
    if options.plots:
        plot(
            [(one.size, {way: one.seconds(way) for way in one.carried}) for one in found],
            options.plots,
        )
    return 0


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--set", choices=SETS, default="short", help="which sizes")
    parser.add_argument(
        "--size",
        dest="sizes",
        type=parse_size,
        action="append",
        metavar="FILESxSNAPSHOTS,CHANGED[,KIND]",
        help="this size instead, as 20000x20,0.01; KIND is small, huge or rename",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--json", type=Path, help="write all samples and medians to this file")
    parser.add_argument("--plots", type=Path, help="write plots (PNG) into this directory")
    return parser.parse_args()


def parse_size(text: str) -> Size:
    """Return a size as it stands on the command line."""
    shape, changed, *rest = text.split(",")
    files, _, snapshots = shape.partition("x")
    kinds: dict[str, Kind] = {"small": "small", "huge": "huge", "rename": "rename"}
    return Size(int(files), int(snapshots), float(changed), kinds[rest[0] if rest else "small"])


def measure(size: Size, rounds: int, ways: list[str]) -> Samples:
    """Build a series and carry it over in all ways, `rounds` times."""
    samples = Samples(size, {way: [] for way in ways})
    file_kib = 64 * 1024 if size.kind == "huge" else 32
    size_mib = 2048 + 4 * size.files * file_kib // 1024
    with beds(size_mib=size_mib) as (source_root, pool, directory):
        print(f"\n{size}: building", flush=True)
        place = Place(build_series(source_root / REPO, size), pool, directory)
        for number in range(1, rounds + 1):
            for way in ways:
                samples.carried[way].append(WAYS[way](place))
                seconds = samples.carried[way][-1].total.seconds
                print(f"round {number}, {way}: {seconds:.1f} s", flush=True)
            samples.reading.append(read_both_sides(place))
    return samples


def print_tables(samples: Samples, table: Table) -> None:
    """Print a table for each figure, and the ratios."""
    print(f"\n{samples.size}, medians of {len(samples.reading)} rounds")
    for figure, title in FIGURES.items():
        is_later = figure == "later"
        table.heading(title, *(["MiB"] if is_later else []))
        for way in samples.carried:
            more = [samples.growth_mib(way)] if is_later else []
            table.row(WORDS[way], samples.costs(way)[figure], *more)
            for name, costs in samples.parts(way).items() if is_later else ():
                table.row(f"  {name}", costs)
        if figure == "first":
            table.row("rsync of s1, and reading it on both sides", samples.reading)
    print()
    for way in ("complete", "changes"):
        if way in samples.carried:
            print_ratios(samples, way, table)
    if "complete" in samples.carried:
        ratios = table.ratios(samples.reading, samples.costs("complete")["first"])
        print(f"  complete: first snapshot / copying and reading both sides: {table.said(ratios)}")


def print_ratios(samples: Samples, way: str, table: Table) -> None:
    """Print how many times faster a way of ours is than the others."""
    ours = samples.costs(way)
    for other in ("scripts", "bare", "floor"):
        if other in samples.carried:
            theirs = samples.costs(other)
            ratios = {key: table.ratios(ours[key], theirs[key]) for key in FIGURES}
            for key, title in FIGURES.items():
                print(f"  {way} is faster than {other}, {title}: {table.said(ratios[key])}")
            total, later = ratios["total"][0], ratios["later"][0]
            print(claim(samples.size, way, other, total, later), end="")


def print_growth(small: Samples, large: Samples, table: Table) -> None:
    """Print how a later snapshot grows with what did not change in it."""
    for way in set(small.carried) & {"complete", "changes"}:
        ratios = table.ratios(small.costs(way)["later"], large.costs(way)["later"])
        line = f"{way}: among ten times the files, a later snapshot costs {table.said(ratios)}"
        if way == "changes":
            holds = verdict(holds=ratios[0] <= CLAIMED_GROWTH)
            line += f" (claimed at most {CLAIMED_GROWTH}: {holds})"
        print(line)


def claim(size: Size, way: str, other: str, total: float, later: float) -> str:
    """Say whether what is claimed of this size holds; "" if nothing is."""
    claimed = {
        ("complete", "scripts"): (10, 12),
        ("complete", "bare"): (1.2, 1.3),
        ("changes", "scripts"): (18, 50),
        ("changes", "bare"): (2, 5),
        ("changes", "floor"): (0, 1 / 3),
    }.get((way, other))
    if size not in CLAIMS or claimed is None:
        return ""
    holds = total >= claimed[0] and later >= claimed[1]
    return f"    claimed {claimed[0]:g}, {claimed[1]:.2g}: {verdict(holds=holds)}\n"


def document(found: list[Samples], table: Table) -> dict[str, Any]:
    """Return all that was measured, and where."""
    return {
        "machine": {
            "processors": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "zfs": bed.zfs_kind(),
            "trap_seconds": asdict(table.prices),
        },
        "sizes": [
            {
                "size": asdict(one.size),
                "figures": {
                    way: {
                        name: table.document(costs)
                        for name, costs in {**one.costs(way), **one.parts(way)}.items()
                    }
                    for way in one.carried
                },
                "reading": table.document(one.reading),
                "samples": {
                    way: [asdict(each) for each in carried] for way, carried in one.carried.items()
                },
            }
            for one in found
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
