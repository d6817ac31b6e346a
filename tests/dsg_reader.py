"""A reader of `.dsg/`, written from the description of the format and from nothing of dsgmigd.

It takes the snapshots of one repository in their order and raises `NotDsg` at the first thing that
is not as the format says: bytes, counts, hashes, order, chain, times, who changed what, and which
files are listed.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import lz4.frame
import orjson
import xxhash

LOS_ANGELES = ZoneInfo("America/Los_Angeles")
VERSION = "0.1.0"
FILE_KEYS = ["type", "path", "user", "filesize", "mtime", "hash"]
LINK_KEYS = ["type", "path", "user", "reference"]
METADATA_KEYS = [
    *("manifest_version", "snapshot_id", "created_at", "entry_count", "entries_hash"),
    *("created_by", "snapshot_message", "snapshot_previous", "snapshot_hash", "snapshot_notes"),
]
TAG_KEYS = ["tag_id", "snapshot_id", "tag_message", "created_by", "created_at"]
IGNORED_NAMES = {"__pycache__", ".Rdata", ".rdata", ".RData", ".Rproj.user", ".DS_Store"}
IGNORED_SUFFIXES = (".pyc", ".tmp")
BACKUP = re.compile(r"~\d{8}T\d{6}-\d{4}~$")
NEVER_AT_ROOT = re.compile(r"\.snap|\.zfs|HEAD|lost\+found|\.Trash-.*")
DIGEST = re.compile(r"[0-9a-f]{16}")


class NotDsg(Exception):
    """Something is not as the format says."""


def expect(condition: object, words: object) -> None:
    """Raise NotDsg unless the condition holds."""
    if not condition:
        raise NotDsg(str(words))


@dataclass(frozen=True)
class Entry:
    """A file, or a link; what the other kind has is None."""

    kind: str
    path: str
    user: str
    size: int | None = None
    mtime: str | None = None
    digest: str | None = None
    reference: str | None = None

    @property
    def what(self) -> tuple[object, ...]:
        """What counts as a change when it differs."""
        return self.kind, self.digest, self.reference


@dataclass(frozen=True)
class Snapshot:
    """One last-sync.json, checked as far as it can be by itself."""

    content: bytes
    entries: dict[str, Entry]
    metadata: dict[str, Any]


@dataclass
class Repository:
    """The snapshots that were taken so far."""

    snapshots: list[Snapshot] = field(default_factory=list)
    archives: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def take(self, root: Path) -> Snapshot:
        """Check the next snapshot, which `root` shows."""
        directory = root / ".dsg"
        for path in (directory, *directory.rglob("*")):
            mode = path.lstat().st_mode
            wanted = 0o555 if stat.S_ISDIR(mode) else 0o444
            expect(mode & wanted == wanted and not stat.S_ISLNK(mode), f"{path}: {mode:o}")
        snapshot = read_manifest((directory / "last-sync.json").read_bytes())
        self._check_chain(snapshot)
        self._check_messages(directory, snapshot)
        self._check_archives(directory / "archive")
        self._check_users(snapshot)
        self.snapshots.append(snapshot)
        check_tags(directory / "tag-messages.json", [one.metadata for one in self.snapshots])
        check_tree(root, snapshot)
        return snapshot

    def _check_chain(self, snapshot: Snapshot) -> None:
        metadata = snapshot.metadata
        before = self.snapshots[-1].metadata if self.snapshots else None
        expect(metadata["snapshot_id"] == f"s{len(self.snapshots) + 1}", metadata)
        expect(metadata["snapshot_previous"] == (before and before["snapshot_id"]), metadata)
        chained = metadata["entries_hash"] + metadata["snapshot_message"]
        chained += before["snapshot_hash"] if before else ""
        expect(metadata["snapshot_hash"] == digest_of(chained.encode()), metadata)

    def _check_messages(self, directory: Path, snapshot: Snapshot) -> None:
        messages = orjson.loads((directory / "sync-messages.json").read_bytes())
        expect(list(messages) == ["metadata_version", "snapshots"], messages)
        expect(messages["metadata_version"] == VERSION, messages)
        all_metadata = [*(one.metadata for one in self.snapshots), snapshot.metadata]
        told = list(messages["snapshots"].items())
        expect(told == [(one["snapshot_id"], one) for one in all_metadata], told)
        expect(all(list(one) == METADATA_KEYS for _, one in told), told)

    def _check_archives(self, directory: Path) -> None:
        names = [f"s{number}-sync.json.lz4" for number in range(1, len(self.snapshots) + 1)]
        expect(sorted(os.listdir(directory)) == sorted(names), os.listdir(directory))
        for name, snapshot in zip(names, self.snapshots, strict=True):
            status = (directory / name).stat()
            shape = status.st_size, status.st_mtime_ns
            expect(self.archives.setdefault(name, shape) == shape, f"{name} was written again")
            frame = (directory / name).read_bytes()
            content, length = lz4.frame.decompress(frame, return_bytes_read=True)
            expect(length == len(frame), f"{name}: more than one frame")
            expect(content == snapshot.content, f"{name}: not the bytes of that last-sync.json")

    def _check_users(self, snapshot: Snapshot) -> None:
        before = self.snapshots[-1].entries if self.snapshots else {}
        for path, entry in snapshot.entries.items():
            known = before.get(path)
            is_same = known is not None and known.what == entry.what
            user = known.user if known and is_same else snapshot.metadata["created_by"]
            expect(entry.user == user, f"{path}: {entry.user} instead of {user}")


def read_manifest(content: bytes) -> Snapshot:
    """Read a last-sync.json."""
    document = orjson.loads(content)
    expect(list(document) == ["entries", "metadata"], list(document))
    entries, metadata = document["entries"], document["metadata"]
    expect(list(entries) == sorted(entries, key=str.encode), "not sorted bytewise")
    read = {path: read_entry(path, entry) for path, entry in entries.items()}
    check_metadata(metadata)
    expect(metadata["entry_count"] == len(entries), metadata)
    hashed = digest_of(b"".join(orjson.dumps(entry) for entry in entries.values()))
    expect(metadata["entries_hash"] == hashed, metadata)
    return Snapshot(content, read, metadata)


def check_metadata(metadata: dict[str, Any]) -> None:
    """Check what metadata says by itself."""
    expect(list(metadata) == METADATA_KEYS, metadata)
    expect(metadata["manifest_version"] == VERSION, metadata)
    expect(metadata["snapshot_notes"] == "btrsnap-migration", metadata)
    check_time(metadata["created_at"])
    for key in ("created_by", "snapshot_message"):
        expect(isinstance(metadata[key], str) and metadata[key], metadata)
    for key in ("entries_hash", "snapshot_hash"):
        expect(DIGEST.fullmatch(metadata[key]), metadata)


def read_entry(path: str, entry: dict[str, Any]) -> Entry:
    """Read one entry, and check what it says by itself."""
    expect(entry["path"] == path and is_listed_path(path.encode()), entry)
    expect(isinstance(entry["user"], str) and entry["user"], entry)
    if entry["type"] == "link":
        expect(list(entry) == LINK_KEYS, entry)
        expect(is_listed_link(path, entry["reference"]), entry)
        return Entry("link", path, entry["user"], reference=entry["reference"])
    expect(entry["type"] == "file" and list(entry) == FILE_KEYS, entry)
    expect(type(entry["filesize"]) is int and entry["filesize"] >= 0, entry)
    expect(DIGEST.fullmatch(entry["hash"]), entry)
    check_time(entry["mtime"])
    size, mtime, digest = entry["filesize"], entry["mtime"], entry["hash"]
    return Entry("file", path, entry["user"], size, mtime, digest)


def check_tags(path: Path, all_metadata: list[dict[str, Any]]) -> None:
    """Check the tags, if there are any."""
    if not path.exists():
        return
    document = orjson.loads(path.read_bytes())
    expect(list(document) == ["metadata_version", "tags"], document)
    expect(document["metadata_version"] == VERSION, document)
    for tag in document["tags"]:
        expect(list(tag) == TAG_KEYS, tag)
        expect(tag["snapshot_id"] in {one["snapshot_id"] for one in all_metadata}, tag)
        check_time(tag["created_at"])


def check_tree(root: Path, snapshot: Snapshot) -> None:
    """Compare the entries with the files, both ways."""
    expect(not [name for name in os.listdir(root) if NEVER_AT_ROOT.fullmatch(name)], root)
    found = dict(entries_below(root))
    expect(found.keys() == snapshot.entries.keys(), found.keys() ^ snapshot.entries.keys())
    for path, entry in snapshot.entries.items():
        status = (root / path).lstat()
        if entry.kind == "link":
            expect(entry.reference == found[path], f"{path}: {found[path]}")
            continue
        moment = datetime.fromtimestamp(status.st_mtime, LOS_ANGELES).isoformat(timespec="seconds")
        expect((entry.size, entry.mtime) == (status.st_size, moment), f"{entry}: {status}")
        expect(entry.digest == digest_of((root / path).read_bytes()), entry)


def entries_below(root: Path) -> Iterator[tuple[str, str | None]]:
    """Yield the path of everything that has to be listed, and where a link leads."""
    for place, directories, files in os.walk(os.fsencode(root)):
        for name in (*directories, *files):
            full = os.path.join(place, name)
            path = os.path.relpath(full, os.fsencode(root))
            mode = os.lstat(full).st_mode
            if not is_listed_path(path):
                continue
            if stat.S_ISREG(mode):
                yield path.decode(), None
            elif stat.S_ISLNK(mode):
                reference = os.readlink(full)
                if is_text(reference) and is_listed_link(path.decode(), reference.decode()):
                    yield path.decode(), reference.decode()


def is_listed_path(path: bytes) -> bool:
    """Say whether a manifest may list a file here."""
    if not is_text(path):
        return False
    return not any(
        part.startswith(".")
        or part in IGNORED_NAMES
        or part.endswith(IGNORED_SUFFIXES)
        or BACKUP.search(part)
        for part in path.decode().split("/")
    )


def is_listed_link(path: str, reference: str) -> bool:
    """Say whether a manifest may list a link from `path`."""
    parts = path.split("/")
    return not reference.startswith("/") and reference.split("/").count("..") <= len(parts)


def is_text(name: bytes) -> bool:
    """Say whether bytes are UTF-8."""
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def check_time(written: str) -> None:
    """Check that a time is one of Los Angeles, in whole seconds."""
    moment = datetime.fromisoformat(written)
    local = moment.astimezone(LOS_ANGELES).isoformat(timespec="seconds")
    expect(moment.tzinfo is not None and local == written, written)


def digest_of(data: bytes) -> str:
    """Return the digest that entries and metadata use."""
    return xxhash.xxh3_64_hexdigest(data)
