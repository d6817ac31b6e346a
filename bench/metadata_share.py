"""Measure what DSG's metadata costs: its share of a migration's time, and its space in the pool.

A series of btrfs snapshots is migrated once, verified completely. Space is what the files of `.dsg`
occupy; a file that the next snapshot still has, same inode, times and bytes, shares its blocks and
counts once. Everything is done on file-backed btrfs and ZFS.
"""

import argparse
import sys
from pathlib import Path

import bed
import xxhash
from series import REPO, Size, beds, build_series, migrate_into, verdict

CLAIMED_SHARE = 0.10
CLAIMED_GROWTH = 1.25
BLOCK_BYTES = 512
KIB = 1024


def main() -> int:
    """Build, migrate, look, print."""
    options = parse_options()
    with beds() as (source_root, pool, directory):
        print(f"building {options.snapshots} snapshots of {options.files} files", flush=True)
        trees = build_series(
            source_root / REPO, Size(options.files, options.snapshots, options.changed)
        )
        parent = f"{pool.name}/metadata"
        result = migrate_into(parent, source_root, directory, "complete")
        print_shares(result["snapshots"], result["seconds"])
        names = [tree.name for tree in trees]
        print_space(occupied(f"{parent}/{REPO}", names, directory / "view"))
        bed.destroy("-R", parent)
    return 0


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=20_000, help="in the first snapshot")
    parser.add_argument("--snapshots", type=int, default=30)
    parser.add_argument("--changed", type=float, default=0.02, help="part that changes each time")
    return parser.parse_args()


def print_shares(rows: list[dict[str, float]], seconds: float) -> None:
    """Print which part of the time went into metadata, of all snapshots and of the later ones."""
    print(f"{'seconds':<28}{'metadata':>10}{'copy':>10}{'verify':>10}{'share':>8}")
    for words, some in (("the first snapshot", rows[:1]), ("all later ones", rows[1:])):
        metadata, copy, verify = (
            sum(row[key] for row in some)
            for key in ("metadata_seconds", "seconds", "verify_seconds")
        )
        line = f"{metadata:>10.2f}{copy:>10.2f}{verify:>10.2f}{metadata / (copy + verify):>8.1%}"
        print(f"{words:<28}{line}")
    share = sum(row["metadata_seconds"] for row in rows) / seconds
    print(
        f"metadata takes {share:.1%} of the migration's {seconds:.1f} seconds; "
        f"claimed: at most {CLAIMED_SHARE:.0%}: {verdict(holds=share <= CLAIMED_SHARE)}"
    )


def occupied(dataset: str, names: list[str], view: Path) -> list[dict[str, int]]:
    """Return what each snapshot adds to the space of `.dsg`, by kind of file."""
    known: set[tuple[object, ...]] = set()
    added = []
    for name in names:
        new = {"last-sync.json": 0, "sync-messages.json": 0, "archive": 0}
        with bed.snapshot_view(dataset, name, view) as root:
            for path in (root / ".dsg").rglob("*.*"):
                status = path.stat()
                # zfs-fuse has whole seconds, in which two manifests may be written.
                digest = xxhash.xxh3_64_hexdigest(path.read_bytes())
                key = (path.name, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, digest)
                if key not in known:
                    kind = "archive" if path.parent.name == "archive" else path.name
                    new[kind] += status.st_blocks * BLOCK_BYTES
                known.add(key)
        added.append(new)
    return added


def print_space(added: list[dict[str, int]]) -> None:
    """Print what snapshots add to the space of `.dsg`, and whether that stays the same."""
    print(f"\n{'KiB that .dsg grows by':<28}" + "".join(f"{kind:>20}" for kind in added[0]))
    for number in sorted({2, len(added) // 2, len(added)}):
        values = "".join(f"{value / KIB:>20.0f}" for value in added[number - 1].values())
        print(f"{f's{number}':<28}{values}")
    totals = [sum(new.values()) for new in added]
    half = len(totals) // 2
    growth = sum(totals[half:]) / (len(totals) - half) / (sum(totals[1:half]) / (half - 1))
    print(
        f"{sum(totals) / KIB:.0f} KiB in all; a snapshot of the second half adds {growth:.2f} of "
        f"what one of the first half does; claimed: at most {CLAIMED_GROWTH}: "
        f"{verdict(holds=growth <= CLAIMED_GROWTH)}"
    )


if __name__ == "__main__":
    sys.exit(main())
