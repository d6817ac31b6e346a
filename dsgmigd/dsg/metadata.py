"""The documents below `.dsg/`, as bytes: last-sync.json and sync-messages.json.

last-sync.json has one entry a line, so that it can be searched and compared with line tools, and so
that it can be written and read in pieces: with millions of entries it is large.
`snapshot_hash` chains the snapshots: it covers the entries, the message and the hash before.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dsgmigd.dsg.entry import local_time, path_in_json, to_json
from dsgmigd.dsg.pushlog import Push
from dsgmigd.hashing import hash_bytes, start_hash
from dsgmigd.names import SnapshotName

MANIFEST_VERSION = "0.1.0"
NOTES = "btrsnap-migration"

_HEAD = b'{"entries":{'
_TAIL = b'},"metadata":'
_ENTRIES_AT_ONCE = 1024
_OTHER_SHAPE = (KeyError, TypeError, AttributeError)

Metadata = dict[str, Any]


@dataclass(frozen=True)
class Previous:
    """The snapshot before, as far as the chain needs it."""

    snapshot: SnapshotName
    snapshot_hash: str


def make_metadata(
    snapshot: SnapshotName,
    entry_count: int,
    entries_hash: str,
    push: Push,
    previous: Previous | None,
) -> Metadata:
    """Return the metadata of a snapshot, keys in DSG's order."""
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
    entries: Iterable[bytes], describe: Callable[[int, str], Metadata]
) -> Iterator[bytes]:
    """Yield last-sync.json in pieces.

    `describe` gets the count and the hash of the entries, when all are through, and returns the
    metadata, which stands behind them.
    """
    waiting = iter(entries)
    digest = start_hash()
    count = 0
    start = _HEAD + b"\n"
    while some := list(islice(waiting, _ENTRIES_AT_ONCE)):
        digest.update(b"".join(some))
        count += len(some)
        yield start + b",\n".join([path_in_json(entry) + b":" + entry for entry in some])
        start = b",\n"
    metadata = to_json(describe(count, str(digest.hexdigest())))
    yield (b"\n" if count else _HEAD) + _TAIL + metadata + b"}\n"


def split_manifest(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield path and entry of every entry in the lines of a last-sync.json that dsgmigd wrote.

    Raises ValueError if they are not such a document, at their end if hash or count are others.
    """
    waiting = iter(lines)
    digest = start_hash()
    count = 0
    line = next(waiting, b"")
    if line == _HEAD + b"\n":
        for line in waiting:
            if line.startswith(_TAIL):
                break
            path, entry = _split_line(line)
            digest.update(entry)
            count += 1
            yield path, entry
        line = _HEAD + line
    try:
        metadata = json.loads(line + b"".join(waiting))["metadata"]
        described = metadata["entry_count"], metadata["entries_hash"]
    except _OTHER_SHAPE as error:
        raise ValueError(f"it is no manifest: {error!r}") from error
    if described != (count, digest.hexdigest()):
        raise ValueError("its entries are not those that its metadata describes")


def _split_line(line: bytes) -> tuple[bytes, bytes]:
    # No quotation mark within a JSON string is without its backslash: this is the end of the key.
    key, separator, rest = line.partition(b'":{"')
    path, entry = key + b'"', b'{"' + rest.rstrip(b",\n")
    if not separator or path_in_json(entry) != path:
        raise ValueError(f"no entry under its own path: {line[:200]!r}")
    return (json.loads(path).encode() if b"\\" in path else path[1:-1]), entry


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
