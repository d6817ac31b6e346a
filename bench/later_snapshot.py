"""Measure what one later snapshot costs, beside rsync and hashing the whole tree.

A series of btrfs snapshots is built on a loop file. Each round migrates all of it by dsgmigd, once
at each level of verification, and carries the same snapshots over the old way, onto the same
file-backed pool: `rsync --delete`, hash every file, `zfs snapshot`. Rounds
alternate, because a machine is never equally busy for long. The first snapshot of each pass, which
copies everything, does not count.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import bed
from series import REPO, Size, beds, build_series, migrate_into, verdict
from ways import hash_tree

CLAIMED_COPY, CLAIMED_COMPLETE = 1 / 8, 2 / 3


@dataclass
class Samples:
    """Seconds of one later snapshot each, of all rounds."""

    copy: list[float] = field(default_factory=list)
    complete: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    structure: list[float] = field(default_factory=list)
    rsync_hash: list[float] = field(default_factory=list)
    rsync: list[float] = field(default_factory=list)
    hash: list[float] = field(default_factory=list)


def main() -> int:
    """Build, measure, print."""
    options = parse_options()
    with beds() as (source_root, pool, directory):
        print(f"building {options.snapshots} snapshots of {options.files} files")
        trees = build_series(
            source_root / REPO, Size(options.files, options.snapshots, options.changed)
        )
        samples = Samples()
        for number in range(1, options.rounds + 1):
            print(f"round {number} of {options.rounds}", flush=True)
            measure_round(trees, pool, directory, samples, options.rsync)
    document = summary(samples, options)
    print_table(document)
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=5000, help="in the first snapshot")
    parser.add_argument("--snapshots", type=int, default=10)
    parser.add_argument("--changed", type=float, default=0.02, help="part that changes each time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rsync", default="-aHAX", help="options of rsync besides --delete")
    parser.add_argument("--json", type=Path, help="write all samples and medians to this file")
    return parser.parse_args()


def measure_round(
    trees: list[Path], pool: bed.FilePool, directory: Path, samples: Samples, rsync: str
) -> None:
    """Carry the series over four times, each time onto a dataset of its own."""
    rows = migrate(trees[0].parent.parent, pool, directory, "complete")
    samples.copy += [row["seconds"] for row in rows]
    samples.complete += [row["verify_seconds"] for row in rows]
    measure_rsync(trees, pool, samples, rsync)
    rows = migrate(trees[0].parent.parent, pool, directory, "changes")
    samples.copy += [row["seconds"] for row in rows]
    samples.changes += [
        row["verify_seconds"] for row in rows if not row["verification"]["is_full_walk"]
    ]
    rows = migrate(trees[0].parent.parent, pool, directory, "structure")
    samples.copy += [row["seconds"] for row in rows]
    samples.structure += [row["verify_seconds"] for row in rows]


def migrate(
    source_root: Path, pool: bed.FilePool, directory: Path, level: str
) -> list[dict[str, Any]]:
    """Migrate by dsgmigd and destroy the target; return the rows of the later snapshots."""
    parent = f"{pool.name}/{level}"
    rows: list[dict[str, Any]] = migrate_into(parent, source_root, directory, level)["snapshots"]
    bed.destroy("-R", parent)
    return rows[1:]


def measure_rsync(trees: list[Path], pool: bed.FilePool, samples: Samples, options: str) -> None:
    """Carry the series over by rsync, hashing every file of every snapshot."""
    dataset = f"{pool.name}/rsync"
    bed.run("zfs", "create", dataset)
    root = pool.mountpoint / "rsync"
    for tree in trees:
        began = time.monotonic()
        bed.run("rsync", options, "--delete", "--exclude=/.snap", f"{tree}/", f"{root}/")
        copied = time.monotonic()
        hash_tree(root)
        hashed = time.monotonic()
        bed.run("zfs", "snapshot", f"{dataset}@{tree.name}")
        ended = time.monotonic()
        if tree is not trees[0]:
            samples.rsync_hash.append(ended - began)
            samples.rsync.append(copied - began)
            samples.hash.append(hashed - copied)
    bed.destroy("-R", dataset)


def summary(samples: Samples, options: argparse.Namespace) -> dict[str, Any]:
    """Return medians, ratios, samples and where they were taken."""
    medians = {name: statistics.median(values) for name, values in asdict(samples).items()}
    whole = medians["rsync_hash"]
    return {
        "machine": {
            "processors": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "zfs": bed.zfs_kind(),
        },
        "options": {key: value for key, value in vars(options).items() if key != "json"},
        "median_seconds": medians,
        "copy_ratio": medians["copy"] / whole,
        "complete_ratio": (medians["copy"] + medians["complete"]) / whole,
        "changes_ratio": (medians["copy"] + medians["changes"]) / whole,
        "samples": asdict(samples),
    }


def print_table(document: dict[str, Any]) -> None:
    """Print what one later snapshot costs, and whether that is what is claimed."""
    medians = document["median_seconds"]
    lines = [
        ("dsgmigd: replay, manifest, zfs snapshot", medians["copy"]),
        ("  verification of the structure", medians["structure"]),
        ("  verification, complete", medians["complete"]),
        ("  verification, changes, between full walks", medians["changes"]),
        ("rsync, hash the whole tree, zfs snapshot", medians["rsync_hash"]),
        ("  of which rsync", medians["rsync"]),
        ("  of which hashing", medians["hash"]),
    ]
    print("\none later snapshot, median, seconds")
    for words, seconds in lines:
        print(f"  {words:<44}{seconds:8.3f}")
    copy, complete = document["copy_ratio"], document["complete_ratio"]
    print(
        f"\none later snapshot costs 1/{1 / copy:.1f} of rsync + hashing the whole tree; "
        f"with complete verification {complete:.2f} of it, "
        f"with changes 1/{1 / document['changes_ratio']:.1f}"
    )
    print(f"claimed: at most 1/8: {verdict(holds=copy <= CLAIMED_COPY)}; ", end="")
    print(f"with complete at most 2/3: {verdict(holds=complete <= CLAIMED_COMPLETE)}")


if __name__ == "__main__":
    sys.exit(main())
