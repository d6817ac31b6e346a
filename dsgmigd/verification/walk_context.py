"""What a walk over one snapshot works with, beside the trees that it reads.

The walk over both sides (`walk`) and the walk over a dataset alone (`standalone`) share it.

Raises: nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dsgmigd.dsg.scope import Scope
from dsgmigd.verification.compare import Discrepancy, printable
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.metadata.documents import ManifestView
from dsgmigd.verification.proof import Moments


@dataclass(frozen=True)
class WalkContext:
    """The manifest and the scope of a snapshot, when it was made, and the result to fill.

    `checkpoint` is called for every entry; whatever it raises ends the walk.
    """

    result: Verification
    view: ManifestView
    scope: Scope
    moments: Moments
    checkpoint: Callable[[], None]

    def differ(self, path: str, attribute: str, expected: object, found: object) -> None:
        """Add a discrepancy at `path`, a path as the file system gave it."""
        self.result.add([Discrepancy(printable(path), attribute, str(expected), str(found))])
