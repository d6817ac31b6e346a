"""Check what stands in `.dsg/` beside the manifest: its names, its version and the older archives.

An archive is read once. Later it is proven by its status, as a file is (proof.py), or else by the
digest of its bytes. Written from the format, not from the writer: nothing of `dsgmigd.dsg` is used
here.
"""

import json
import os
from dataclasses import dataclass
from typing import Any

import lz4.frame

from dsgmigd.hashing import hash_bytes
from dsgmigd.verify.compare import Discrepancy
from dsgmigd.verify.proof import Moments
from dsgmigd.verify.tags import TAGS_NAME

_NAMES = {"last-sync.json", "sync-messages.json", "archive"}
_VERSION = "0.1.0"
_NANOSECONDS = 1_000_000_000
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Metadata = dict[str, Any]


@dataclass(frozen=True)
class _Known:
    """An archive that was found right, and the metadata that it was compared with."""

    status: tuple[int, ...]
    digest: str
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
            messages = json.loads(_read(os.path.join(directory, "sync-messages.json")))
            found = _compare("files", sorted(_NAMES), sorted(names - {TAGS_NAME}))
            found += _compare("metadata_version", _VERSION, messages["metadata_version"])
            for index in range(1, number):
                path = os.path.join(directory, "archive", f"s{index}-sync.json.lz4")
                is_right = reads_none or (is_newest_right and index == number - 1)
                metadata = messages["snapshots"][f"s{index}"]
                found += self._check_one(path, f"s{index}", metadata, moments, is_right=is_right)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
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
        content = _read(path)
        digest = hash_bytes(content)
        if not is_right and not (known and is_known and known.digest == digest):
            expected = (metadata, metadata["entries_hash"])
            if _read_archived(content) != expected:
                return [Discrepancy(".dsg/archive", name, str(expected), "something else")]
        self._known[name] = _Known(status, digest, metadata)
        return []

    def _is_old(self, status: tuple[int, ...], moments: Moments) -> bool:
        """Say whether a file that had this status in the snapshot before has to be the same."""
        if self._reads_all or moments.target is None:
            return False
        return status[-1] < int(moments.target) * _NANOSECONDS


def _fingerprint(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read_archived(content: bytes) -> tuple[Metadata, str]:
    """Return the metadata of an archived manifest, and the hash that its entries have."""
    document = json.loads(lz4.frame.decompress(content))
    entries = (_encode(entry).encode() for entry in document["entries"].values())
    return document["metadata"], hash_bytes(*entries)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _compare(attribute: str, expected: object, found: object) -> list[Discrepancy]:
    if found == expected:
        return []
    return [Discrepancy(".dsg", attribute, str(expected), str(found))]
