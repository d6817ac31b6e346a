"""Check that a snapshot tells of the snapshots before it what they tell of themselves.

That is their metadata in sync-messages.json, and their archived manifests. Manifests are compared
as documents, not as bytes: DSG's client lays them out anew when it archives them. That the series
is whole, with no archive missing, is checked with the other documents (metadata.py).

Leaving error: OSError, where the file system failed. Differences are data.
"""

import os
from typing import Any

from dsgmigd.file_errors import has_failed, status_of
from dsgmigd.verify.compare import Discrepancy
from dsgmigd.verify.metadata import UNREADABLE, ManifestView, read_archived, said
from dsgmigd.verify.proof import Moments, Proofs


class Chain:
    """The manifests of one dataset, whose snapshots are checked in their order."""

    def __init__(self) -> None:
        self._identities: dict[int, str] = {}
        self._metadata: dict[int, dict[str, Any]] = {}
        self._proofs = Proofs()

    def check(
        self, root: str, number: int, view: ManifestView, moments: Moments
    ) -> list[Discrepancy]:
        """Compare what s`number` tells of the snapshots before it with what was seen of them.

        `view` is its own manifest, with which the snapshots after it will be compared.
        """
        self._proofs.begin_snapshot()
        found = []
        for earlier, metadata in self._metadata.items():
            name = f"s{earlier}"
            told = view.messages.get(name)
            if told is not None and said(told) != metadata:
                attribute = f"metadata of {name} in sync-messages.json"
                found.append(Discrepancy(".dsg", attribute, str(metadata), str(said(told))))
            path = os.path.join(root, ".dsg", "archive", f"{name}-sync.json.lz4")
            if status_of(path) is not None and not self._is_archive_of(earlier, path, moments):
                found.append(Discrepancy(".dsg/archive", name, f"as in @{name}", "another"))
        if view.metadata:  # it could be read
            self._metadata[number], self._identities[number] = said(view.metadata), view.identity
        return found

    def _is_archive_of(self, number: int, path: str, moments: Moments) -> bool:
        """Compare one archive, unless it is the file that was found right one snapshot ago."""
        try:
            status = os.lstat(path)
            if self._proofs.holds(status, status, number, moments):
                return True
            is_equal = read_archived(path).identity == self._identities[number]
        except UNREADABLE as error:
            if has_failed(error):
                raise
            return False
        if is_equal:
            self._proofs.add(status, status, number)
        return is_equal
