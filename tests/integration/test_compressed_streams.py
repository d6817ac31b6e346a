"""Streams with compressed data are replayed to what `btrfs receive` makes of them, and the source.

The kernel chooses what it sends compressed, so each test counts what the streams really had.
"""

import io
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import bed
import pytest

from dsgmigd.dsg.manifest import Manifest
from dsgmigd.host.directories import Directories
from dsgmigd.source.btrfs_send import send_command
from dsgmigd.source.send_stream import Attributes, Command, Field, Kind, read_commands
from dsgmigd.transfer.replay import Replay
from tests.integration.comparer import differences
from tests.integration.history import History
from tests.integration.snapshots import held_snapshot

NUMBERS = {"zlib": 1, "zstd": 2, "lzo": 3}
MIB = 1 << 20


@pytest.fixture(params=NUMBERS)
def compression(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def history(tmp_path: Path, compression: str, btrfs_root: Path) -> Iterator[History]:
    """A history on a btrfs that compresses everything; `btrfs_root` is for its namespace."""
    assert btrfs_root.is_dir()
    with bed.BtrfsLoop(tmp_path / "image", tmp_path / "source"):
        bed.run("mount", "-o", f"remount,compress-force={compression}", tmp_path / "source")
        yield History(tmp_path / "source/history")


class Twins:
    """What the streams of one history become: by replay, and by `btrfs receive`."""

    def __init__(self, place: Path) -> None:
        self.replayed, self.received = place / "replayed", place / "received"
        self.replayed.mkdir()
        self.received.mkdir()
        self.parent: Path | None = None
        self.seen: Counter[str] = Counter()
        self.compressions: set[int] = set()
        self.deferred: set[bytes] = set()

    def check(self, snapshot: Path, *, is_received_whole: bool = True) -> None:
        """Take the next snapshot, and compare both results with it.

        What is deferred is copied, as who uses a replay does.
        """
        held = held_snapshot(1, snapshot)
        parent = held_snapshot(1, self.parent) if self.parent else None
        command = send_command(held, parent, "compressed")
        stream = subprocess.run(command, check=True, capture_output=True).stdout
        receive = ["btrfs", "receive", "-q", str(self.received)]
        subprocess.run(receive, check=True, input=stream, capture_output=True)
        with ExitStack() as opened:
            root = opened.enter_context(Directories(str(self.replayed)))
            before = opened.enter_context(parent.open()) if parent else None
            source = opened.enter_context(held.open())
            replay = Replay(root, Manifest(), parent=before, source=source)
            replay.apply(self.counted(stream), checkpoint=lambda: None)
        self.deferred |= replay.deferred
        for path in map(os.fsdecode, replay.deferred):
            bed.run("rsync", "-aRI", "--modify-window=-1", f"{snapshot}/./{path}", self.replayed)
        assert differences(snapshot, self.replayed) == []
        found = differences(self.received / snapshot.name, self.replayed)
        assert (found == []) is is_received_whole
        self.parent = snapshot

    def counted(self, stream: bytes) -> Iterator[Command]:
        for kind, attributes in read_commands(io.BytesIO(stream).read):
            self.seen[kind.name] += 1
            if kind is Kind.ENCODED_WRITE:
                self.count_encoded(attributes)
            yield kind, attributes

    def count_encoded(self, attributes: Attributes) -> None:
        length, size = number(attributes, Field.UNENCODED_LEN), len(attributes[Field.DATA])
        self.seen["inline"] += bool(length % 4096)
        self.seen["partial"] += number(attributes, Field.UNENCODED_FILE_LEN) < length
        self.seen["from the middle"] += number(attributes, Field.UNENCODED_OFFSET) > 0
        self.seen["smaller"] += size < length
        self.compressions.add(number(attributes, Field.COMPRESSION))


def number(attributes: Attributes, field: Field) -> int:
    return int.from_bytes(attributes[field], "little")


@pytest.fixture
def twins(second_btrfs: Path) -> Twins:
    return Twins(second_btrfs)


def text(size: int, seed: int = 1) -> bytes:
    """Return text that becomes smaller, but not to almost nothing."""
    chance = Random(seed)  # noqa: S311
    lines = (b"%d,%d,some words\n" % (number, chance.getrandbits(40)) for number in range(size))
    return b"".join(line for line, _ in zip(lines, range(size // 20 + 1), strict=False))[:size]


def make(history: History) -> None:
    """Write files of every kind, so that each begins with whole extents."""
    contents = {
        b"large": text(MIB),
        b"tail": text(130_000),
        b"inline": b"few words " * 150,
        b"one": b"x",
        b"zeros": bytes(MIB),
        b"noise": Random(2).randbytes(300_000),  # noqa: S311
        b"shared": text(MIB, 3),
        b"cut": text(MIB, 4),
        b"punched": text(MIB, 5),
        b"grown": text(5000, 6),
    }
    for name, content in contents.items():
        Path(history.live, name.decode()).write_bytes(content)
    history.create(b"holes", 100)
    history.truncate(b"holes", MIB)
    history.write(b"holes", 500_000, 70_000)
    history.create(b"partly shared", 0)
    bed.run("btrfs", "filesystem", "sync", history.live)


def change(history: History) -> None:
    history.write(b"large", 40_960, 4096)
    history.write(b"large", 300_001, 7)
    history.write(b"tail", 129_000, 3000)
    history.write(b"inline", 700, 100)
    history.clone_range(b"shared", b"partly shared", (3, 20, 0))
    history.clone_range(b"large", b"partly shared", (40, 100, 30))
    history.copy_by_reference(b"shared", b"copy")
    history.truncate(b"cut", 333_333)
    history.punch(b"punched", 65_536, 200_000)
    history.write(b"grown", 4000, 200_000)
    history.rename(b"noise", b"renamed")
    bed.run("btrfs", "filesystem", "sync", history.live)


def test_what_is_compressed_arrives_as_it_is(
    history: History, twins: Twins, compression: str
) -> None:
    make(history)
    twins.check(history.snapshot())
    assert twins.seen["inline"]
    change(history)
    twins.check(history.snapshot())
    assert twins.compressions == {NUMBERS[compression]}
    for seen in ("smaller", "partial", "CLONE", "WRITE"):
        assert twins.seen[seen], seen


def grow_in_place(path: Path) -> None:
    """Give a file of one inline extent the size of a sector, and no other extent."""
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 4096)


def test_a_file_that_ends_with_the_sector_of_an_inline_extent_has_its_size(
    history: History, twins: Twins
) -> None:
    """`btrfs receive` gives it the size of that extent: the stream tells no other."""
    live = history.live
    for name in ("grown", "whole", "early"):
        (live / name).write_bytes(b"few words " * 150)
    history.make_directory(b"d")
    history.rename(b"early", b"d/early")  # the stream has it in a directory without a name yet
    bed.run("btrfs", "filesystem", "sync", live)
    grow_in_place(live / "grown")
    grow_in_place(live / "d/early")
    twins.check(history.snapshot(), is_received_whole=False)
    assert twins.seen["inline"] == 3
    assert twins.deferred == {b"d/early"}


def test_extents_of_which_only_a_part_is_left_arrive_without_a_parent(
    history: History, twins: Twins, compression: str
) -> None:
    make(history)
    change(history)
    history.unlink(b"shared")
    history.unlink(b"copy")
    twins.check(history.snapshot())
    assert twins.compressions == {NUMBERS[compression]}
    assert twins.seen["from the middle"]
