"""How much of each sweep the tests do: the only place that says so.

A sweep tries points of a large space: calls at which a worker is killed, damaged streams, random
histories. DSGMIGD_TESTS says how many:

- `short`: a small sample, always the same one. `make test`, and the default.
- `long`: enough to find most faults. `make test-long`.
- `nightly`: every point, or thousands of new ones. `make nightly` and `make system-nightly`.

A variable named in `_AMOUNTS` overrides the amount of one sweep, whatever DSGMIGD_TESTS says.

Every test outside tests/system that asks for an amount has the marker `sweep`; `make test-long` and
`make nightly` run these tests only, because the others do not depend on DSGMIGD_TESTS.
"""

import os
import time

LEVELS = ("short", "long", "nightly")
LEVEL = os.environ.get("DSGMIGD_TESTS", "short")
if LEVEL not in LEVELS:
    raise ValueError(f"DSGMIGD_TESTS={LEVEL}: must be one of {', '.join(LEVELS)}")

ALL = "all"
_AMOUNTS = {
    # Kills of a worker for each kind of target, or "all". Whether a point is reached depends on
    # timing; the test accepts 30 % that are not, rounded up.
    "DSGMIGD_KILLS": ("2", "8", ALL),
    # Failing calls for each kind of target, or "kinds", or "all"; the same holds for their number.
    "DSGMIGD_FAILING_CALLS": ("2", "5", "kinds"),
    # Kills of a worker, and calls of it that fail, while it records a result; or "all".
    "DSGMIGD_LEDGER_POINTS": ("4", "20", ALL),
    "DSGMIGD_RANDOM_KILLS": ("5", "8", "500"),
    # Single faults in a target.
    "DSGMIGD_FAULTS": ("40", "180", "1000"),
    # Random histories by btrfs send, and by rsync.
    "DSGMIGD_HISTORIES": ("12", "60", "2000"),
    "DSGMIGD_RSYNC_HISTORIES": ("6", "20", "500"),
    # Histories of 2,000 operations a step, by each of them.
    "DSGMIGD_LARGE_HISTORIES": ("1", "2", "40"),
    # Names of one file, and names in one directory.
    "DSGMIGD_NAMES": ("2000", "2000", "10000"),
    # Ways of tampering with a published snapshot.
    "DSGMIGD_TAMPERINGS": ("3", "11", "11"),
    # Pairs of trees that two walks compare.
    "DSGMIGD_PAIRS": ("25", "100", "5000"),
    # Releases of each package that become snapshots.
    "DSGMIGD_RELEASES": ("3", "12", "16"),
    # Series that an administrator meddles with.
    "DSGMIGD_MEDDLERS": ("1", "3", "3"),
    # Readers that are killed while zfs-fuse answers them.
    "DSGMIGD_READERS": ("15", "50", "100"),
    # Repositories on a host with an odd neighbour.
    "DSGMIGD_NEIGHBOURS": ("6", "20", "20"),
    # Power cuts of the virtual machine.
    "DSGMIGD_POWER_CUTS": ("1", "1", "40"),
    "DSGMIGD_DROPS": ("120", "600", "20000"),
    # Whether system calls and transactions are counted. Only on a machine that does nothing else is
    # everything in time that the verifier need not read again, so that the counts are exact.
    "DSGMIGD_COUNTS": ("no", "no", "yes"),
    # Histories of requests, verifications, damages and changes.
    "DSGMIGD_CLAIMS": ("6", "100", "5000"),
    # Bodies of requests, and streams.
    "DSGMIGD_REQUESTS": ("5000", "20000", "1000000"),
    "DSGMIGD_STREAMS": ("2000", "2500", "100000"),
}
_SHORT_SEED = "1"


def amount(name: str) -> str:
    """Return the amount of a sweep as text: a number, or a word that the sweep knows."""
    return os.environ.get(name) or _AMOUNTS[name][LEVELS.index(LEVEL)]


def is_asked_for(name: str) -> bool:
    """Say whether somebody wants new samples of a sweep: by its variable, or nightly."""
    return name in os.environ or LEVEL == "nightly"


def seed() -> str:
    """Return DSGMIGD_SEED, or a fixed seed in short runs, or a new one; tests print it."""
    fresh = _SHORT_SEED if LEVEL == "short" else str(time.time_ns())
    return os.environ.get("DSGMIGD_SEED", fresh)
