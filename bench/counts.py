"""Count the system calls for one file, and the transactions of the pool for one snapshot.

Counts beside the bounds that the tests hold, and beside rsync.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import bed
from bounds import CALLS, TRANSACTIONS, WORDS
from calls import COUNTS, Place, count_rsync, transactions
from series import CHECKOUT, beds


def main() -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", type=Path, help="count another checkout's dsgmigd too")
    options = parser.parse_args()
    checkouts = [CHECKOUT, *([options.against.resolve()] if options.against else [])]
    kind = bed.zfs_kind()
    found = [count(checkout, kind) for checkout in checkouts]
    bounds = {figure: str(bound[kind]) for figure, bound in CALLS.items()}
    bounds |= {figure: str(bound) for figure, bound in TRANSACTIONS.items()}
    names = ["bound", "here", *(["there"] if options.against else [])]
    print(f"{'counts on ' + kind:<64}" + "".join(f"{name:>9}" for name in names))
    for figure in found[0]:
        counts = "".join(f"{one[figure]:9.2f}" for one in found)
        print(f"{WORDS[figure]:<64}{bounds.get(figure, ''):>9}{counts}")
    return 0


def count(checkout: Path, kind: bed.ZfsKind) -> dict[str, float]:
    """Return all counts of a checkout's dsgmigd, and those of rsync."""
    functions: list[Callable[[Place], Mapping[str, float]]] = [*COUNTS.values(), count_rsync]
    found: dict[str, float] = {}
    for function in [*functions, *([transactions] if kind == "kernel" else [])]:
        with beds() as (source_root, pool, directory):
            found |= function(Place(source_root, pool.name, directory, checkout))
    return found


if __name__ == "__main__":
    sys.exit(main())
