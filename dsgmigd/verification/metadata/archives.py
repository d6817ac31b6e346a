"""Check what stands in `.dsg/` beside the manifest: its names, its version and the older archives.

An archive is read once. Later it is proven by its status, as a file is (proof.py), or else by the
digest of its bytes. Written from the format, not from the writer: nothing of `dsgmigd.dsg` is used
here.

Leaving error: OSError, where the file system failed. Differences are data.
"""

import json
import os
from dataclasses import dataclass
from typing import Any

from dsgmigd.file_errors import has_failed
from dsgmigd.verify.compare import Discrepancy
from dsgmigd.verify.document import digest_of
from dsgmigd.verify.metadata import UNREADABLE, read_archived, read_pieces
from dsgmigd.verify.proof import Moments
from dsgmigd.verify.tags import TAGS_NAME

_NAMES = {"last-sync.json", "sync-messages.json", "archive"}
_VERSION = "0.1.0"
_NANOSECONDS = 1_000_000_000

Metadata = dict[str, Any]


@dataclass(frozen=True)
class _Known:
    """An archive that was found right, and the metadata that it was compared with."""

    status: tuple[int, ...]
    digest: bytes
    metadata: Metadata


class Archives:
    """The archives of one repository, remembered from snapshot to snapshot."""

    def __init__(self, *, reads_all: bool) -> None:
        self._reads_all = reads_all
        self._known: dict[str, _Known] = {}

    def check(
        self, root: str, number: int, moments: Moments, *, is_newest_right: bool, reads_none: bool
    ) -> list[Discrepancy]:
        """Return what is wrong below `root`, the target's snapshot s`number`.

        `is_newest_right` says that the newest archive was compared already; with `reads_none` the
        others were too, in an earlier run.
        """
        directory = os.path.join(root, ".dsg")
        try:
            names = set(os.listdir(directory))
            messages = json.loads(
                b"".join(read_pieces(os.path.join(directory, "sync-messages.json")))
            )
            found = _compare("files", sorted(_NAMES), sorted(names - {TAGS_NAME}))
            found += _compare("metadata_version", _VERSION, messages["metadata_version"])
            for index in range(1, number):
                path = os.path.join(directory, "archive", f"s{index}-sync.json.lz4")
                is_right = reads_none or (is_newest_right and index == number - 1)
                metadata = messages["snapshots"][f"s{index}"]
                found += self._check_one(path, f"s{index}", metadata, moments, is_right=is_right)
        except UNREADABLE as error:
            if has_failed(error):
                raise
            return [Discrepancy(".dsg", "archives", "readable", repr(error))]
        return found

    def _check_one(
        self, path: str, name: str, metadata: Metadata, moments: Moments, *, is_right: bool
    ) -> list[Discrepancy]:
        status = _fingerprint(os.lstat(path))
        known = self._known.get(name)
        is_known = known is not None and known.metadata == metadata
        if known and is_known and known.status == status and self._is_old(status, moments):
            return []
        digest = digest_of(read_pieces(path))
        if not is_right and not (known and is_known and known.digest == digest):
            archived = read_archived(path)
            if (archived.metadata, archived.entries_hash) != (metadata, metadata["entries_hash"]):
                return [Discrepancy(".dsg/archive", name, str(metadata), "something else")]
        self._known[name] = _Known(status, digest, metadata)
        return []

    def _is_old(self, status: tuple[int, ...], moments: Moments) -> bool:
        """Say whether a file that had this status in the snapshot before has to be the same."""
        if self._reads_all or moments.target is None:
            return False
        return status[-1] < int(moments.target) * _NANOSECONDS


def _fingerprint(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _compare(attribute: str, expected: object, found: object) -> list[Discrepancy]:
    if found == expected:
        return []
    return [Discrepancy(".dsg", attribute, str(expected), str(found))]
