"""A small change in a large file costs what changed, whatever the file is large."""

import contextlib
import os
from pathlib import Path

import bed

from dsgmigd.dsg.manifest import Manifest
from dsgmigd.host.command import Commands
from dsgmigd.host.directories import Directories
from dsgmigd.source.send_stream import read_commands
from dsgmigd.transfer.replay import Replay

MIB = 1 << 20
FILE_MIB = 128
EDITED_AT = (0, 77 * MIB - 5, 100 * MIB)
EDIT = b"edited" * 1000


def test_a_replay_reads_and_writes_what_changed_and_little_else(
    btrfs_root: Path, tmp_path: Path
) -> None:
    first, second = btrfs_root / "large-1", btrfs_root / "large-2"
    bed.run("btrfs", "subvolume", "create", first)
    (first / "large").write_bytes(os.urandom(FILE_MIB * MIB))
    bed.run("btrfs", "subvolume", "snapshot", first, second)
    with (second / "large").open("r+b") as file:
        for place in EDITED_AT:
            file.seek(place)
            file.write(EDIT)
    for snapshot in (first, second):
        bed.run("btrfs", "property", "set", "-ts", snapshot, "ro", "true")
    replay(tmp_path, first, None)
    before = moved_bytes()
    replay(tmp_path, second, first)
    assert moved_bytes() - before < MIB
    assert (tmp_path / "large").read_bytes() == (second / "large").read_bytes()
    for snapshot in (second, first):
        bed.run("btrfs", "subvolume", "delete", snapshot)


def replay(root: Path, snapshot: Path, parent: Path | None) -> None:
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


def moved_bytes() -> int:
    """Return how many bytes this process has read and written by system calls."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    told = dict(line.split(": ") for line in lines)
    return int(told["rchar"]) + int(told["wchar"])
