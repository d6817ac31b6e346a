"""A virtual machine that can be switched on, told what to do, and have its power cut.

It is emulated (no /dev/kvm), with Debian's kernel, systemd and OpenZFS. Its system disk is a layer
over the image, its other disks forget what was not flushed when the power is cut (disk.py).
Everything has a time limit, and what fails tells the end of the console's log.
Leaving errors: MachineError.
"""

import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self, TypeVar

from tests.system.channel import Channel, MachineError, Output
from tests.system.disk import SHARES, Disk, make_layer
from tests.system.image import CHECKOUT, Image

Found = TypeVar("Found")

_BOOT_SECONDS = 900
# Looking takes the machine a tenth of a second.
_LOOK_SECONDS = 1
_CONSOLE_CHARACTERS = 4000
_WORDS_CHARACTERS = 3000
# With the vector units of newer processors, which QEMU 7.2 imitates for the first time, one boot in
# ten hangs in the kernel's tests of its own cryptography.
_PROCESSOR = "Nehalem"
_KERNEL = "root=/dev/vda rw console=ttyS0 quiet mitigations=off panic=-1 cryptomgr.notests"
_IN_THE_CHECKOUT = (
    "Makefile README.md bench dist docs dsgmigd etc packaging pyproject.toml systemd tests"
)


class Machine:
    """One machine. It lives in `directory`, which is the caller's to remove."""

    def __init__(
        self,
        directory: Path,
        image: Image,
        disks: Mapping[str, int],
        *,
        console: str = "",
    ) -> None:
        self._directory = directory
        self._image = image
        self._console = console
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._disks = [Disk.make(directory / f"{name}.img", size) for name, size in disks.items()]
        make_layer(self._layer, image.disk)
        _pack_checkout(directory / "checkout.tar")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._kill()

    @property
    def _layer(self) -> Path:
        return self._directory / "root.layer"

    @property
    def _log(self) -> Path:
        return self._directory / "console.log"

    # Power.

    def boot(self) -> None:
        """Switch the machine on, and wait until it runs commands."""
        for disk in self._disks:
            disk.renew()
        self._process = subprocess.Popen(
            self._argv(), stdin=None if self._console else subprocess.DEVNULL
        )
        self._channel = Channel(self._directory / "agent")
        self._wait_boot()

    def reboot(self) -> None:
        """Boot anew as an administrator does it."""
        self.run("systemctl --no-block reboot")
        self._wait_boot()

    def cut_power(self, dice: Random, shares: Sequence[float] = SHARES) -> int:
        """Take the machine's power away; return how many writes its disks forgot."""
        self._kill()
        return sum(disk.settle(dice, shares) for disk in self._disks)

    def wait_end(self) -> None:
        """Wait until the machine is switched off from the inside."""
        if self._process:
            self._process.wait()

    def _wait_boot(self) -> None:
        try:
            self._connected().wait_boot(_BOOT_SECONDS)
        except MachineError as error:
            raise self._failed(str(error)) from error

    def _kill(self) -> None:
        if self._channel:
            self._channel.close()
        if self._process:
            self._process.kill()
            self._process.wait(60)
        self._channel = self._process = None

    # Commands.

    def run(self, command: str, *, seconds: float = 120, check: bool = True) -> str:
        """Run a shell command as root and return what it printed."""
        output = self.call(["/bin/bash", "-c", command], seconds=seconds)
        if check and output.code != 0:
            words = (output.stdout + output.stderr).decode(errors="replace")
            raise self._failed(f"{command!r} gave {output.code}: {words[-_WORDS_CHARACTERS:]}")
        return output.text

    def succeeds(self, command: str, *, seconds: float = 120) -> bool:
        """Say whether a shell command ends with 0."""
        return self.call(["/bin/bash", "-c", command], seconds=seconds).code == 0

    def call(self, argv: Iterable[str], *, content: bytes = b"", seconds: float = 120) -> Output:
        """Run a program as root, whatever comes of it."""
        try:
            return self._connected().call(list(argv), content, seconds)
        except MachineError as error:
            raise self._failed(str(error)) from error

    def wait_until(self, command: str, *, seconds: float = 600) -> None:
        """Run a shell command again and again until it ends with 0."""
        self.wait_for(lambda: self.succeeds(command), command, seconds=seconds)

    def wait_for(self, look: Callable[[], Found | None], what: str, *, seconds: float) -> Found:
        """Look again and again until there is something; return it."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                raise self._failed(f"waited {seconds} s for {what}")
            time.sleep(_LOOK_SECONDS)
        return found

    def copy_in(self, content: bytes, path: str) -> None:
        """Write a file in the machine."""
        self.call(["/usr/bin/dd", "status=none", f"of={path}"], content=content)

    def copy_out(self, path: str) -> bytes:
        """Return the content of a file in the machine."""
        return self.call(["/usr/bin/cat", path]).stdout

    def _connected(self) -> Channel:
        if self._channel is None:
            raise MachineError("the machine is off")
        return self._channel

    def _failed(self, words: str) -> MachineError:
        return MachineError(f"{words}\nthe console's last words:\n{self.console()}")

    def console(self) -> str:
        """Return the end of what the machine wrote to its serial console."""
        try:
            return self._log.read_text(errors="replace")[-_CONSOLE_CHARACTERS:]
        except FileNotFoundError:
            return ""

    def _argv(self) -> list[str]:
        root = f"file={self._layer},format=qcow2,if=none,id=root,cache=unsafe"
        checkout = f"file={self._directory / 'checkout.tar'},format=raw,if=none,id=checkout"
        console = self._console or "chardev:console"
        return [
            # The machine dies with its test, however that ends.
            *("setpriv", "--pdeathsig", "KILL"),
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", _PROCESSOR, "-smp", "2"),
            *("-m", "2048", "-kernel", str(self._image.kernel)),
            *("-initrd", str(self._image.initrd)),
            *("-append", _KERNEL),
            *("-chardev", f"file,id=console,path={self._log},append=on"),
            *("-serial", console, "-device", "virtio-rng-pci"),
            *("-drive", root, "-device", "virtio-blk-pci,drive=root"),
            *("-drive", f"{checkout},readonly=on"),
            *("-device", "virtio-blk-pci,drive=checkout,serial=checkout"),
            *(option for disk in self._disks for option in disk.options()),
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,path={self._directory / 'agent'},server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=dsgmigd-test"),
        ]


def _pack_checkout(path: Path) -> None:
    """Pack what the machine sees of the checkout; it reads the archive from a disk of its own."""

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if "/__pycache__" in member.name else member

    with tarfile.open(path, "w") as archive:
        for name in _IN_THE_CHECKOUT.split():
            if (CHECKOUT / name).exists():
                archive.add(CHECKOUT / name, name, filter=wanted)
