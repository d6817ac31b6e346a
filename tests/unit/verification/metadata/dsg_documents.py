"""`.dsg/` written from the format, with nothing of dsgmigd: what a correct target holds."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import lz4.frame
import orjson
import xxhash

Document = dict[str, Any]
_IGNORED = {"__pycache__", ".DS_Store"}


def write_documents(
    root: Path, number: int, *, change: Callable[[Document], object] = lambda _: None
) -> None:
    """Write `.dsg/` of snapshot s`number`, which holds the files below `root`.

    So did all snapshots before, but the one whose documents are there already. `change` may spoil
    the entries before they are hashed.
    """
    status = root.stat()
    directory = root / ".dsg"
    (directory / "archive").mkdir(parents=True, exist_ok=True)
    before = _last_entries(directory)
    now = entries_of(root)
    change(now)
    messages: Document = {}
    for one in range(1, number + 1):
        previous = messages.get(f"s{one - 1}")
        entries = before.get(f"s{one}", now) if one < number else now
        messages[f"s{one}"] = metadata_of(one, entries, previous)
        content = render({"entries": entries, "metadata": messages[f"s{one}"]})
        if one < number:
            archived = directory / "archive" / f"s{one}-sync.json.lz4"
            archived.write_bytes(lz4.frame.compress(content))
    (directory / "last-sync.json").write_bytes(content)
    (directory / "sync-messages.json").write_bytes(
        orjson.dumps({"metadata_version": "0.1.0", "snapshots": messages})
    )
    os.utime(root, ns=(status.st_atime_ns, status.st_mtime_ns))


def render(document: Document) -> bytes:
    """Return a last-sync.json with one entry a line, as dsgmigd writes it."""
    lines = b",\n".join(
        orjson.dumps(path) + b":" + orjson.dumps(entry)
        for path, entry in document["entries"].items()
    )
    head = b'{"entries":{\n' + lines + b"\n}" if lines else b'{"entries":{}'
    return head + b',"metadata":' + orjson.dumps(document["metadata"]) + b"}\n"


def _last_entries(directory: Path) -> dict[str, Document]:
    try:
        document = orjson.loads((directory / "last-sync.json").read_bytes())
        return {document["metadata"]["snapshot_id"]: document["entries"]}
    except (FileNotFoundError, KeyError):
        return {}


def metadata_of(number: int, entries: Document, previous: Document | None) -> Document:
    """Return the metadata of a snapshot with these entries."""
    entries_hash = _hash(b"".join(map(orjson.dumps, entries.values())))
    before = previous["snapshot_hash"] if previous else ""
    return {
        "manifest_version": "0.1.0",
        "snapshot_id": f"s{number}",
        "created_at": "2014-05-07T10:27:26-07:00",
        "entry_count": len(entries),
        "entries_hash": entries_hash,
        "created_by": "pball",
        "snapshot_message": "--",
        "snapshot_previous": previous["snapshot_id"] if previous else None,
        "snapshot_hash": _hash(f"{entries_hash}--{before}".encode()),
        "snapshot_notes": "btrsnap-migration",
    }


def entries_of(root: Path) -> Document:
    """Return the entry of every file and link below `root` that has one."""
    entries = {}
    for name in sorted(str(path.relative_to(root)) for path in root.rglob("*")):
        path = root / name
        parts = name.split("/")
        is_hidden = any(part.startswith(".") or part in _IGNORED for part in parts)
        if is_hidden or os.fsencode(name).decode("utf-8", "ignore") != name:
            continue
        if path.is_symlink():
            reference = os.readlink(path)
            if not reference.startswith("/"):
                entries[name] = {
                    "type": "link",
                    "path": name,
                    "user": "pball",
                    "reference": reference,
                }
        elif path.is_file():
            entries[name] = _file_entry(path, name)
    return entries


def _file_entry(path: Path, name: str) -> Document:
    moment = datetime.fromtimestamp(path.stat().st_mtime, ZoneInfo("America/Los_Angeles"))
    return {
        "type": "file",
        "path": name,
        "user": "pball",
        "filesize": path.stat().st_size,
        "mtime": moment.isoformat(timespec="seconds"),
        "hash": _hash(path.read_bytes()),
    }


def _hash(data: bytes) -> str:
    return xxhash.xxh3_64_hexdigest(data)
