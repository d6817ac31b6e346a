"""Check `.dsg/` apart from the manifest: the names in it, its version and the older archives.

An archive is read once. Later it is proven by its status, as a file is (see `proof`), or else by
the digest of its bytes. Implemented from the format, not from the writer: `dsgmigd.dsg` is
not used.

Raises: OSError, if the file system failed. Differences are data.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dsgmigd.host.file_errors import has_failed
from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.metadata.documents import (
    UNREADABLE,
    ManifestView,
    read_archived,
)
from dsgmigd.verification.metadata.files import metadata_directory, read_packed
from dsgmigd.verification.metadata.manifest_content import digest_of
from dsgmigd.verification.metadata.tags import TAGS_NAME
from dsgmigd.verification.proof import Moments

_NAMES = {"last-sync.json", "sync-messages.json", "archive"}
_VERSION = "0.1.0"
_NANOSECONDS = 1_000_000_000

Metadata = dict[str, Any]


@dataclass(frozen=True)
class _Known:
    """An archive that was right, and the metadata that it was compared with.

    `digest` is None if only its status is known.
    """

    status: tuple[int, ...]
    digest: bytes | None
    metadata: Metadata


class Archives:
    """Checks the archives of one repository; remembers them from snapshot to snapshot.

    With `reads_all`, every archive is read for every snapshot. `checkpoint` is called for every
    piece of an archive.
    """

    def __init__(self, *, reads_all: bool, checkpoint: Callable[[], None] = lambda: None) -> None:
        self._checkpoint = checkpoint
        self._reads_all = reads_all
        self._known: dict[str, _Known] = {}

    def check(
        self,
        root: str,
        number: int,
        view: ManifestView,
        moments: Moments,
        *,
        is_newest_right: bool,
        reads_none: bool,
    ) -> list[Discrepancy]:
        """Return what is wrong in `.dsg/` below `root`, the target's snapshot s`number`.

        `is_newest_right` says that the newest archive has been compared already; with `reads_none`,
        an earlier run compared the others too, and they are not read.
        """
        try:
            directory = metadata_directory(root)
            names = set(os.listdir(directory))
            messages = view.sync_messages.document
            found = _compare("files", sorted(_NAMES), sorted(names - {TAGS_NAME}))
            found += _compare("metadata_version", _VERSION, messages["metadata_version"])
            for index in range(1, number):
                path = os.path.join(directory, "archive", f"s{index}-sync.json.lz4")
                name, metadata = f"s{index}", messages["snapshots"][f"s{index}"]
                is_newest = index == number - 1
                # The newest is too young to be proven by its status in the next snapshot.
                if reads_none and not is_newest:
                    self._known[name] = _Known(_fingerprint(os.lstat(path)), None, metadata)
                    continue
                is_right = reads_none or (is_newest_right and is_newest)
                found += self._check_one(path, name, metadata, moments, is_right=is_right)
        except UNREADABLE as error:
            if has_failed(error):
                raise
            return [Discrepancy(".dsg", "archives", "readable", f"unreadable: {error!r}")]
        return found

    def _check_one(
        self, path: str, name: str, metadata: Metadata, moments: Moments, *, is_right: bool
    ) -> list[Discrepancy]:
        status = _fingerprint(os.lstat(path))
        known = self._known.get(name)
        is_known = known is not None and known.metadata == metadata
        if known and is_known and known.status == status and self._is_old(status, moments):
            return []
        digest = digest_of(read_packed(path, self._checkpoint))
        if not is_right and not (known and is_known and known.digest == digest):
            archived = read_archived(path, self._checkpoint)
            if (archived.metadata, archived.entries_hash) != (metadata, metadata["entries_hash"]):
                return [Discrepancy(".dsg/archive", name, str(metadata), "different manifest")]
        self._known[name] = _Known(status, digest, metadata)
        return []

    def _is_old(self, status: tuple[int, ...], moments: Moments) -> bool:
        """Say whether a file with the same status in the snapshot before must be the same."""
        if self._reads_all or moments.target is None:
            return False
        return status[-1] < int(moments.target) * _NANOSECONDS


def _fingerprint(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _compare(attribute: str, expected: object, found: object) -> list[Discrepancy]:
    if found == expected:
        return []
    return [Discrepancy(".dsg", attribute, str(expected), str(found))]
