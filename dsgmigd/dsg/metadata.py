"""The documents below `.dsg/`, as bytes: last-sync.json and sync-messages.json.

last-sync.json has one entry per line, so that line tools can search and compare it, and so that it
can be written and read in pieces: with millions of entries it is large. `snapshot_hash` chains the
snapshots: it covers the entries, the message and the previous hash.

Raises: ValueError, if bytes are not such a document.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dsgmigd.dsg.entry import local_time, to_json
from dsgmigd.dsg.lines import count_in, entries_in, split_line
from dsgmigd.dsg.push_line import Push
from dsgmigd.host.hashing import hash_bytes, start_hash
from dsgmigd.names import SnapshotName

MANIFEST_VERSION = "0.1.0"
NOTES = "btrsnap-migration"

_HEAD = b'{"entries":{'
_TAIL = b'},"metadata":'
_OTHER_SHAPE = (KeyError, TypeError, AttributeError)

Metadata = dict[str, Any]


@dataclass(frozen=True)
class Previous:
    """The previous snapshot, as the chain needs it."""

    snapshot: SnapshotName
    snapshot_hash: str


def make_metadata(
    snapshot: SnapshotName,
    entry_count: int,
    entries_hash: str,
    push: Push,
    previous: Previous | None,
) -> Metadata:
    """Return the metadata of a snapshot, with its keys in DSG's order."""
    chained = entries_hash + push.message + (previous.snapshot_hash if previous else "")
    return {
        "manifest_version": MANIFEST_VERSION,
        "snapshot_id": str(snapshot),
        "created_at": local_time(push.pushed_at),
        "entry_count": entry_count,
        "entries_hash": entries_hash,
        "created_by": push.user,
        "snapshot_message": push.message,
        "snapshot_previous": str(previous.snapshot) if previous else None,
        "snapshot_hash": hash_bytes(chained.encode()),
        "snapshot_notes": NOTES,
    }


def render_manifest(
    blocks: Iterable[bytes], describe: Callable[[int, str], Metadata]
) -> Iterator[bytes]:
    """Yield last-sync.json in pieces, from blocks of lines as `lines` yields them.

    After the entries, `describe` is called with their count and hash, and returns the metadata that
    follows them.
    """
    digest = start_hash()
    count = 0
    start = _HEAD + b"\n"
    for block in blocks:
        digest.update(entries_in(block))
        count += count_in(block)
        yield start + block
        start = b",\n"
    metadata = to_json(describe(count, str(digest.hexdigest())))
    yield (b"\n" if count else _HEAD) + _TAIL + metadata + b"}\n"


def split_manifest(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield path and entry of every entry in the lines of a last-sync.json that dsgmigd wrote.

    Raises ValueError if they are not such a document; at the end, if hash or count are wrong.
    """
    waiting = iter(lines)
    digest = start_hash()
    count = 0
    line = next(waiting, b"")
    if line == _HEAD + b"\n":
        for line in waiting:
            if line.startswith(_TAIL):
                break
            path, entry = split_line(line.rstrip(b",\n"))
            digest.update(entry)
            count += 1
            yield path, entry
        line = _HEAD + line
    try:
        metadata = json.loads(line + b"".join(waiting))["metadata"]
        described = metadata["entry_count"], metadata["entries_hash"]
    except _OTHER_SHAPE as error:
        raise ValueError(f"not a manifest: {error!r}") from error
    if described != (count, digest.hexdigest()):
        raise ValueError("the entries do not match the count or the hash in the metadata")


def render_messages(all_metadata: Iterable[Metadata]) -> bytes:
    """Return the bytes of sync-messages.json for these snapshots, in order."""
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
        raise ValueError(f"no messages in the document: {error!r}") from error
