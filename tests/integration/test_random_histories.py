"""Random histories, replayed onto btrfs, where extended attributes and ACLs can be compared too.

Judges: an independent comparer, `btrfs receive` of the same streams, `btrfs receive --dump` for
the parser, a manifest made from nothing, a reader written from the format alone, and the verifier.
"""

import json
import os
import shutil
import stat
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bed
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from dsgmigd.abilities import Abilities
from dsgmigd.btrfs.stream import Field, Kind, read_commands
from dsgmigd.command import Commands
from dsgmigd.descriptors import Directories
from dsgmigd.dsg.manifest import Manifest
from dsgmigd.dsg.pushlog import Push
from dsgmigd.dsg.refresh import Refresher
from dsgmigd.progress import Progress
from dsgmigd.source import HeldSnapshot
from dsgmigd.step import SnapshotWriter
from dsgmigd.survey import survey_snapshot
from dsgmigd.verify.changes import find_changes
from dsgmigd.verify.proof import Moments
from dsgmigd.verify.verifier import Verifier
from tests.acls import ACL
from tests.dsg_reader import Repository
from tests.integration.changes import check_changes
from tests.integration.comparer import borders, differences
from tests.integration.history import History
from tests.integration.snapshots import held_snapshot

# Always the same hundred, unless somebody asks for a number: then new ones.
ASKED = os.environ.get("DSGMIGD_HISTORIES")
HISTORIES = int(ASKED or "100")
MOST_SNAPSHOTS = 6

# Few names, so that operations meet; the first ones stay out of the dataset at the root.
ROOTS = [b".snap", b"HEAD", b"a", b"b", b".hidden"]
BELOW = [b"a", b"HEAD", b"\xff\n "]
names = st.builds(
    lambda root, below: b"/".join([root, *below]),
    st.sampled_from(ROOTS),
    st.lists(st.sampled_from(BELOW), max_size=2),
)
offsets = st.sampled_from([0, 1, 4095, 4096, 8192, 100_000])
sizes = st.sampled_from([0, 1, 100, 4096, 12_288, 70_000])
blocks = st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(0, 6))
ids = st.sampled_from([0, 1000, 2**31 + 5, 2**32 - 2])
modes = st.sampled_from([0o600, 0o755, 0o4755, 0o2755, 0o1777, 0o000])
# Few, so that a subvolume is often there when it is to be deleted.
nested = st.sampled_from([b"a/a", b"b/a", b"n"])
xattrs = st.sampled_from(
    [
        ("user.small", b"x"),
        ("user.empty", b""),
        ("user.large", b"y" * 3000),
        ("trusted.dsg", b"z"),
        ("system.posix_acl_access", ACL),
        ("system.posix_acl_default", ACL),
    ]
)


class Bench:
    """The two file systems of all histories."""

    def __init__(self, source: Path, target: Path) -> None:
        self.source = source
        self.target = target
        self.histories = 0
        self.steps = 0

    def check(self, history: History) -> None:
        """Replay a history and let every judge look at every snapshot."""
        self.histories += 1
        place = self.target / uuid.uuid4().hex
        replayed, received = place / "replayed", place / "received"
        received.mkdir(parents=True)
        replayed.mkdir()
        try:
            Replayed(history, replayed, received).check_all()
            self.steps += len(history.snapshots)
        finally:
            for path in received.iterdir():
                bed.run("btrfs", "subvolume", "delete", path)
            shutil.rmtree(place)


class Replayed:
    """One history and what was made of it."""

    def __init__(self, history: History, root: Path, received: Path) -> None:
        self.history = history
        self.root = root
        self.received = received
        self.reader = Repository()
        self.writer = SnapshotWriter(
            str(root),
            commands=Commands(),
            abilities=Abilities(),
            allowed=(),
            send_protocol=None,
            progress=Progress(),
        )
        self.verifier = Verifier(level="complete", abilities=Abilities())

    def check_all(self) -> None:
        parent: HeldSnapshot | None = None
        users: dict[str, dict[str, Any]] = {}
        for number, path in enumerate(self.history.snapshots, start=1):
            held = held_snapshot(number, path)
            push = Push(f"user{number}", 1.4e9 + number, "message")
            since = held.changed_since(parent)
            nested = survey_snapshot(held, since or 0, Abilities(), ())
            self.writer.write(held, parent, push, is_sent=True, nested=nested)
            if parent is not None:
                assert since is not None
                check_changes(Path(parent.path), path, find_changes(str(path), since))
            self.check_trees(path, parent)
            users = self.check_manifest(path, push.user, users)
            found = self.verifier.verify(str(path), str(self.root), number, Moments())
            assert found.discrepancies == []
            parent = held

    def check_trees(self, path: Path, parent: HeldSnapshot | None) -> None:
        assert differences(path, self.root) == []
        command = ["btrfs", "send", "-q", *(["-p", parent.path] if parent else []), str(path)]
        stream = subprocess.run(command, check=True, capture_output=True).stdout
        receive = ["btrfs", "receive", "-q", str(self.received)]
        subprocess.run(receive, check=True, input=stream, capture_output=True)
        # btrfs receive leaves the root its own time when nothing but the excluded changed there.
        found = set(differences(self.received / path.name, self.root))
        # It knows nothing of nested subvolumes either.
        found -= {f"extra: {border!r}" for border in borders(path)}
        assert [words for words in found if not words.startswith("b'.': facts")] == []
        assert parsed(stream) == dumped(stream)

    def check_manifest(
        self, path: Path, user: str, before: dict[str, dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """Compare the manifest with one made from nothing, and each user with a simple model."""
        self.reader.take(self.root)
        document = json.loads((self.root / ".dsg" / "last-sync.json").read_bytes())
        entries: dict[str, dict[str, Any]] = document["entries"]
        fresh = fresh_manifest(self.root, path)
        assert [unsigned(entry) for entry in entries.values()] == [
            unsigned(entry) for entry in fresh
        ]
        for name, entry in entries.items():
            known = before.get(name)
            is_same = known is not None and all(
                known.get(key) == entry.get(key) for key in ("type", "hash", "reference")
            )
            assert entry["user"] == (known["user"] if known and is_same else user), name
        return entries


def unsigned(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "user"}


def fresh_manifest(root: Path, source: Path) -> list[dict[str, Any]]:
    manifest = Manifest()
    for name in os.listdir(os.fsencode(root)):
        if name != b".dsg":
            manifest.appeared(name)
    with Directories(str(root)) as staging, Directories(str(source)) as content:
        refresher = Refresher(
            manifest, staging=staging, source=content, user="", checkpoint=lambda: None
        )
        refresher.settle_all()
    return [json.loads(entry) for entry in manifest.entries()]


def parsed(stream: bytes) -> list[tuple[str, str]]:
    position = 0

    def read(count: int) -> bytes:
        nonlocal position
        position += count
        return stream[position - count : position]

    commands = []
    for kind, fields in read_commands(read):
        path = bytes(fields[Field.PATH])
        commands.append((DUMP_NAMES.get(kind, kind.name.lower()), escaped(path)))
    return commands


DUMP_NAMES = {Kind.MKSOCK: "mksock"}


def dumped(stream: bytes) -> list[tuple[str, str]]:
    """Return (command, path) of each line of `btrfs receive --dump`; it prefixes ./SNAPSHOT."""
    dump = subprocess.run(
        ("btrfs", "receive", "--dump"), check=True, input=stream, capture_output=True
    ).stdout.decode()
    commands = []
    for line in dump.splitlines():
        kind, rest = line.split(None, 1)
        path = rest.replace("\\ ", "\0").split(" ")[0].replace("\0", "\\ ")
        below = path.removeprefix("./").partition("/")[2]
        if kind in {"subvol", "snapshot"}:
            below = path.removeprefix("./")
        commands.append((kind, below))
    return commands


def escaped(path: bytes) -> str:
    """Return a path as btrfs-progs prints it."""
    special = {0x0A: "\\n", 0x20: "\\ ", 0x5C: "\\\\"}
    return "".join(
        special.get(byte) or (chr(byte) if 0x20 < byte < 0x7F else f"\\{byte:o}") for byte in path
    )


class Machine(RuleBasedStateMachine):
    """Lives a history; its end is the check."""

    bench: Bench

    def __init__(self) -> None:
        super().__init__()
        self.history = History(self.bench.source / uuid.uuid4().hex)
        for name in (b".snap", b"a", b"b", b"b/a"):
            self.history.do("make_directory", name)
        for name in (b".snap/a", b"a/a", b"b/HEAD", b"HEAD", b".hidden"):
            self.history.do("create", name, 5000)

    def teardown(self) -> None:
        try:
            self.history.snapshot()
            self.bench.check(self.history)
        finally:
            self.history.delete()

    @precondition(lambda self: len(self.history.snapshots) < MOST_SNAPSHOTS - 1)
    @rule()
    def snapshot(self) -> None:
        self.history.snapshot()

    @rule(name=names, size=sizes)
    def create(self, name: bytes, size: int) -> None:
        self.history.do("create", name, size)

    @rule(name=names, offset=offsets, size=sizes)
    def write(self, name: bytes, offset: int, size: int) -> None:
        self.history.do("write", name, offset, size)

    @rule(name=names, size=sizes)
    def truncate(self, name: bytes, size: int) -> None:
        self.history.do("truncate", name, size)

    @rule(name=names, offset=offsets, size=sizes)
    def punch(self, name: bytes, offset: int, size: int) -> None:
        self.history.do("punch", name, offset, size)

    @rule(origin=names, name=names, place=blocks)
    def clone_range(self, origin: bytes, name: bytes, place: tuple[int, int, int]) -> None:
        self.history.do("clone_range", origin, name, place)

    @rule(old=names, new=names)
    def rename(self, old: bytes, new: bytes) -> None:
        self.history.do("rename", old, new)

    @rule(one=names, other=names)
    def exchange(self, one: bytes, other: bytes) -> None:
        self.history.do("exchange", one, other)

    @rule(existing=names, name=names)
    def link(self, existing: bytes, name: bytes) -> None:
        self.history.do("link", existing, name)

    @rule(name=names)
    def unlink(self, name: bytes) -> None:
        self.history.do("unlink", name)

    @rule(name=names)
    def make_directory(self, name: bytes) -> None:
        self.history.do("make_directory", name)

    @rule(name=names, is_whole_tree=st.booleans())
    def remove_directory(self, name: bytes, *, is_whole_tree: bool) -> None:
        self.history.do("remove_tree" if is_whole_tree else "remove_directory", name)

    @rule(name=nested)
    def make_subvolume(self, name: bytes) -> None:
        self.history.do("make_subvolume", name)

    @rule(name=nested)
    def delete_subvolume(self, name: bytes) -> None:
        self.history.do("delete_subvolume", name)

    @rule(name=names, reference=st.sampled_from([b"a", b"../x", b"/nowhere/file", b"\xff"]))
    def symlink(self, name: bytes, reference: bytes) -> None:
        self.history.do("symlink", name, reference)

    @rule(name=names, kind=st.sampled_from([stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK]))
    def make_special(self, name: bytes, kind: int) -> None:
        self.history.do("make_special", name, kind | 0o640)

    @rule(name=names, kind=st.sampled_from(["file", "directory", "symlink"]))
    def change_type(self, name: bytes, kind: str) -> None:
        self.history.do("change_type", name, kind)

    @rule(name=names, mode=modes)
    def change_mode(self, name: bytes, mode: int) -> None:
        self.history.do("change_mode", name, mode)

    @rule(name=names, uid=ids, gid=ids)
    def change_owner(self, name: bytes, uid: int, gid: int) -> None:
        self.history.do("change_owner", name, uid, gid)

    @rule(name=names, nanoseconds=st.sampled_from([-5, 0, 10**18 + 999_999_999, 2**62]))
    def set_times(self, name: bytes, nanoseconds: int) -> None:
        self.history.do("set_times", name, nanoseconds)

    @rule(name=names, xattr=xattrs)
    def set_xattr(self, name: bytes, xattr: tuple[str, bytes]) -> None:
        self.history.do("set_xattr", name, *xattr)

    @rule(name=names, xattr=xattrs)
    def remove_xattr(self, name: bytes, xattr: tuple[str, bytes]) -> None:
        self.history.do("remove_xattr", name, xattr[0])


@pytest.fixture
def second_btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("second")
    with bed.BtrfsLoop(place / "second.img", place / "mounted"):
        yield place / "mounted"


def test_every_random_history_arrives_exactly(btrfs_root: Path, second_btrfs: Path) -> None:
    source = btrfs_root / "histories"
    source.mkdir()
    Machine.bench = Bench(source, second_btrfs)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=40,
            deadline=None,
            derandomize=ASKED is None,
            database=DirectoryBasedExampleDatabase(".hypothesis") if ASKED else None,
            suppress_health_check=list(HealthCheck),
            print_blob=ASKED is not None,
        ),
    )

    source.rmdir()
