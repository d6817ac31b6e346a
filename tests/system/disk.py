"""Disks that forget, when the power is cut, what was not flushed.

The machine writes to a layer over `NAME.img`, and QEMU's blklogwrites notes each write, discard
and flush. When the power is cut, the layer is thrown away and the log is played onto `NAME.img`:
everything up to the last flush, and after it what the dice say, as a disk's cache does it. The
format of the log is that of the kernel's device mapper target log-writes (dm-log-writes.c).
"""

import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import BinaryIO

_MAGIC = 0x6A736677736872
_SUPERBLOCK = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_FLUSH, _DISCARD = 1, 4
# How much of what was not flushed a cut may keep: nothing, about half of it, nearly all.
SHARES = (0.0, 0.5, 0.95)
# The host never loses power in a test, only QEMU is killed: so the host need not flush.
UNFLUSHED = "cache.no-flush=on"


@dataclass(frozen=True)
class Disk:
    """One disk of a machine."""

    path: Path

    @classmethod
    def make(cls, path: Path, size_mib: int) -> "Disk":
        """Make an empty disk at `path`, which ends in ".img"."""
        with path.open("xb") as file:
            file.truncate(size_mib << 20)
        return cls(path)

    @property
    def name(self) -> str:
        """The name by which the machine knows it, as /dev/disk/by-id/virtio-NAME."""
        return self.path.stem

    @property
    def _layer(self) -> Path:
        return self.path.with_suffix(".layer")

    @property
    def _log(self) -> Path:
        return self.path.with_suffix(".log")

    def renew(self) -> None:
        """Begin a new layer and a new log, before the machine is switched on."""
        make_layer(self._layer, self.path)
        self._log.unlink(missing_ok=True)
        with self._log.open("xb") as file:
            file.truncate(self.path.stat().st_size)

    def options(self) -> list[str]:
        """Return QEMU's options for it."""
        name = self.name
        log = f"log={name}-log,log-sector-size=512,log-super-update-interval=1"
        return [
            *("-blockdev", f"file,node-name={name}-file,filename={self._layer},{UNFLUSHED}"),
            *("-blockdev", f"qcow2,node-name={name}-layer,file={name}-file,discard=unmap"),
            *("-blockdev", f"file,node-name={name}-log,filename={self._log},{UNFLUSHED}"),
            *("-blockdev", f"blklogwrites,node-name={name},file={name}-layer,{log}"),
            # Merged requests have as many parts as the host takes, and the log adds one to them.
            *("-device", f"virtio-blk-pci,drive={name},serial={name},request-merging=off"),
        ]

    def settle(self, dice: Random, shares: Sequence[float]) -> int:
        """Write to the disk itself what a power cut leaves; return how many writes it forgot.

        One of `shares` is how much is kept of what was not flushed.
        """
        share = dice.choice(shares)
        forgotten = 0
        with self._log.open("rb") as log, self.path.open("r+b") as file:
            entries = list(_entries(log))
            flushes = [at for at, entry in enumerate(entries) if entry.flags & _FLUSH]
            durable = flushes[-1] if flushes else -1
            for at, entry in enumerate(entries):
                if at > durable and dice.random() >= share:
                    forgotten += bool(entry.length)
                else:
                    entry.play(log, file)
        return forgotten


def make_layer(layer: Path, below: Path) -> None:
    """Make an empty qcow2 file that shows what is in the raw image `below` until it is written."""
    layer.unlink(missing_ok=True)
    subprocess.run(
        ("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "raw", layer),
        check=True,
        stdin=subprocess.DEVNULL,
    )


@dataclass(frozen=True)
class _Write:
    offset: int
    length: int
    flags: int
    data_at: int

    def play(self, log: BinaryIO, file: BinaryIO) -> None:
        if self.length and not self.flags & _DISCARD:
            file.seek(self.offset)
            file.write(os.pread(log.fileno(), self.length, self.data_at))


def _entries(log: BinaryIO) -> Iterator[_Write]:
    """Read the log up to where its superblock says that it ends."""
    head = os.pread(log.fileno(), _SUPERBLOCK.size, 0)
    if not any(head):  # nothing was ever written
        return
    magic, version, number, sector = _SUPERBLOCK.unpack(head)
    if (magic, version) != (_MAGIC, 1):
        raise ValueError("not a log of writes")
    at = int(sector)
    for _ in range(number):
        start, sectors, flags, data = _ENTRY.unpack(os.pread(log.fileno(), _ENTRY.size, at))
        length = sectors * sector
        yield _Write(start * sector, length, flags, at + sector)
        at += sector + (0 if flags & _DISCARD else length) + data
