"""`make vm`: a root shell in the machine of the system tests, with dsgmigd installed.

Its console is this terminal. The checkout is in /root/checkout; `poweroff` ends it, and nothing of
it stays.
"""

import tempfile
from pathlib import Path

from tests.system.host import Host


def main() -> None:
    """Boot, set up, and leave the console to whoever sits at it."""
    with (
        tempfile.TemporaryDirectory(prefix="dsgmigd-vm-", dir="/var/tmp") as directory,
        Host(Path(directory), console=True) as host,
    ):
        host.set_up()
        host.call(["/bin/sh", "-c", "echo 'ready: press Enter' >/dev/tty1"])
        host.wait_end()


if __name__ == "__main__":
    main()
