"""The history of a published dataset, from the metadata in its newest snapshot.

Neither the source nor the older snapshots are needed. Each manifest is compared with what
sync-messages.json says of it before it is used.

Raises: MetadataDamaged, PathUnknown, TargetUnwritable.
"""

import json
import os
import posixpath
from dataclasses import asdict
from functools import partial
from typing import Any

from dsgmigd.dsg.archive import MANIFEST_NAME, MESSAGES_NAME, archive_name
from dsgmigd.errors import DsgmigdError, MetadataDamaged, PathUnknown
from dsgmigd.host.file_errors import has_failed, target_error
from dsgmigd.maintenance.changes import backward, count_changes, trace
from dsgmigd.verification.metadata.documents import (
    UNREADABLE,
    without_nulls,
)
from dsgmigd.verification.metadata.files import (
    metadata_directory,
    read_packed,
    read_unpacked,
    read_whole,
)
from dsgmigd.verification.metadata.listing import Listing
from dsgmigd.verification.metadata.manifest_content import Document
from dsgmigd.verification.metadata.manifest_reader import Known, read_document


class History:
    """The history up to snapshot s`last`, whose files are readable at `root`."""

    def __init__(self, root: str, last: int) -> None:
        self._root = root
        self._directory = os.path.join(root, ".dsg")
        self._last = last
        self._messages = self._read_messages()
        # Entries that were correct in the manifest before are not checked again.
        self._known = Known()

    def log(self) -> list[dict[str, Any]]:
        """Return who made each snapshot, when and why, and what it changed, the newest first."""
        return [
            self._describe(transition.number) | asdict(count_changes(transition))
            for transition in backward(self._last, self.read)
        ]

    def blame(self, path: str) -> list[dict[str, Any]]:
        """Return which snapshots changed what is or was at `path`, the oldest first.

        `path` is relative to the dataset's root. Raises PathUnknown if nothing ever was there.
        """
        wanted = posixpath.normpath(path)
        events = trace(wanted, self._last, self.read)
        if not events:
            raise PathUnknown(
                f"no manifest has an entry {wanted!r}",
                hint="give the path of a file or link relative to the dataset's root; directories, "
                "hidden names and other files that DSG ignores have no entries",
            )
        return [
            self._describe(event.snapshot)
            | {"what": event.what, "path": event.path, "path_before": event.path_before}
            for event in events
        ]

    def check(self) -> None:
        """Read every manifest; raise MetadataDamaged if one was changed."""
        for number in range(self._last, 0, -1):
            self.read(number)

    def read(self, number: int) -> Listing:
        """Return the entries of snapshot s`number`."""
        is_last = number == self._last
        name = MANIFEST_NAME if is_last else archive_name(f"s{number}")
        pieces = partial(
            read_packed if is_last else read_unpacked, os.path.join(self._directory, name)
        )
        found = Known()
        try:
            document = read_document(pieces, self._known, found)
            problem = _compare(document, self._messages[f"s{number}"])
        except UNREADABLE as error:
            raise self._unreadable(name, error) from error
        if problem:
            raise self._damaged(name, problem)
        self._known = found
        return document.listing

    def _read_messages(self) -> dict[str, Any]:
        try:
            metadata_directory(self._root)
            content = read_whole(os.path.join(self._directory, MESSAGES_NAME))
            messages = dict(json.loads(content)["snapshots"])
        except UNREADABLE as error:
            raise self._unreadable(MESSAGES_NAME, error) from error
        expected = [f"s{number}" for number in range(1, self._last + 1)]
        is_complete = all(isinstance(one, dict) for one in messages.values())
        if list(messages) != expected or not is_complete:
            raise self._damaged(MESSAGES_NAME, f"it does not describe s1 … s{self._last}")
        return messages

    def _unreadable(self, name: str, error: Exception) -> DsgmigdError:
        """Return the error for a document that cannot be read, which may be a fault of the pool."""
        if isinstance(error, OSError) and has_failed(error):
            return target_error(error, f"reading .dsg/{name} in snapshot s{self._last}")
        return self._damaged(name, repr(error))

    def _damaged(self, name: str, problem: str) -> MetadataDamaged:
        return MetadataDamaged(
            f".dsg/{name} in snapshot s{self._last} is damaged: {problem}",
            hint="see what else is damaged, and since when: dsgmigd verify REPO --without-source",
        )

    def _describe(self, number: int) -> dict[str, Any]:
        metadata = self._messages[f"s{number}"]
        return {
            "snapshot": f"s{number}",
            "created_at": metadata.get("created_at"),
            "created_by": metadata.get("created_by"),
            "message": metadata.get("snapshot_message"),
        }


def _compare(document: Document, message: dict[str, Any]) -> str | None:
    """Return how a manifest differs from its message in sync-messages.json; None if it does not."""
    if without_nulls(document.metadata) != without_nulls(message):
        return f"its metadata differs from {MESSAGES_NAME}"
    expected = (message["entry_count"], message["entries_hash"])
    if (document.entry_count, document.entries_hash) != expected:
        return "its entries are not those that its metadata describes"
    return None
