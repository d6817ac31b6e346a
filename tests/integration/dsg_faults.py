"""Single faults below `.dsg/` of a target tree.

Some are lies that agree with themselves: an entry is changed and all the hashes are made to fit.
"""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import lz4.frame
import orjson

from tests.dsg_reader import digest_of
from tests.integration.faults import Fault, Faulty, shown

_TIME_ZONE = ZoneInfo("America/Los_Angeles")
Document = dict[str, Any]
DSG = ".dsg|.dsg/archive"
ANY = ""


def _read(tree: Faulty, name: str) -> Document:
    document: Document = json.loads((tree.root / ".dsg" / name).read_bytes())
    return document


def _write(tree: Faulty, name: str, document: Document) -> None:
    path = tree.root / ".dsg" / name
    status = path.stat()
    path.write_bytes(orjson.dumps(document))
    if tree.keeps_times:
        os.utime(path, ns=(0, status.st_mtime_ns))


def _write_agreeing(tree: Faulty, manifest: Document) -> None:
    """Write a manifest with all that is said of it elsewhere."""
    messages = _read(tree, "sync-messages.json")
    entries, metadata = manifest["entries"], manifest["metadata"]
    previous = messages["snapshots"].get(metadata["snapshot_previous"], {"snapshot_hash": ""})
    metadata["entry_count"] = len(entries)
    metadata["entries_hash"] = digest_of(b"".join(map(orjson.dumps, entries.values())))
    chained = metadata["entries_hash"] + metadata["snapshot_message"] + previous["snapshot_hash"]
    metadata["snapshot_hash"] = digest_of(chained.encode())
    messages["snapshots"][metadata["snapshot_id"]] = metadata
    _write(tree, "last-sync.json", manifest)
    _write(tree, "sync-messages.json", messages)


def _another(value: Any) -> Any:
    if isinstance(value, int):
        return value + 1
    if not value:
        return "x"
    last = "0" if value[-1] != "0" else "1"
    return value[:-1] + last


# The manifest.


def change_an_entry(tree: Faulty) -> None:
    manifest = _read(tree, "last-sync.json")
    path = tree.pick(manifest["entries"])
    key = tree.pick(manifest["entries"][path].keys() - {"type", "path"})
    manifest["entries"][path][key] = _another(manifest["entries"][path][key])
    _write(tree, "last-sync.json", manifest)
    tree.expected.add((".dsg", "entries_hash"))
    if key != "user":
        tree.expected.add((path, f"manifest {'reference' if key == 'reference' else 'entry'}"))
    tree.allow(path)


def change_an_entry_in_agreement(tree: Faulty) -> None:
    """Who pushed an entry is not to be seen from the trees."""
    manifest = _read(tree, "last-sync.json")
    path = tree.pick(manifest["entries"])
    key = tree.pick(manifest["entries"][path].keys() - {"type", "path", "user"})
    manifest["entries"][path][key] = _another(manifest["entries"][path][key])
    _write_agreeing(tree, manifest)
    tree.expected.add((path, f"manifest {'reference' if key == 'reference' else 'entry'}"))


def lose_an_entry(tree: Faulty) -> None:
    manifest = _read(tree, "last-sync.json")
    path = tree.pick(manifest["entries"])
    del manifest["entries"][path]
    _write(tree, "last-sync.json", manifest)
    tree.expected |= {(path, "manifest"), (".dsg", "entries_hash"), (".dsg", "entry_count")}


def lose_an_entry_in_agreement(tree: Faulty) -> None:
    manifest = _read(tree, "last-sync.json")
    path = tree.pick(manifest["entries"])
    del manifest["entries"][path]
    _write_agreeing(tree, manifest)
    tree.expected.add((path, "manifest"))


def add_an_entry_in_agreement(tree: Faulty) -> None:
    """List what is not there, a directory, or a file that no manifest lists."""
    manifest = _read(tree, "last-sync.json")
    there = [path for path in tree.good.status if path != "." and shown(path) == path]
    path = tree.pick(["absent", *(set(there) - manifest["entries"].keys())])
    content = tree.good.contents.get(path, b"")
    model = next(entry for entry in manifest["entries"].values() if entry["type"] == "file")
    entry = {**model, "path": path, "filesize": len(content), "hash": digest_of(content)}
    if path in tree.good.contents:  # all that it says is true
        moment = datetime.fromtimestamp(tree.good.status[path].st_mtime, _TIME_ZONE)
        entry["mtime"] = moment.isoformat(timespec="seconds")
    manifest["entries"] = dict(sorted({**manifest["entries"], path: entry}.items()))
    _write_agreeing(tree, manifest)
    tree.expected.add((path, ANY))


def change_the_entries_hash(tree: Faulty) -> None:
    manifest = _read(tree, "last-sync.json")
    manifest["metadata"]["entries_hash"] = _another(manifest["metadata"]["entries_hash"])
    _write(tree, "last-sync.json", manifest)
    tree.expected.add((".dsg", "entries_hash"))


# The other documents.


def change_the_messages(tree: Faulty) -> None:
    messages = _read(tree, "sync-messages.json")
    name = tree.pick(messages["snapshots"])
    key = tree.pick(messages["snapshots"][name])
    messages["snapshots"][name][key] = _another(messages["snapshots"][name][key])
    _write(tree, "sync-messages.json", messages)
    tree.expected.add((DSG, ANY))


def lose_a_message(tree: Faulty) -> None:
    messages = _read(tree, "sync-messages.json")
    del messages["snapshots"][tree.pick(messages["snapshots"])]
    _write(tree, "sync-messages.json", messages)
    tree.expected.add((".dsg", "sync-messages.json"))


def flip_a_bit_of_a_document(tree: Faulty) -> None:
    _flip(tree, tree.pick(("last-sync.json", "sync-messages.json")))


def flip_a_bit_of_an_archive(tree: Faulty) -> None:
    names = os.listdir(tree.root / ".dsg" / "archive")
    _flip(tree, f"archive/{tree.pick(names)}" if names else "last-sync.json")


def _flip(tree: Faulty, name: str) -> None:
    path = tree.root / ".dsg" / name
    good, status = path.read_bytes(), path.stat()
    content = bytearray(good)
    # Some bits of a compressed file mean nothing.
    while _meaning(path, bytes(content)) == _meaning(path, good):
        content[tree.random.randrange(len(content))] ^= 1 << tree.random.randrange(8)
    path.write_bytes(content)
    if tree.keeps_times:
        os.utime(path, ns=(0, status.st_mtime_ns))
    # What is wrong with one entry may be said of its path; without messages no entry is known.
    tree.expected.add((ANY if name == "last-sync.json" else DSG, ANY))
    tree.allow(".dsg")
    tree.allows_manifest = path.suffix == ".json"


def _meaning(path: Path, content: bytes) -> bytes:
    if path.suffix != ".lz4":
        return content
    try:
        return bytes(lz4.frame.decompress(content))
    except (RuntimeError, ValueError, MemoryError):
        return b"none"


def lose_an_archive(tree: Faulty) -> None:
    archive = tree.root / ".dsg" / "archive"
    names = os.listdir(archive)
    if not names:
        archive.rmdir()
    else:
        (archive / tree.pick(names)).unlink()
    tree.expected.add((DSG, ANY))


def add_an_archive(tree: Faulty) -> None:
    (tree.root / ".dsg" / "archive" / "s9-sync.json.lz4").touch()
    tree.expected.add((".dsg/archive", "files"))


def exchange_two_archives(tree: Faulty) -> None:
    """Where there are fewer than two, one is emptied or the messages are."""
    archive = tree.root / ".dsg" / "archive"
    names = sorted(os.listdir(archive))
    if len(names) > 1:
        (archive / names[0]).rename(archive / "kept")
        (archive / names[1]).rename(archive / names[0])
        (archive / "kept").rename(archive / names[1])
    else:
        (archive / names[0] if names else archive.parent / "sync-messages.json").write_bytes(b"")
    tree.expected.add((DSG, ANY))
    tree.allows_manifest = True


def add_a_document(tree: Faulty) -> None:
    (tree.root / ".dsg" / "extra").touch()
    tree.expected.add((".dsg", "files"))


def lose_a_document(tree: Faulty) -> None:
    (tree.root / ".dsg" / tree.pick(("last-sync.json", "sync-messages.json"))).unlink()
    tree.expected.add((".dsg", ANY))
    tree.allows_manifest = True


DSG_FAULTS: tuple[Fault, ...] = (
    *(change_an_entry, change_an_entry_in_agreement, lose_an_entry, lose_an_entry_in_agreement),
    *(add_an_entry_in_agreement, change_the_entries_hash, change_the_messages, lose_a_message),
    *(flip_a_bit_of_a_document, flip_a_bit_of_an_archive, lose_an_archive, add_an_archive),
    *(exchange_two_archives, add_a_document, lose_a_document),
)
