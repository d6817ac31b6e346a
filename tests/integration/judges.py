"""Replays random histories onto btrfs, where extended attributes and ACLs can be compared too.

Judges: an independent comparer, `btrfs receive` of the same streams, `btrfs receive --dump` for
the parser, a manifest made from nothing, a reader written from the format alone, the verifier, and
for the evidence of what changed, that of everything.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bed

from dsgmigd.custody.entry import parse_line
from dsgmigd.custody.store import Store
from dsgmigd.custody.taker import Look, Subject, Taker
from dsgmigd.custody.tree import Tree
from dsgmigd.dsg.manifest import Manifest
from dsgmigd.dsg.push_line import Push
from dsgmigd.dsg.refresh import Refresher
from dsgmigd.host.command import Commands
from dsgmigd.host.directories import Directories
from dsgmigd.migration.plan import Method
from dsgmigd.migration.preflight import survey_snapshot
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.snapshot_writer import SnapshotWriter
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.source.send_stream import Field, Kind, read_commands
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.schedule import find_changes
from dsgmigd.verification.verifier import Changed, Verifier
from tests.dsg_reader import Repository
from tests.integration.changes import check_changes
from tests.integration.comparer import differences, nested_subvolumes
from tests.integration.history import History
from tests.integration.snapshots import held_snapshot

FACTS = re.compile(r".*: facts is \((\d+), (.*)\), source \((\d+), (.*)\)", re.DOTALL)
ORPHAN = re.compile(r"missing: b'o\d+-\d+-\d+(/.*)?'")


class Bench:
    """The two file systems of all histories; the methods take turns from step to step."""

    def __init__(self, source: Path, target: Path, methods: Sequence[Method]) -> None:
        self.source = source
        self.target = target
        self.methods = methods
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
            Replayed(history, replayed, received).check_all(self.methods)
            self.steps += len(history.snapshots)
        finally:
            for path in received.iterdir():
                bed.run("btrfs", "subvolume", "delete", path)
            shutil.rmtree(place)


def is_lost_set_id(words: str) -> bool:
    """Say whether a difference is only that `btrfs receive` lost set-ID bits.

    It does not set them again after a change of owner, which clears them.
    """
    found = FACTS.fullmatch(words)
    if found is None or found[2] != found[4]:
        return False
    ours, received = int(found[1]), int(found[3])
    return received == ours & ~(stat.S_ISUID | stat.S_ISGID)


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
            capabilities=Capabilities(),
            allowed=(),
            send_protocol="compressed" if history.is_compressed else None,
            progress=Progress(),
        )
        self.verifier = Verifier(level="complete", hash_threads=2, capabilities=Capabilities())
        self.store = Store(str(root.parent / "evidence"))
        self.taker = Taker(self.store, repo="SV", dataset="zsd/SV", request_id="r")

    def check_all(self, methods: Sequence[Method]) -> None:
        parent: HeldSnapshot | None = None
        users: dict[str, dict[str, Any]] = {}
        for number, path in enumerate(self.history.snapshots, start=1):
            held = held_snapshot(number, path)
            push = Push(f"user{number}", 1.4e9 + number, "message")
            since = held.changed_since(parent)
            nested = survey_snapshot(held, since or 0, Capabilities(), ())
            is_sent = methods[number % len(methods)] == "send"
            self.writer.write(held, parent, push, is_sent=is_sent, nested=nested)
            if parent is not None:
                assert since is not None
                check_changes(Path(parent.path), path, find_changes(str(path), since))
            self.check_trees(path, parent)
            users = self.check_manifest(path, push.user, users)
            found = self.verifier.verify(str(path), str(self.root), number, Moments())
            assert found.discrepancies == []
            self.writer.set_nested(found.nested_subvolumes)
            changed = find_changes(str(path), since) if parent and since and is_sent else None
            self.check_evidence(number, changed)
            parent = held

    def check_trees(self, path: Path, parent: HeldSnapshot | None) -> None:
        assert differences(path, self.root) == []
        command = ["btrfs", "send", "-q", *(["-p", parent.path] if parent else []), str(path)]
        stream = subprocess.run(command, check=True, capture_output=True).stdout
        assert parsed(stream) == dumped(stream)
        if not self.history.is_received:  # btrfs receive finds a parent by the UUID alone
            self.check_received(path, stream)

    def check_evidence(self, number: int, changed: Changed | None) -> None:
        """Take the evidence of what changed; compare it with that of everything."""
        look = Look(time.time(), {})
        if changed is not None:
            look = Look(time.time(), {}, changed.paths, changed.directories)
        self.taker.take(str(self.root), look)
        subject = Subject(f"s{number}", str(number), "", "complete", str(number))
        kept = self.store.load(self.taker.state(subject))
        with Tree(str(self.root)) as tree:
            rows = [tree.row(path, status) for path, status in tree.walk()]
        assert [parse_line(row.line) for row in kept.rows()] == [parse_line(r.line) for r in rows]

    def check_received(self, path: Path, stream: bytes) -> None:
        receive = ["btrfs", "receive", "-q", str(self.received)]
        subprocess.run(receive, check=True, input=stream, capture_output=True)
        # btrfs receive leaves the root its own time when nothing but the excluded changed there.
        found = set(differences(self.received / path.name, self.root))
        # It knows nothing of nested subvolumes either, and keeps the directory of one that was
        # deleted with it.
        found -= {f"extra: {nested!r}" for nested in nested_subvolumes(path)}
        found -= {words for words in found if ORPHAN.fullmatch(words) or is_lost_set_id(words)}
        assert [words for words in found if not words.startswith("b'.': facts")] == []

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
        commands.append((kind.name.lower(), escaped(path)))
    return commands


DUMPED_KINDS = {kind.name.lower() for kind in Kind}


def dumped(stream: bytes) -> list[tuple[str, str]]:
    """Return (command, path) of each line of `btrfs receive --dump`; it prefixes ./SNAPSHOT.

    It prints the path that a clone reads from as it is, line feeds included.
    """
    dump = subprocess.run(
        ("btrfs", "receive", "--dump"), check=True, input=stream, capture_output=True
    ).stdout.decode(errors="surrogateescape")
    commands = []
    for line in dump.split("\n"):
        kind, _, rest = line.partition(" ")
        if kind not in DUMPED_KINDS:
            continue
        rest = rest.lstrip(" ")
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
