"""The only door to the kernel: programs, directories, durable files, locks, system calls.

Owns every subprocess, every path walk below a descriptor, every fsync, and the
rule for what a terminal is given.
Guarantees: no program runs without a constructed environment and a closed standard input; no link
is followed below an open directory; what a durable function wrote survives a power failure.
Raises: OSError, CommandFailed and the errors of `file_errors`, which turns an OSError into an error
of the side (source, target, spool) on which it happened.
Start reading in `directories`, `durable` and `regular`. Every room imports it; it imports none.
"""

FACE = (
    "change_time",
    "command",
    "directories",
    "durable",
    "encoding",
    "file_errors",
    "hashing",
    "locks",
    "log",
    "mount_namespace",
    "ownership",
    "regular",
    "status_table",
    "syscalls",
    "terminal",
)
