"""A machine in a process of this host: a User-Mode Linux with OpenZFS, and Debian 12 with systemd.

It needs no virtualisation, boots in seconds and runs programs at the processor's own speed; only
system calls and page faults cost microseconds more than on a real machine. Its disks are files of
this host, each with a layer that takes what is written, so that several machines run at once from
one image. It sees nothing else of the host. A power cut cannot be tried here: the host keeps what a
real disk would forget.

Raises: MachineError.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from string import ascii_lowercase

from tests.system.channel import Channel
from tests.system.image import provide_kernel, provide_root
from tests.system.machine import Machine, pack_checkout

MEMORY_MIB = 2048
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 # it is one's purpose


def _processor() -> int:
    """Return the processor for this process's machines; test processes share them out."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    usable = sorted(os.sched_getaffinity(0))
    return usable[int(worker) % len(usable)]


class UserModeMachine(Machine):
    """A machine of one processor."""

    def __init__(
        self,
        directory: Path,
        disks: Mapping[str, int],
        *,
        console: bool = False,
        memory_mib: int = MEMORY_MIB,
    ) -> None:
        super().__init__(directory)
        self._kernel, self._root = provide_kernel(), provide_root()
        self._has_console = console
        self._memory_mib = memory_mib
        self._process: subprocess.Popen[bytes] | None = None
        pack_checkout(directory / "checkout.tar")
        self._disks = ["root", "checkout", *disks]
        for name, size_mib in disks.items():
            with (directory / f"{name}.img").open("xb") as file:
                file.truncate(size_mib << 20)

    def device(self, name: str) -> str:
        """Return the device in the machine that is the disk `name`."""
        return f"/dev/ubd{ascii_lowercase[self._disks.index(name)]}"

    def power_on(self) -> Channel:
        """Start the process; what an earlier one wrote to the disks is there."""
        ours, theirs = socket.socketpair()
        with theirs, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv(theirs.fileno()),
                stdin=None if self._has_console else subprocess.DEVNULL,
                stdout=None if self._has_console else subprocess.DEVNULL,
                stderr=log,
                pass_fds=(theirs.fileno(),),
                env={"HOME": str(self.directory), "TMPDIR": self._memory_directory()},
                # Its own session: no job control stops it when the terminal is its console.
                start_new_session=True,
            )
        return Channel(ours)

    def power_off(self) -> None:
        """Kill the process with those in which it runs the machine's programs."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)
        self._process = None

    def wait_end(self) -> None:
        """Wait until the machine is switched off from the inside."""
        if self._process:
            self._process.wait()

    def _memory_directory(self) -> str:
        """Return where the machine's memory is a file: in memory, where that has room."""
        with contextlib.suppress(OSError):
            if shutil.disk_usage(_SHARED_MEMORY).free > 2 * self._memory_mib << 20:
                return str(_SHARED_MEMORY)
        return str(self.directory)

    def _argv(self, agent: int) -> list[str]:
        files = [f"{self.directory / 'root.layer'},{self._root}", f"{self.directory}/checkout.tar"]
        files += [f"{self.directory / name}.img" for name in self._disks[2:]]
        flags = ["", "r", *("" for _ in self._disks[2:])]
        disks = zip(flags, files, strict=True)
        terminal = ["con1=fd:0,fd:1"] if self._has_console else []
        return [
            # The machine's kernel and its programs are processes that take turns, at every system
            # call. On one processor, that costs a third of what it costs from one to the other.
            *("taskset", "--cpu-list", str(_processor())),
            str(self._kernel),
            f"mem={self._memory_mib}M",
            f"uml_dir={self.directory}",
            *(f"ubd{number}{flag}={file}" for number, (flag, file) in enumerate(disks)),
            *("root=/dev/ubda", "rw", "seccomp=on", "quiet", "systemd.show_status=0"),
            *("con=null", "con0=null,fd:2", *terminal, f"ssl0=fd:{agent},fd:{agent}"),
        ]
