"""Check the documents below `.dsg/` of one snapshot, as DSG's client will read them.

Written from the format, not from the writer: nothing of `dsgmigd.dsg` is used here.
"""

import json
import os
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import lz4.frame
import xxhash

from dsgmigd.hashing import hash_bytes
from dsgmigd.verify.compare import Discrepancy

_TIME_ZONE = ZoneInfo("America/Los_Angeles")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ORDER = {
    "file": ["type", "path", "user", "filesize", "mtime", "hash"],
    "link": ["type", "path", "user", "reference"],
}


@dataclass
class ManifestView:
    """What last-sync.json of a snapshot says; `entries` by path, as the walk finds them.

    `hashes` tells an entry from every other that could stand at its path.
    """

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    hashes: dict[str, int] = field(default_factory=dict)
    discrepancies: list[Discrepancy] = field(default_factory=list)

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
        messages = _read_json(os.path.join(directory, "sync-messages.json"))
        entries = dict(manifest["entries"])
        # What is no object is an entry that is missing, and breaks count and hash besides.
        view.entries = {path: entry for path, entry in entries.items() if isinstance(entry, dict)}
        _check_entries(view, manifest["metadata"])
        _check_chain(view, manifest["metadata"], messages["snapshots"], number)
        _check_archive(view, directory, messages["snapshots"], number)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        view.differ(".dsg", "metadata", "readable", repr(error))
    return view


def _read_json(path: str) -> Any:
    with open(path, "rb") as file:
        return json.load(file)


def _check_entries(view: ManifestView, metadata: dict[str, Any]) -> None:
    for path, entry in view.entries.items():
        if entry["path"] != path or list(entry) != _ORDER[entry["type"]]:
            view.differ(path, "manifest entry", "path and keys in order", entry)
    contents = {path: _encode(entry).encode() for path, entry in view.entries.items()}
    view.hashes = {path: xxhash.xxh3_64_intdigest(one) for path, one in contents.items()}
    entries_hash = hash_bytes(*contents.values())
    if metadata["entries_hash"] != entries_hash:
        view.differ(".dsg", "entries_hash", entries_hash, metadata["entries_hash"])
    if metadata["entry_count"] != len(view.entries):
        view.differ(".dsg", "entry_count", len(view.entries), metadata["entry_count"])


def _check_chain(
    view: ManifestView, metadata: dict[str, Any], messages: dict[str, Any], number: int
) -> None:
    names = [f"s{index}" for index in range(1, number + 1)]
    if list(messages) != names:
        view.differ(".dsg", "sync-messages.json", names, list(messages))
        return
    if messages[names[-1]] != metadata:
        view.differ(".dsg", "metadata in sync-messages.json", metadata, messages[names[-1]])
    previous_id, previous_hash = None, ""
    for name in names:
        one = messages[name]
        chained = one["entries_hash"] + one["snapshot_message"] + previous_hash
        expected = (name, previous_id, hash_bytes(chained.encode()))
        found = (one["snapshot_id"], one["snapshot_previous"], one["snapshot_hash"])
        if found != expected:
            view.differ(".dsg", f"chain at {name}", expected, found)
        previous_id, previous_hash = name, one["snapshot_hash"]


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
        with open(os.path.join(archive, f"{name}-sync.json.lz4"), "rb") as file:
            archived = json.loads(lz4.frame.decompress(file.read()))
        contents = [_encode(entry).encode() for entry in archived["entries"].values()]
        found_pair = (archived["metadata"], hash_bytes(*contents))
        expected_pair = (messages[name], messages[name]["entries_hash"])
        if found_pair != expected_pair:
            view.differ(".dsg/archive", name, expected_pair, found_pair)
