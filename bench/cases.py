"""Measure named cases, of this checkout's dsgmigd and of another's, in turns.

extend         a published dataset is extended by one snapshot; beside it rsync and `zfs snapshot`
unchanged      a later snapshot among few files, and among ten times as many that do not change
small          100 files of which five change: what does not depend on the files
repositories   100 such repositories in a spool, and four workers
evidence       the same series without evidence and with it
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bed
from cost import Cost, cost_of
from prices import known_prices
from series import CHECKOUT, REPO, Program, Size, beds, build_all, build_series, write_config
from several_workers import WORKERS, migrate_all
from table import Table
from ways import Place, by_bare_rsync

Figures = dict[str, list[Cost]]
Measure = Callable[[Path], Figures]
LEVELS = ("complete", "changes")
EXTENDED = Size(20_000, 3, 0.01)
FEW, MANY = Size(500, 5, 0.02), Size(5_000, 5, 0.002)
SMALL = Size(100, 5, 0.05)
REPOSITORIES = 100
WITH_EVIDENCE = Size(5_000, 5, 0.01)
EVIDENCE = {"without evidence": "none", "with evidence": "sha256"}
BY_RSYNC = "bare rsync and zfs snapshot of the last one"
BY_COMMAND = "the command that adds the last one"


@dataclass(frozen=True)
class Bench:
    """Where a case works."""

    source_root: Path
    pool: bed.FilePool
    directory: Path

    @contextmanager
    def target(self, checkout: Path, source_root: Path) -> Iterator[Program]:
        """Give the program of a checkout, configured for a dataset of its own."""
        program, parent = Program(checkout, self.directory), f"{self.pool.name}/case"
        write_config(program.config, self.directory / "spool", source_root, parent)
        bed.run("zfs", "create", parent)
        try:
            yield program
        finally:
            bed.destroy("-R", parent)


def extend(bench: Bench) -> Measure:
    """Publish all snapshots but one; measure the command that adds the last, and bare rsync."""
    trees = build_series(bench.source_root / REPO, EXTENDED)

    def measure(checkout: Path) -> Figures:
        place = Place(trees, bench.pool, bench.directory)
        found = {f"{EXTENDED}: {BY_RSYNC}": by_bare_rsync(place).costs[-1:]}
        for level in LEVELS:
            with bench.target(checkout, bench.source_root) as program:
                program.migrate(REPO, "--verify", level, "--limit", str(EXTENDED.snapshots - 1))
                cost = cost_of(lambda: program.migrate(REPO, "--verify", level))  # noqa: B023
                found[f"{EXTENDED}: {BY_COMMAND}, {level}"] = [cost]
        return found

    return measure


def unchanged(bench: Bench) -> Measure:
    """Measure later snapshots of two sizes in which as many files change."""
    roots = {size: bench.source_root / f"files{size.files}" for size in (FEW, MANY)}
    for size, root in roots.items():
        root.mkdir()
        build_series(root / REPO, size)

    def measure(checkout: Path) -> Figures:
        found = {}
        for level in LEVELS:
            for size, root in roots.items():
                with bench.target(checkout, root) as program:
                    migrated = program.migrate(REPO, "--verify", level)
                # The last one is verified by a full walk at each level.
                found[f"{size}: a later one, {level}"] = migrated.costs[1:-1]
        return found

    return measure


def small(bench: Bench) -> Measure:
    """Measure a whole migration of next to nothing."""
    build_series(bench.source_root / REPO, SMALL)

    def measure(checkout: Path) -> Figures:
        with bench.target(checkout, bench.source_root) as program:
            results = []
            whole = cost_of(lambda: results.append(program.migrate(REPO)))
        costs = results[0].costs
        return {
            f"{SMALL}: the whole command": [whole],
            f"{SMALL}: a later one, complete": costs[1:],
        }

    return measure


def repositories(bench: Bench) -> Measure:
    """Measure workers that find many small requests."""
    repos = [f"bench{number:03}" for number in range(REPOSITORIES)]
    build_all([bench.source_root / repo for repo in repos], SMALL)

    def measure(checkout: Path) -> Figures:
        cost = migrate_all(
            *(repos, WORKERS, bench.source_root, bench.pool.name, bench.directory),
            checkout=checkout,
        )
        return {f"{REPOSITORIES} repositories, each {SMALL}, {WORKERS} workers": [cost]}

    return measure


def evidence(bench: Bench) -> Measure:
    """Measure a series without evidence and with it."""
    build_series(bench.source_root / REPO, WITH_EVIDENCE)

    def measure(checkout: Path) -> Figures:
        found: Figures = {}
        for level in LEVELS:
            for words, kind in EVIDENCE.items():
                with bench.target(checkout, bench.source_root) as program:
                    with program.config.open("a", encoding="utf-8") as file:
                        file.write(f'[custody]\nevidence = "{kind}"\n')
                    costs = program.migrate(REPO, "--verify", level).costs
                found[f"{WITH_EVIDENCE}: the first one, {level}, {words}"] = costs[:1]
                # The last one is verified by a full walk at each level.
                found[f"{WITH_EVIDENCE}: a later one, {level}, {words}"] = costs[1:-1]
        return found

    return measure


CASES: dict[str, Callable[[Bench], Measure]] = {
    case.__name__: case for case in (extend, unchanged, small, repositories, evidence)
}


def main() -> int:
    """Build, measure in turns, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", type=Path, help="measure another checkout's dsgmigd too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(CASES)}")
    checkouts = {"here": CHECKOUT}
    if options.against:
        checkouts["there"] = options.against.resolve()
    table = Table(known_prices())
    print(table.prices_said())
    for name in options.cases or CASES:
        print_case(name, measure_case(name, checkouts, options.rounds), table)
    return 0


def measure_case(name: str, checkouts: dict[str, Path], rounds: int) -> dict[str, Figures]:
    """Return the costs of all rounds, by checkout and figure."""
    found: dict[str, Figures] = {who: {} for who in checkouts}
    with beds(size_mib=4096) as (source_root, pool, directory):
        measure = CASES[name](Bench(source_root, pool, directory))
        for _ in range(rounds):
            for who, checkout in checkouts.items():
                for figure, costs in measure(checkout).items():
                    found[who].setdefault(figure, []).extend(costs)
    return found


def print_case(name: str, found: dict[str, Figures], table: Table) -> None:
    """Print a row for each figure and checkout, and how they compare."""
    table.heading(f"{name}, medians")
    for figure, costs in found["here"].items():
        print(f"  {figure}")
        table.row("  here", costs)
        if there := found.get("there"):
            table.row("  there", there[figure])
            print(f"    here is faster: {table.said(table.ratios(costs, there[figure]))}")
    if name == "unchanged":
        print_growth(found["here"], table)
    if name == "extend":
        print_gain(found["here"], table)
    if name == "evidence":
        print_price(found["here"], table)


def print_growth(found: Figures, table: Table) -> None:
    """Print what ten times the files cost that do not change."""
    for level in LEVELS:
        few, many = (found[f"{size}: a later one, {level}"] for size in (FEW, MANY))
        print(f"  ten times the files, {level}: {table.said(table.ratios(few, many))}")


def print_gain(found: Figures, table: Table) -> None:
    """Print how many times as much bare rsync costs."""
    for level in LEVELS:
        ours, rsyncs = (
            found[f"{EXTENDED}: {words}"] for words in (f"{BY_COMMAND}, {level}", BY_RSYNC)
        )
        print(f"  faster than bare rsync, {level}: {table.said(table.ratios(ours, rsyncs))}")


def print_price(found: Figures, table: Table) -> None:
    """Print how many times as much a snapshot costs with evidence."""
    for level, which in itertools.product(LEVELS, ("the first one", "a later one")):
        without, with_it = (
            found[f"{WITH_EVIDENCE}: {which}, {level}, {words}"] for words in EVIDENCE
        )
        print(f"  with evidence, {which}, {level}: {table.said(table.ratios(without, with_it))}")


if __name__ == "__main__":
    sys.exit(main())
