"""Count what the replay of a small change in a large file reads and writes, and what it takes.

A file is edited in some places between two btrfs snapshots. Both are replayed into a dataset of a
file-backed pool; of the second one, /proc/self/io tells what was read and written, and the pool by
how much it grew. Hashing and verifying, which read the whole file, are not part of a replay.
"""

import argparse
import contextlib
import random
import sys
import time
from pathlib import Path

import bed
from series import beds, verdict
from ways import used_bytes

from dsgmigd.dsg.manifest import Manifest
from dsgmigd.host.command import Commands
from dsgmigd.host.directories import Directories
from dsgmigd.source.send_stream import read_commands
from dsgmigd.transfer.replay import Replay

MIB = 1 << 20
# Each costs a record of ZFS, or two: 128 KiB unless somebody set another recordsize.
EDITS = 8
CLAIMED_IO_MIB = 4
CLAIMED_GROWTH_MIB = 4


def main() -> int:
    """Build, replay, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--file-mib", type=int, default=10 * 1024)
    parser.add_argument("--changed-mib", type=float, default=1)
    options = parser.parse_args()
    with beds(size_mib=options.file_mib * 5 // 4 + 1024) as (source_root, pool, _):
        print(f"building: a file of {options.file_mib} MiB", flush=True)
        first, second = build(source_root, options.file_mib, int(options.changed_mib * MIB))
        name = f"{pool.name}/large"
        bed.run("zfs", "create", name)
        root = pool.mountpoint / "large"
        replay(root, first, None)
        bed.run("zfs", "snapshot", f"{name}@s1")
        before, io_before, began = used_bytes(name), own_io(), time.monotonic()
        replay(root, second, first)
        seconds = time.monotonic() - began
        read, written = (now - then for now, then in zip(own_io(), io_before, strict=True))
        bed.run("zfs", "snapshot", f"{name}@s2")  # until then nothing has to be in the pool
        grown = used_bytes(name) - before
        print(f"replayed {options.changed_mib:g} MiB in {EDITS} places in {seconds:.2f} s")
        print_claim("read and written", (read + written) / MIB, 2 * CLAIMED_IO_MIB)
        print_claim("grown in the pool", grown / MIB, CLAIMED_GROWTH_MIB)
        bed.destroy("-R", name)
    return 0


def build(root: Path, file_mib: int, changed_bytes: int) -> tuple[Path, Path]:
    """Make s1 with one file, and s2 in which parts of it are others."""
    dice = random.Random(1)  # noqa: S311 - repeatable, not secret
    first, second = root / "s1", root / "s2"
    bed.run("btrfs", "subvolume", "create", first)
    with (first / "large").open("wb") as file:
        for _ in range(file_mib):
            file.write(dice.randbytes(MIB))
    bed.run("btrfs", "subvolume", "snapshot", first, second)
    bed.run("btrfs", "property", "set", "-ts", first, "ro", "true")
    part = changed_bytes // EDITS
    with (second / "large").open("r+b") as file:
        for number in range(EDITS):
            file.seek(file_mib * MIB // EDITS * number)
            file.write(dice.randbytes(part))
    bed.run("btrfs", "property", "set", "-ts", second, "ro", "true")
    return first, second


def replay(root: Path, snapshot: Path, parent: Path | None) -> None:
    """Bring `root` from `parent` to `snapshot`."""
    base = ["-p", str(parent)] if parent else []
    with (
        Commands().pipe("btrfs", "send", "-q", *base, str(snapshot)) as stream,
        contextlib.ExitStack() as opened,
    ):
        made = Replay(
            opened.enter_context(Directories(str(root))),
            Manifest(),
            parent=opened.enter_context(Directories(str(parent))) if parent else None,
        )
        made.apply(read_commands(stream.read), checkpoint=lambda: None)


def own_io() -> tuple[int, int]:
    """Return how many bytes this process has read and written by system calls."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    told = dict(line.split(": ") for line in lines)
    return int(told["rchar"]), int(told["wchar"])


def print_claim(words: str, mib: float, claimed_mib: int) -> None:
    """Print a figure, and whether it is as small as is claimed."""
    holds = verdict(holds=mib <= claimed_mib)
    print(f"{words}: {mib:.2f} MiB (claimed: at most {claimed_mib}: {holds})")


if __name__ == "__main__":
    sys.exit(main())
