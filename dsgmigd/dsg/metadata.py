"""The documents below `.dsg/`, as bytes: last-sync.json and sync-messages.json.

last-sync.json has one entry a line, so that it can be searched and compared with line tools.
`snapshot_hash` chains the snapshots: it covers the entries, the message and the hash before.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dsgmigd.dsg.entry import local_time, path_in_json, to_json
from dsgmigd.dsg.pushlog import Push
from dsgmigd.hashing import hash_bytes
from dsgmigd.names import SnapshotName

MANIFEST_VERSION = "0.1.0"
NOTES = "btrsnap-migration"

_OTHER_SHAPE = (KeyError, TypeError, AttributeError)

Metadata = dict[str, Any]


@dataclass(frozen=True)
class Previous:
    """The snapshot before, as far as the chain needs it."""

    snapshot: SnapshotName
    snapshot_hash: str


def make_metadata(
    snapshot: SnapshotName, entries: list[bytes], push: Push, previous: Previous | None
) -> Metadata:
    """Return the metadata of a snapshot, keys in DSG's order."""
    entries_hash = hash_bytes(*entries)
    chained = entries_hash + push.message + (previous.snapshot_hash if previous else "")
    return {
        "manifest_version": MANIFEST_VERSION,
        "snapshot_id": str(snapshot),
        "created_at": local_time(push.pushed_at),
        "entry_count": len(entries),
        "entries_hash": entries_hash,
        "created_by": push.user,
        "snapshot_message": push.message,
        "snapshot_previous": str(previous.snapshot) if previous else None,
        "snapshot_hash": hash_bytes(chained.encode()),
        "snapshot_notes": NOTES,
    }


def render_manifest(entries: Iterable[bytes], metadata: Metadata) -> bytes:
    """Return the bytes of last-sync.json."""
    lines = b",\n".join(path_in_json(entry) + b":" + entry for entry in entries)
    head = b'{"entries":{\n' + lines + b"\n}" if lines else b'{"entries":{}'
    return head + b',"metadata":' + to_json(metadata) + b"}\n"


def split_manifest(content: bytes) -> tuple[list[tuple[bytes, bytes]], Metadata]:
    """Return (path, entry) pairs and metadata of a last-sync.json that dsgmigd wrote.

    Raises ValueError if the bytes are not such a document.
    """
    document = json.loads(content)
    try:
        pairs = [(path.encode(), to_json(entry)) for path, entry in document["entries"].items()]
        return pairs, document["metadata"]
    except _OTHER_SHAPE as error:
        raise ValueError(f"it is no manifest: {error!r}") from error


def render_messages(all_metadata: Iterable[Metadata]) -> bytes:
    """Return the bytes of sync-messages.json for the snapshots up to one, in order."""
    snapshots = b",\n".join(
        to_json(metadata["snapshot_id"]) + b":" + to_json(metadata) for metadata in all_metadata
    )
    head = b'{"metadata_version":' + to_json(MANIFEST_VERSION)
    return head + b',"snapshots":{\n' + snapshots + b"\n}}\n"


def split_messages(content: bytes) -> list[Metadata]:
    """Return the metadata of every snapshot in a sync-messages.json, in order.

    Raises ValueError if the bytes are not such a document.
    """
    document = json.loads(content)
    try:
        return list(document["snapshots"].values())
    except _OTHER_SHAPE as error:
        raise ValueError(f"it holds no messages: {error!r}") from error
