"""What a migration may ask of the kernel: the only place that says so.

`make bench WHAT=counts` prints the counts beside these bounds, and tests/integration/test_counts.py
holds them. A bound is what was counted when it was set, and a tenth. Lower it with the change that
makes the count smaller; raise it only with the reason in the commit.
"""

from bed import ZfsKind

# System calls for one file more, which has 26,000 bytes and a fiftieth of a directory.
CALLS: dict[str, dict[ZfsKind, float]] = {
    "new": {"fuse": 15.3, "kernel": 16.4},
    "changed": {"fuse": 17.7, "kernel": 18.8},
    "unchanged": {"fuse": 2.7, "kernel": 2.7},
    # It is none; what remains is what the machine makes of some hundred calls.
    "unchanged, changes": {"fuse": 0.5, "kernel": 0.5},
    "extended": {"fuse": 2.7, "kernel": 2.7},
}
# Transactions of the pool that are waited for, on OpenZFS.
TRANSACTIONS: dict[str, int] = {"whole": 12, "later": 2}

WORDS = {
    "new": "a new file, complete",
    "changed": "a changed file, complete",
    "unchanged": "an unchanged file, complete",
    "unchanged, changes": "an unchanged file, changes between full walks",
    "extended": "a file of a dataset that is extended by one snapshot",
    "rsync, new": "rsync -aHAX, a new file",
    "rsync, unchanged": "rsync -aHAX, an unchanged file",
    "whole": "a dataset with one snapshot, from the plan to its publication",
    "later": "a later snapshot",
}
