"""Measure what the verifier does for an entry that did not change: `complete`, both sides.

Two equal trees of empty files are made on a tmpfs and verified again and again. From the second
time on, everything is proven. `user` is the time in Python and its libraries, `system` the time in
the kernel; the least of all rounds counts, because other programs only add to it. With --calls,
strace counts the system calls of one more round.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import many_entries
from calls import LEFT_OUT

from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.verifier import Verifier

Figures = dict[str, float]
MICROSECONDS = 1_000_000
# The first verification reads everything, the second is the first that is proven.
FIRST_ROUNDS = 2


def main() -> int:
    """Build, measure, print; or only verify, as the child that strace watches."""
    options = parse_options()
    if options.directory:
        verify_rounds(options.directory, options.rounds)
        return 0
    with many_entries.memory_file_system() as directory:
        many_entries.FILES_IN_DIRECTORY = options.files_in_directory
        for side in ("source", "target"):
            many_entries.make_tree(directory / side, options.entries)
        many_entries.Writer(directory).write_first()
        figures = measure(directory, options.rounds)
        if options.calls:
            figures["calls"] = count_calls(directory) / figures["entries"]
    print(json.dumps(figures))
    return 0


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--files-in-directory", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", action="store_true", help="count system calls, by strace")
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def verify_rounds(directory: Path, rounds: int) -> list[tuple[Verification, Figures]]:
    """Verify the same pair of trees so many times after the first one; return what was found."""
    verifier = Verifier(level="complete", hash_threads=2, capabilities=Capabilities())
    later = time.time() + 3600
    found = []
    for _ in range(1 + rounds):
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        source, target = (str(directory / side) for side in ("source", "target"))
        result = verifier.verify(source, target, 1, Moments((later,), later))
        after = resource.getrusage(resource.RUSAGE_SELF)
        if result.discrepancies:
            raise SystemExit(f"source and target differ: {result.discrepancies[0]}")
        taken = {
            "user": after.ru_utime - before.ru_utime,
            "system": after.ru_stime - before.ru_stime,
            "all": time.monotonic() - began,
        }
        found.append((result, taken))
    return found[1:]


def measure(directory: Path, rounds: int) -> Figures:
    """Return the least microseconds for an entry, and the number of entries."""
    found = verify_rounds(directory, rounds)
    if any(result.files_read for result, _ in found):
        raise SystemExit("not everything was proven")
    entries = found[0][0].entries
    least = {key: min(taken[key] for _, taken in found) for key in found[0][1]}
    return {key: value / entries * MICROSECONDS for key, value in least.items()} | {
        "entries": entries
    }


def count_calls(directory: Path) -> int:
    """Return the system calls of one verification in which everything is proven."""
    few, more = (_calls_of(directory, rounds) for rounds in (FIRST_ROUNDS, FIRST_ROUNDS + 1))
    return more - few


def _calls_of(directory: Path, rounds: int) -> int:
    """Return the system calls of a process that verifies so many times after the first one."""
    with tempfile.NamedTemporaryFile() as summary:
        # Strace takes no name that this architecture lacks, unless it has a question mark.
        counted = "trace=!" + ",".join(f"?{name}" for name in sorted(LEFT_OUT))
        child = (sys.executable, __file__, "--directory", directory, "--rounds", str(rounds))
        subprocess.run(
            ("strace", "-f", "-c", "-U", "calls,name", "-e", counted, "-o", summary.name, *child),
            check=True,
        )
        lines = Path(summary.name).read_text().splitlines()
    (total,) = (line.split()[0] for line in lines if line.endswith("total"))
    return int(total)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("the benchmark mounts a tmpfs: run it as root, for example with sudo")
    sys.exit(main())
