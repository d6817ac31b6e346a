"""A storage host in a virtual machine: btrfs, a pool and a spool on disks of their own, dsgmigd.

Every path is the default of the configuration, so that none is needed. What has to happen in the
machine and is more than a command is in `inside.py`, which runs there.
"""

import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests import amounts
from tests.system.emulated import EmulatedMachine
from tests.system.machine import MACHINE_CACHE, Machine
from tests.system.user_mode import MEMORY_MIB, UserModeMachine

DISKS = {"source": 1024, "pool": 1024, "spool": 128, "spare": 512}
SPOOL = "/var/spool/dsgmigd"
SOURCE = "/var/repos/btrsnap"
PARENT = "zsd"
TARGET = "/var/repos/zsd"
UNITS = tuple(f"dsgmigd@{number}.service" for number in range(1, 5))

_CHECKOUT = "/root/checkout"
_PYTHON = f"PYTHONPATH={_CHECKOUT}:{_CHECKOUT}/packaging/quickstart:/opt/python python3"
INSTALL = f"""
set -e
cd {_CHECKOUT}
package=$(ls -t dist/dsgmigd_*.deb | head -n 1)
DEBIAN_FRONTEND=noninteractive dpkg --install "$package"
"""


class StorageHost(Machine):
    """A machine with all that dsgmigd works on, and dsgmigd installed from its package."""

    def set_up(self) -> None:
        """Boot for the first time, make the file systems, install dsgmigd."""
        self.boot()
        self.run(self._prepare(), seconds=600)
        self.run(INSTALL, seconds=600)

    def _prepare(self) -> str:
        source, spool, pool = (self.device(name) for name in ("source", "spool", "pool"))
        # A machine whose disk is gone boots all the same.
        return f"""
set -e
mkdir -p {_CHECKOUT} {SOURCE} {SPOOL}
tar -C {_CHECKOUT} -xf {self.device("checkout")}
python3 -m compileall -q {_CHECKOUT}/dsgmigd {_CHECKOUT}/packaging/quickstart {_CHECKOUT}/tests
mkfs.btrfs --quiet {source}
mkfs.ext4 -q {spool}
cat >>/etc/fstab <<END
{source} {SOURCE} btrfs noatime,nofail 0 0
{spool} {SPOOL} ext4 nofail 0 2
END
systemctl daemon-reload
mount {SOURCE}
mount {SPOOL}
test -e /sys/module/zfs || modprobe zfs
zpool create -O compression=on -O atime=off -O xattr=sa -O acltype=posixacl \\
    -m {TARGET} {PARENT} {pool}
"""

    def inside(self, function: str, *arguments: str, seconds: float = 600) -> Any:
        """Run a function of `inside.py` in the machine and return its result."""
        words = " ".join((function, *arguments))
        script = f"{_PYTHON} {_CHECKOUT}/tests/system/inside.py {words}"
        return json.loads(self.run(f"cd {_CHECKOUT} && {script}", seconds=seconds))

    def pytest(self, *arguments: str, seconds: float) -> str:
        """Run tests of the checkout in the machine and return the end of what they print."""
        words = f"-q -p no:cacheprovider --color=no {' '.join(arguments)}"
        settings = f"CI=1 DSGMIGD_TESTS={amounts.LEVEL} XDG_CACHE_HOME={_CHECKOUT}/{MACHINE_CACHE}"
        command = f"{settings} {_PYTHON} -m pytest {words}"
        output = self.call(
            ("/bin/bash", "-c", f"cd {_CHECKOUT} && {command} 2>&1"), seconds=seconds
        )
        return f"{output.text}\nexit status {output.code}"

    def start(self, units: Sequence[str] = UNITS) -> None:
        """Start instances of dsgmigd, all of them if not told which."""
        self.run(f"systemctl start {' '.join(units)}", seconds=600)

    def wait_verified(self, repo: str) -> None:
        """Wait until a worker says that it verified the first snapshot of `repo`."""
        self.wait_until(f"journalctl DSGMIGD_REPO={repo} | grep -q snapshot.verified")

    def result(
        self, repo: str, *, spool: str = SPOOL, unlike: bytes = b"", seconds: float = 900
    ) -> dict[str, Any]:
        """Return the result of `repo` once it stands and neither a claim nor a request does.

        `unlike` is the result of an earlier request.
        """
        path = f"{spool}/{repo}.result.json"
        nothing_waits = f"! ls {spool} | grep -Eq '^{repo}[.](request$|claim)'"

        def look() -> bytes | None:
            found = self.copy_out(path) if self.succeeds(nothing_waits) else b""
            return found if found != unlike else None

        result: dict[str, Any] = json.loads(
            self.wait_for(look, f"the result of {repo}", seconds=seconds)
        )
        return result

    def violations(self, requests: dict[str, int]) -> list[str]:
        """Return what does not hold since `inside("observe")`; nobody works now."""
        found: list[str] = self.inside("violations", shlex.quote(json.dumps(requests)))
        return found

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Return the journal's records that match, the oldest first."""
        lines = self.run(f"journalctl --output=json --all {' '.join(matches)}").splitlines()
        return [json.loads(line) for line in lines]

    def words(self) -> str:
        """Return what the units said last, for a test that failed."""
        with suppress(Exception):
            return self.run(
                "journalctl --no-pager --lines=60; ls -la /var/spool/dsgmigd", seconds=30
            )
        return self.console()


class Host(StorageHost, UserModeMachine):
    """The machine for nearly all tests: fast, and with the newest OpenZFS."""

    def __init__(
        self, directory: Path, *, console: bool = False, memory_mib: int = MEMORY_MIB
    ) -> None:
        super().__init__(directory, DISKS, console=console, memory_mib=memory_mib)


class EmulatedHost(StorageHost, EmulatedMachine):
    """The machine whose power can be cut, with Debian 12's own kernel and OpenZFS."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, DISKS)
