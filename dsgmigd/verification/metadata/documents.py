"""Check the documents below `.dsg/` of one snapshot, as DSG's client will read them.

Written from the format, not from the writer: nothing of `dsgmigd.dsg` is used here.

Leaving error: OSError, where the file system failed. Differences are data.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import lz4.frame

from dsgmigd.dsg.pushlog import Push
from dsgmigd.durable import open_safely
from dsgmigd.file_errors import has_failed
from dsgmigd.hashing import hash_bytes
from dsgmigd.verify.compare import Discrepancy
from dsgmigd.verify.document import Document, Known, digest_of, read_document
from dsgmigd.verify.listing import Listing
from dsgmigd.verify.tags import check_tags

# What reading a document raises that is none, or is not of the form.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError)

_TIME_ZONE = ZoneInfo("America/Los_Angeles")
_PIECE_BYTES = 256 * 1024
_encode_sorted = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


@dataclass
class ManifestView:
    """What the documents of a snapshot say, for a walk to compare with what is there.

    `listing` has the entries of last-sync.json, `entries_hash` is theirs, `metadata` stands behind
    them, and `messages` has the metadata of all snapshots up to this one, by name. `identity`
    tells the manifest from every other, in whatever layout it is written.
    """

    listing: Listing = field(default_factory=Listing)
    metadata: dict[str, Any] = field(default_factory=dict)
    entries_hash: str = ""
    messages: dict[str, Any] = field(default_factory=dict)
    identity: str = ""
    discrepancies: list[Discrepancy] = field(default_factory=list)

    def differ(self, path: str, attribute: str, source: object, target: object) -> None:
        """Note a discrepancy."""
        self.discrepancies.append(Discrepancy(path, attribute, str(source), str(target)))


def manifest_time(mtime: float) -> str:
    """Return how an entry has to say the st_mtime `mtime`: Los Angeles' time, whole seconds."""
    return datetime.fromtimestamp(mtime, _TIME_ZONE).isoformat(timespec="seconds")


class Documents:
    """Reads and checks the documents of one repository's snapshots, in their order.

    Parts that were right in the manifest before are not looked into again; and when that manifest
    was read here, its archive has to hold it byte for byte, unless `may_be_laid_out_anew`: DSG's
    client does that when it archives a manifest.
    """

    def __init__(self, *, may_be_laid_out_anew: bool = False) -> None:
        self._may_be_laid_out_anew = may_be_laid_out_anew
        self._known = Known()
        self._before: tuple[int, Document] | None = None

    def read(self, root: str, number: int) -> ManifestView:
        """Read and check `.dsg/` below `root`, which has to be that of snapshot s`number`."""
        view = ManifestView()
        directory = os.path.join(root, ".dsg")
        before, self._before = self._before, None
        try:
            manifest = self._read_manifest(view, os.path.join(directory, "last-sync.json"))
            messages = _read_messages(os.path.join(directory, "sync-messages.json"))
            view.messages = {name: one for name, one in messages.items() if isinstance(one, dict)}
            _check_entries(view, manifest)
            _check_chain(view, messages, number)
            view.discrepancies += check_tags(directory, messages)
            archive = os.path.join(directory, "archive")
            if _has_all_archives(view, archive, number) and number > 1:
                # Older archives are looked at elsewhere: archives.py, chain.py.
                name = f"s{number - 1}"
                is_known = before and before[0] == number - 1 and not self._may_be_laid_out_anew
                expected = before[1] if before and is_known else None
                archived = self._read_archived(archive, name, expected)
                _compare_archived(view, name, archived, expected, messages[name])
            self._before = number, replace(manifest, listing=Listing())
        except UNREADABLE as error:
            if has_failed(error):
                raise
            view.differ(".dsg", "metadata", "readable", repr(error))
        return view

    def _read_manifest(self, view: ManifestView, path: str) -> Document:
        found = Known()
        manifest = read_document(partial(read_pieces, path), self._known, found)
        self._known = found
        _take(view, manifest)
        return manifest

    def _read_archived(self, archive: str, name: str, expected: Document | None) -> Document:
        """Return what the archived manifest of snapshot `name` says, or what it had to say."""
        read = partial(read_unpacked, os.path.join(archive, f"{name}-sync.json.lz4"))
        if expected is not None and digest_of(read()) == expected.digest:
            return expected
        return read_document(read, self._known, Known())


def compare_push(push: Push, metadata: dict[str, Any]) -> list[Discrepancy]:
    """Return where metadata says anything else than the push log of the source."""
    expected = {
        "created_by": push.user,
        "created_at": manifest_time(push.pushed_at),
        "snapshot_message": push.message,
    }
    return [
        Discrepancy(".dsg", key, value, str(metadata.get(key)))
        for key, value in expected.items()
        if metadata.get(key) != value
    ]


def read_archived(path: str) -> ManifestView:
    """Read an archived manifest, without a check; raises what is UNREADABLE."""
    view = ManifestView()
    _take(view, read_document(partial(read_unpacked, path), Known(), Known()))
    return view


def _take(view: ManifestView, manifest: Document) -> None:
    view.metadata = dict(manifest.metadata)
    view.listing, view.entries_hash = manifest.listing, manifest.entries_hash
    # The hash of the entries covers their order, but not the keys under which they stand.
    odd = [path for path, _ in manifest.misshapen]
    identity = _encode_sorted([said(view.metadata), manifest.entries_hash, odd])
    view.identity = hash_bytes(identity.encode(errors="surrogatepass"))


def said(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what metadata says: to DSG's client a key that is null is one that is not there."""
    return {key: value for key, value in dict(metadata).items() if value is not None}


def _read_messages(path: str) -> dict[str, Any]:
    return dict(json.loads(b"".join(read_pieces(path)))["snapshots"])


def _check_entries(view: ManifestView, manifest: Document) -> None:
    for path, entry in manifest.misshapen:
        view.differ(path, "manifest entry", "path and keys in order", entry)
    claimed_hash, claimed_count = (
        manifest.metadata[key] for key in ("entries_hash", "entry_count")
    )
    if claimed_hash != manifest.entries_hash:
        view.differ(".dsg", "entries_hash", manifest.entries_hash, claimed_hash)
    if claimed_count != manifest.entry_count:
        view.differ(".dsg", "entry_count", manifest.entry_count, claimed_count)


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


def _has_all_archives(view: ManifestView, archive: str, number: int) -> bool:
    expected = {f"s{index}-sync.json.lz4" for index in range(1, number)}
    found = set(os.listdir(archive))
    if found != expected:
        view.differ(".dsg/archive", "files", sorted(expected - found), sorted(found - expected))
    return found == expected


def _compare_archived(
    view: ManifestView, name: str, archived: Document, expected: Document | None, metadata: Any
) -> None:
    """Compare the archived manifest of snapshot `name` with what is known of that snapshot."""
    if said(archived.metadata) != said(metadata):
        view.differ(".dsg/archive", name, metadata, archived.metadata)
    elif archived.entries_hash != metadata["entries_hash"]:
        view.differ(".dsg/archive", name, metadata["entries_hash"], archived.entries_hash)
    elif expected is not None and archived is not expected:
        view.differ(".dsg/archive", name, f"last-sync.json of {name}", "other bytes")


def read_pieces(path: str) -> Iterator[bytes]:
    """Yield the content of a regular file."""
    with open(path, "rb", opener=open_safely) as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def read_unpacked(path: str) -> Iterator[bytes]:
    """Yield the content of a file that is one lz4 frame; ValueError, RuntimeError if it is none."""
    decompressor = lz4.frame.LZ4FrameDecompressor()
    for piece in read_pieces(path):
        if decompressor.eof:
            raise ValueError(f"something stands behind the frame in {path}")
        yield decompressor.decompress(piece)
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError(f"{path} is not one whole frame")
