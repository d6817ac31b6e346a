"""Check the documents in `.dsg/` of one snapshot as DSG's client reads them.

Implemented from the format, not from the writer: of `dsgmigd.dsg`, only the push log's rules are
used.

Raises: OSError, if the file system failed. Differences are data.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from typing import Any
from zoneinfo import ZoneInfo

from dsgmigd.dsg.push_line import Push
from dsgmigd.host.file_errors import has_failed
from dsgmigd.host.hashing import hash_bytes
from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.metadata.files import (
    metadata_directory,
    read_packed,
    read_unpacked,
    read_whole,
)
from dsgmigd.verification.metadata.listing import Listing
from dsgmigd.verification.metadata.manifest_content import Document, digest_of
from dsgmigd.verification.metadata.manifest_reader import Known, read_document
from dsgmigd.verification.metadata.tags import check_tags

# What reading a file raises if it is not such a document.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError)

_TIME_ZONE = ZoneInfo("America/Los_Angeles")
_encode_sorted = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


class SyncMessages:
    """sync-messages.json of one snapshot: several checks read it, and it is parsed once."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "sync-messages.json")

    @cached_property
    def document(self) -> Any:
        """The parsed document; raises one of `UNREADABLE` if it cannot be read."""
        return json.loads(read_whole(self._path))


@dataclass(frozen=True)
class ArchivedManifest:
    """What an archived manifest says: see `ManifestView`."""

    metadata: dict[str, Any]
    entries_hash: str
    identity: str


@dataclass
class ManifestView:
    """What the documents of a snapshot say, for a walk to compare with the files.

    `listing` contains the entries of last-sync.json, `entries_hash` is their hash, and `metadata`
    follows them in the document. `messages` contains the metadata of all snapshots up to this one
    by name. `identity` identifies the manifest, in whatever layout it is written.
    """

    sync_messages: SyncMessages
    listing: Listing = field(default_factory=Listing)
    metadata: dict[str, Any] = field(default_factory=dict)
    entries_hash: str = ""
    messages: dict[str, Any] = field(default_factory=dict)
    identity: str = ""
    discrepancies: list[Discrepancy] = field(default_factory=list)

    def differ(self, path: str, attribute: str, source: object, target: object) -> None:
        """Add a discrepancy."""
        self.discrepancies.append(Discrepancy(path, attribute, str(source), str(target)))


def manifest_time(mtime: float) -> str:
    """Return the st_mtime `mtime` as entries write it: Los Angeles time, in whole seconds."""
    return datetime.fromtimestamp(mtime, _TIME_ZONE).isoformat(timespec="seconds")


class Documents:
    """Reads and checks the documents of one repository's snapshots in order.

    Parts that were right in the manifest of the snapshot before are not checked again. If that
    manifest was read by this object, its archive must contain the same bytes, unless
    `may_be_reformatted`: DSG's client changes the layout when it archives a manifest. `checkpoint`
    is called for every piece of a manifest.
    """

    def __init__(
        self, *, may_be_reformatted: bool = False, checkpoint: Callable[[], None] = lambda: None
    ) -> None:
        self._checkpoint = checkpoint
        self._may_be_reformatted = may_be_reformatted
        self._known = Known()
        self._before: tuple[int, Document] | None = None

    @property
    def digest(self) -> bytes | None:
        """The digest of the last manifest that was read; None if it could not be read."""
        return self._before[1].digest if self._before else None

    def read(self, root: str, number: int, *, right: bytes | None = None) -> ManifestView:
        """Read and check `.dsg/` below `root`, which must be that of snapshot s`number`.

        `right` is the digest of its manifest if that was found right before.
        """
        directory = os.path.join(root, ".dsg")
        view = ManifestView(SyncMessages(directory))
        before, self._before = self._before, None
        try:
            metadata_directory(root)
            manifest = self._read_manifest(view, os.path.join(directory, "last-sync.json"), right)
            messages = dict(view.sync_messages.document["snapshots"])
            view.messages = {name: one for name, one in messages.items() if isinstance(one, dict)}
            _check_entries(view, manifest)
            _check_chain(view, messages, number)
            view.discrepancies += check_tags(directory, messages)
            archive = os.path.join(directory, "archive")
            if _has_all_archives(view, archive, number) and number > 1:
                # Older archives are checked elsewhere: archives.py, chain.py.
                name = f"s{number - 1}"
                is_known = before and before[0] == number - 1 and not self._may_be_reformatted
                expected = before[1] if before and is_known else None
                archived = self._read_archived(archive, name, expected)
                _compare_archived(view, name, archived, expected, messages[name])
            self._before = number, replace(manifest, listing=Listing())
        except UNREADABLE as error:
            if has_failed(error):
                raise
            view.differ(".dsg", "metadata", "readable", f"unreadable: {error!r}")
        return view

    def _read_manifest(self, view: ManifestView, path: str, right: bytes | None) -> Document:
        found = Known()
        read = partial(read_packed, path, self._checkpoint)
        manifest = read_document(read, self._known, found, right=right)
        self._known = found
        view.metadata = dict(manifest.metadata)
        view.listing, view.entries_hash = manifest.listing, manifest.entries_hash
        view.identity = _identity_of(manifest)
        return manifest

    def _read_archived(self, archive: str, name: str, expected: Document | None) -> Document:
        """Return the archived manifest of snapshot `name`; `expected` if it has the same bytes."""
        path = os.path.join(archive, f"{name}-sync.json.lz4")
        read = partial(read_unpacked, path, self._checkpoint)
        if expected is not None and digest_of(read()) == expected.digest:
            return expected
        return read_document(read, self._known, Known())


def compare_stamp(view: ManifestView, snapshot_hash: str | None) -> list[Discrepancy]:
    """Compare a manifest with the property that dsgmigd set on the snapshot, if it is set."""
    recorded = view.metadata.get("snapshot_hash")
    if snapshot_hash is None or snapshot_hash == recorded:
        return []
    return [Discrepancy(".dsg", "snapshot_hash", snapshot_hash, str(recorded))]


def compare_push(push: Push, metadata: dict[str, Any]) -> list[Discrepancy]:
    """Return the differences between metadata and the push log of the source."""
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


def read_archived(path: str, checkpoint: Callable[[], None] = lambda: None) -> ArchivedManifest:
    """Read an archived manifest without checking it; raises one of `UNREADABLE`."""
    manifest = read_document(partial(read_unpacked, path, checkpoint), Known(), Known())
    return ArchivedManifest(dict(manifest.metadata), manifest.entries_hash, _identity_of(manifest))


def _identity_of(manifest: Document) -> str:
    # The hash of the entries covers their order, but not their keys.
    misplaced = [path for path, _ in manifest.misshapen]
    metadata = without_nulls(manifest.metadata)
    identity = _encode_sorted([metadata, manifest.entries_hash, misplaced])
    return hash_bytes(identity.encode(errors="surrogatepass"))


def without_nulls(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return metadata without null values: to DSG's client, null is the same as no key."""
    return {key: value for key, value in dict(metadata).items() if value is not None}


def _check_entries(view: ManifestView, manifest: Document) -> None:
    for path, entry in manifest.misshapen:
        view.differ(path, "manifest entry", "its path as key, and its keys in order", entry)
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
    if without_nulls(messages[names[-1]]) != without_nulls(view.metadata):
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
    """Return what newer clients of DSG hash between the message and the previous hash."""
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
    """Compare the archived manifest of snapshot `name` with its metadata and its manifest."""
    if without_nulls(archived.metadata) != without_nulls(metadata):
        view.differ(".dsg/archive", name, metadata, archived.metadata)
    elif archived.entries_hash != metadata["entries_hash"]:
        view.differ(".dsg/archive", name, metadata["entries_hash"], archived.entries_hash)
    elif expected is not None and archived is not expected:
        view.differ(".dsg/archive", name, f"last-sync.json of {name}", "different bytes")
