"""Compare files and links with their entries in the manifest of the snapshot.

Used by the walk over both sides, which compares an entry with the file in the target.

Raises: nothing. Differences are data.
"""

import json
import os

from dsgmigd.verification.metadata.documents import manifest_time
from dsgmigd.verification.walk_context import WalkContext


def take_entry(
    context: WalkContext, path: str, reference: str | None = None, *, is_proven: bool = False
) -> bytes | None:
    """Tick off the entry of the file at `path`, or of the link to `reference`, and return it.

    Reports a file that is listed and must not be, or is not listed and must be. That a proven file
    may be listed was checked in an earlier snapshot.
    """
    entry = context.view.listing.take(path)
    if entry is not None and is_proven:
        return entry
    bytes_reference = None if reference is None else os.fsencode(reference)
    is_listed = context.scope.lists(os.fsencode(path), bytes_reference)
    if is_listed and entry is None:
        context.differ(path, "manifest", "it exists", "not listed")
    elif entry is not None and not is_listed:
        context.differ(path, "manifest", "a manifest must not list it", "listed")
    elif entry is None:
        context.result.add_unlisted(path)
    return entry


def compare_link_entry(context: WalkContext, path: str, reference: str) -> None:
    """Compare the symbolic link at `path`, which points to `reference`, with its entry."""
    entry = take_entry(context, path, reference)
    if entry is not None and json.loads(entry).get("reference") != reference:
        context.differ(path, "manifest reference", reference, entry.decode())


def compare_file_entry(
    context: WalkContext, path: str, status: os.stat_result, digest: str | None, entry: bytes | None
) -> bool:
    """Compare the file at `path` with its entry; return whether they agree.

    Without a `digest`, its content was not read: the hash in the entry is not compared. A file
    without an entry agrees: whether it may have none was checked by `take_entry`.
    """
    if entry is None:
        return True
    expected = ["file", status.st_size, manifest_time(status.st_mtime)]
    document = json.loads(entry)
    found = [document.get(key) for key in ("type", "filesize", "mtime")]
    if digest is not None:
        expected, found = [*expected, digest], [*found, document.get("hash")]
    if found != expected:
        context.differ(path, "manifest entry", tuple(expected), tuple(found))
    return found == expected
