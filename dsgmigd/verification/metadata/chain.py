"""Compare what a snapshot says about earlier snapshots with what they say about themselves.

Compared are their metadata in sync-messages.json and their archived manifests. Manifests are
compared as documents, not as bytes, because DSG's client changes the layout when it archives them.
That the series is complete, without a missing archive, is checked in `documents`.

Raises: OSError, if the file system failed. Differences are data.
"""

import os
from collections.abc import Callable
from typing import Any

from dsgmigd.host.file_errors import has_failed, status_of
from dsgmigd.host.regular import Unfit
from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.metadata.documents import (
    UNREADABLE,
    ManifestView,
    read_archived,
    without_nulls,
)
from dsgmigd.verification.metadata.files import metadata_directory
from dsgmigd.verification.proof import Moments, Proofs


class Chain:
    """The manifests of one dataset, whose snapshots are checked in order.

    `checkpoint` is called for every piece of an archived manifest.
    """

    def __init__(self, checkpoint: Callable[[], None] = lambda: None) -> None:
        self._checkpoint = checkpoint
        self._identities: dict[int, str] = {}
        self._metadata: dict[int, dict[str, Any]] = {}
        self._proofs = Proofs()

    def check(
        self, root: str, number: int, view: ManifestView, moments: Moments
    ) -> list[Discrepancy]:
        """Compare what s`number` says about the snapshots before it with their own documents.

        `view` is its own manifest, with which the snapshots after it are compared.
        """
        self._proofs.begin_snapshot()
        found: list[Discrepancy] = []
        try:
            directory = metadata_directory(root)
        except Unfit:
            return found  # `documents` reports it
        for earlier, metadata in self._metadata.items():
            name = f"s{earlier}"
            recorded = view.messages.get(name)
            if recorded is not None and without_nulls(recorded) != metadata:
                attribute = f"metadata of {name} in sync-messages.json"
                found.append(
                    Discrepancy(".dsg", attribute, str(metadata), str(without_nulls(recorded)))
                )
            path = os.path.join(directory, "archive", f"{name}-sync.json.lz4")
            if status_of(path) is not None and not self._compare_archive(earlier, path, moments):
                found.append(
                    Discrepancy(
                        ".dsg/archive", name, f"the manifest of @{name}", "different manifest"
                    )
                )
        if view.metadata:  # it could be read
            self._metadata[number], self._identities[number] = (
                without_nulls(view.metadata),
                view.identity,
            )
        return found

    def _compare_archive(self, number: int, path: str, moments: Moments) -> bool:
        """Return whether an archive is right; compare it unless it is proven unchanged."""
        try:
            status = os.lstat(path)
            if self._proofs.renew(status, status, number, moments):
                return True
            is_equal = read_archived(path, self._checkpoint).identity == self._identities[number]
        except UNREADABLE as error:
            if has_failed(error):
                raise
            return False
        if is_equal:
            self._proofs.add(status, status, number)
        return is_equal
