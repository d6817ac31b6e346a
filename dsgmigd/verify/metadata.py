"""Check the documents below `.dsg/` of one snapshot, as DSG's client will read them.

Written from the format, not from the writer: nothing of `dsgmigd.dsg` is used here.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import lz4.frame
import xxhash

from dsgmigd.hashing import hash_bytes
from dsgmigd.verify.compare import Discrepancy

# What reading a document raises that is none, or is not of the form.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError)

_TIME_ZONE = ZoneInfo("America/Los_Angeles")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_encode_sorted = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
_ORDER = {
    "file": ["type", "path", "user", "filesize", "mtime", "hash"],
    "link": ["type", "path", "user", "reference"],
}


@dataclass
class ManifestView:
    """What last-sync.json of a snapshot says; `entries` by path, as the walk finds them.

    `hashes` tells an entry from every other that could stand at its path. `messages` is the
    metadata of all snapshots up to this one, by name.
    """

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    hashes: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    messages: dict[str, Any] = field(default_factory=dict)
    discrepancies: list[Discrepancy] = field(default_factory=list)

    def take(self, manifest: dict[str, Any]) -> str:
        """Take in a document of the form of last-sync.json; return the hash of its entries.

        What is not of that form leaves as ValueError, KeyError or TypeError, and nothing is taken.
        """
        metadata = dict(manifest["metadata"])
        # What is no object is an entry that is missing, and breaks count and hash besides.
        entries = {
            path: entry
            for path, entry in dict(manifest["entries"]).items()
            if isinstance(entry, dict)
        }
        contents = {path: _encode(entry).encode() for path, entry in entries.items()}
        "".join(contents).encode()  # JSON can spell half a surrogate, which no path can hold
        self.hashes = {path: xxhash.xxh3_64_intdigest(one) for path, one in contents.items()}
        self.entries, self.metadata = entries, metadata
        return hash_bytes(*contents.values())

    def identity(self) -> str:
        """Return what tells this manifest from every other, in whatever layout it is written."""

        def pieces() -> Iterator[bytes]:
            yield _encode_sorted(said(self.metadata)).encode(errors="surrogatepass")
            for path, entry_hash in self.hashes.items():
                yield b"\0%b\0%x" % (path.encode(), entry_hash)

        return hash_bytes(*pieces())

    def differ(self, path: str, attribute: str, source: object, target: object) -> None:
        """Note a discrepancy."""
        self.discrepancies.append(Discrepancy(path, attribute, str(source), str(target)))


def manifest_time(mtime: float) -> str:
    """Return how an entry has to say the st_mtime `mtime`: Los Angeles' time, whole seconds."""
    return datetime.fromtimestamp(mtime, _TIME_ZONE).isoformat(timespec="seconds")


def read_manifest_view(root: str, number: int) -> ManifestView:
    """Read and check `.dsg/` below `root`, which has to be that of snapshot s`number`."""
    view = ManifestView()
    directory = os.path.join(root, ".dsg")
    try:
        manifest = _read_json(os.path.join(directory, "last-sync.json"))
        messages = dict(_read_json(os.path.join(directory, "sync-messages.json"))["snapshots"])
        view.messages = {name: one for name, one in messages.items() if isinstance(one, dict)}
        _check_entries(view, view.take(manifest))
        _check_chain(view, messages, number)
        _check_archive(view, directory, messages, number)
    except UNREADABLE as error:
        view.differ(".dsg", "metadata", "readable", repr(error))
    return view


def read_archived(path: str) -> ManifestView:
    """Read an archived manifest, without a check; raises what is UNREADABLE."""
    view = ManifestView()
    view.take(_read_compressed(path))
    return view


def _read_json(path: str) -> Any:
    return json.loads(_read(path))


def _read_compressed(path: str) -> Any:
    return json.loads(lz4.frame.decompress(_read(path)))


def _read(path: str) -> bytes:
    with open(path, "rb", opener=_open_regular) as file:
        return file.read()


def _open_regular(path: str, flags: int) -> int:
    """Open a file; a symbolic link is not followed, and a pipe is empty instead of for ever."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def said(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what metadata says: to DSG's client a key that is null is one that is not there."""
    return {key: value for key, value in dict(metadata).items() if value is not None}


def _check_entries(view: ManifestView, entries_hash: str) -> None:
    for path, entry in view.entries.items():
        if entry["path"] != path or list(entry) != _ORDER[entry["type"]]:
            view.differ(path, "manifest entry", "path and keys in order", entry)
    metadata = view.metadata
    if metadata["entries_hash"] != entries_hash:
        view.differ(".dsg", "entries_hash", entries_hash, metadata["entries_hash"])
    if metadata["entry_count"] != len(view.entries):
        view.differ(".dsg", "entry_count", len(view.entries), metadata["entry_count"])


def _check_chain(view: ManifestView, messages: dict[str, Any], number: int) -> None:
    names = [f"s{index}" for index in range(1, number + 1)]
    if list(messages) != names:
        view.differ(".dsg", "sync-messages.json", names, list(messages))
        return
    if said(messages[names[-1]]) != said(view.metadata):
        view.differ(".dsg", "metadata in sync-messages.json", view.metadata, messages[names[-1]])
    previous_id, previous_hash = None, ""
    for name in names:
        one = messages[name]
        chained = one["entries_hash"] + one["snapshot_message"] + _config(one) + previous_hash
        expected = (name, previous_id, hash_bytes(chained.encode()))
        found = (one["snapshot_id"], one["snapshot_previous"], one["snapshot_hash"])
        if found != expected:
            view.differ(".dsg", f"chain at {name}", expected, found)
        previous_id, previous_hash = name, one["snapshot_hash"]


def _config(metadata: dict[str, Any]) -> str:
    """Return what newer clients of DSG chain between the message and the hash before."""
    config = metadata.get("project_config")
    return _encode_sorted(config) if config else ""


def _check_archive(
    view: ManifestView, directory: str, messages: dict[str, Any], number: int
) -> None:
    archive = os.path.join(directory, "archive")
    expected = {f"s{index}-sync.json.lz4" for index in range(1, number)}
    found = set(os.listdir(archive))
    if found != expected:
        view.differ(".dsg/archive", "files", sorted(expected - found), sorted(found - expected))
    elif number > 1:
        # Older archives are looked at elsewhere: archives.py.
        name = f"s{number - 1}"
        archived = ManifestView()
        entries_hash = archived.take(
            _read_compressed(os.path.join(archive, f"{name}-sync.json.lz4"))
        )
        found_pair = (said(archived.metadata), entries_hash)
        expected_pair = (said(messages[name]), messages[name]["entries_hash"])
        if found_pair != expected_pair:
            view.differ(".dsg/archive", name, expected_pair, found_pair)
