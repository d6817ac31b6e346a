"""Compare the ways, as compare.py does, on the kernel's OpenZFS: in the system tests' machine.

Programs run there at the processor's own speed. Each system call costs about 7 microseconds more
than on a real machine, and each page fault about 12; /sys/module/um_count/parameters counts both.
"""

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

from tests.system.host import Host

_SECONDS = 4 * 3600
_CHECKOUT = "/root/checkout"


def main() -> int:
    """Boot, set up, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("options", nargs="*", help="options of compare.py, behind --")
    words = parser.parse_args().options or ["--size", "2000x5,0.01", "--rounds", "3"]
    path = f"{_CHECKOUT}:{_CHECKOUT}/packaging/quickstart"
    command = f"cd {_CHECKOUT} && PYTHONPATH={path} python3 -B bench/compare.py {shlex.join(words)}"
    with (
        tempfile.TemporaryDirectory(prefix="dsgmigd-vm-", dir="/var/tmp") as directory,
        Host(Path(directory)) as host,
    ):
        host.set_up()
        print(host.run(command, seconds=_SECONDS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
