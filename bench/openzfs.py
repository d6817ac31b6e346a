"""Measure on the kernel's OpenZFS: run another bench in the system tests' machine.

    openzfs.py [--memory MIB] [--against CHECKOUT] [BENCH [OPTIONS...]]

BENCH is compare, cases, counts or memory, and OPTIONS are those of its program.

Programs run there at the processor's own speed, but each system call and each page fault takes
microseconds more than on a real machine. The machine counts them, their price is measured before
the bench begins, and each figure is given with it and without it. File systems are in files in the
machine's memory. The machine has one processor, whatever the host has.
"""

import argparse
import os
import shlex
import sys
import tarfile
import tempfile
from pathlib import Path

from prices import traps_for_machine

from tests.system.host import Host

BENCHES = {
    "compare": ("compare.py", ["--size", "2000x5,0.01", "--rounds", "3"]),
    "cases": ("cases.py", []),
    "counts": ("counts.py", []),
    "memory": ("many_entries.py", ["--entries", "20000"]),
}
MEMORY_MIB = 4096
_SECONDS = 8 * 3600
# The host may be busy: its load is printed, and a bench is not a test of how soon a machine boots.
_BOOT_SECONDS = 600
_CHECKOUT = "/root/checkout"
_OTHER = "/root/other"
_LOADS = "load of the host, the mean of a minute"


def main() -> int:
    """Boot, set up, measure, print."""
    options = parse_options()
    script, usual = BENCHES[options.bench]
    words = options.options or usual
    print(f"{_LOADS}: {os.getloadavg()[0]:.2f} of {os.cpu_count()} processors", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="dsgmigd-vm-", dir="/var/tmp") as directory,
        Host(Path(directory), memory_mib=options.memory) as host,
    ):
        if options.against:
            pack(options.against, Path(directory) / "spare.img")
            words = [*words, "--against", _OTHER]
        settings = traps_for_machine()
        host.boot_seconds = _BOOT_SECONDS
        host.set_up()
        host.run(prepare(host, has_other=bool(options.against)))
        path = f"{_CHECKOUT}:{_CHECKOUT}/packaging/quickstart"
        settings |= {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        program = (f"{name}={shlex.quote(value)}" for name, value in settings.items())
        command = f"{' '.join(program)} python3 bench/{script} {shlex.join(words)} 2>&1"
        output = host.call(["/bin/bash", "-c", f"cd {_CHECKOUT} && {command}"], seconds=_SECONDS)
    print(output.text)
    print(f"{_LOADS}: {os.getloadavg()[0]:.2f}")
    return 1 if output.code is None else output.code


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--memory", type=int, default=MEMORY_MIB, help="of the machine, in MiB")
    parser.add_argument("--against", type=Path, help="another checkout, for cases, counts")
    parser.add_argument("bench", nargs="?", choices=BENCHES, default="compare")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="options of that bench")
    return parser.parse_args()


def pack(checkout: Path, disk: Path) -> None:
    """Write the program of another checkout to a disk of the machine, as an archive."""
    with disk.open("r+b") as file, tarfile.open(fileobj=file, mode="w") as archive:
        archive.add(checkout / "dsgmigd", "dsgmigd")


def prepare(host: Host, *, has_other: bool) -> str:
    """Return what makes room for file systems in memory, and unpacks the other checkout."""
    lines = [
        "set -e",
        "mount -t tmpfs -o size=75% bench /var/tmp",
        # OpenZFS would keep half of the memory for what it has read.
        "cd /sys/module/zfs/parameters",
        "awk '/^MemTotal/ { print $2 * 256 }' /proc/meminfo >zfs_arc_max",
    ]
    if has_other:
        lines.append(f"mkdir {_OTHER}; tar -C {_OTHER} -xf {host.device('spare')}")
        lines.append(f"python3 -m compileall -q {_OTHER}/dsgmigd")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
