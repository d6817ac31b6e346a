"""An emulated machine whose power can be cut: Debian's own kernel, systemd and OpenZFS.

Its system disk is a layer over the image, its other disks forget what was not flushed when the
power is cut (disk.py). Emulation makes programs twenty times slower: what needs no power cut runs
in user_mode.

Raises: MachineError.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from tests.system.channel import Channel
from tests.system.disk import SHARES, Disk, make_layer
from tests.system.image import EmulatedImage, provide_emulated
from tests.system.machine import Machine, pack_checkout

# With the vector units of newer processors, which QEMU 7.2 imitates for the first time, one boot in
# ten hangs in the kernel's tests of its own cryptography.
_PROCESSOR = "Nehalem"
_KERNEL = "root=/dev/vda rw console=ttyS0 quiet mitigations=off panic=-1 cryptomgr.notests"


class EmulatedMachine(Machine):
    """A machine that QEMU emulates instruction by instruction."""

    boot_seconds = 900.0

    def __init__(self, directory: Path, disks: Mapping[str, int], *, console: str = "") -> None:
        super().__init__(directory)
        self._image: EmulatedImage = provide_emulated()
        self._console = console
        self._process: subprocess.Popen[bytes] | None = None
        self._disks = [Disk.make(directory / f"{name}.img", size) for name, size in disks.items()]
        make_layer(self._layer, self._image.disk)
        pack_checkout(directory / "checkout.tar")

    @property
    def _layer(self) -> Path:
        return self.directory / "root.layer"

    def device(self, name: str) -> str:
        """Return the device in the machine that is the disk `name`: it is found by its serial."""
        return f"/dev/disk/by-id/virtio-{name}"

    def power_on(self) -> Channel:
        """Switch the machine on, its disks with all that they kept."""
        for disk in self._disks:
            disk.renew()
        self._process = subprocess.Popen(
            self._argv(), stdin=None if self._console else subprocess.DEVNULL
        )
        return Channel.connected(self.directory / "agent")

    def cut_power(self, dice: Random, shares: Sequence[float] = SHARES) -> int:
        """Take the machine's power away; return how many writes its disks forgot."""
        self.kill()
        return sum(disk.settle(dice, shares) for disk in self._disks)

    def power_off(self) -> None:
        """End the emulator; its disks are as they were written."""
        if self._process:
            self._process.kill()
            self._process.wait(60)
        self._process = None

    def wait_end(self) -> None:
        """Wait until the machine is switched off from the inside."""
        if self._process:
            self._process.wait()

    def _argv(self) -> list[str]:
        root = f"file={self._layer},format=qcow2,if=none,id=root,cache=unsafe"
        checkout = f"file={self.directory / 'checkout.tar'},format=raw,if=none,id=checkout"
        console = self._console or "chardev:console"
        return [
            # The machine ends with its test, however that ends.
            *("setpriv", "--pdeathsig", "KILL"),
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", _PROCESSOR, "-smp", "2"),
            *("-m", "2048", "-kernel", str(self._image.kernel)),
            *("-initrd", str(self._image.initrd)),
            *("-append", _KERNEL),
            *("-chardev", f"file,id=console,path={self.log},append=on"),
            *("-serial", console, "-device", "virtio-rng-pci"),
            *("-drive", root, "-device", "virtio-blk-pci,drive=root"),
            *("-drive", f"{checkout},readonly=on"),
            *("-device", "virtio-blk-pci,drive=checkout,serial=checkout"),
            *(option for disk in self._disks for option in disk.options()),
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,path={self.directory / 'agent'},server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=dsgmigd-test"),
        ]
