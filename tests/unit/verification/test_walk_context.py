"""What both walks share: a difference becomes a discrepancy of the result."""

import os

from dsgmigd.dsg.scope import EVERYTHING
from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.metadata.documents import ManifestView, SyncMessages
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.walk_context import WalkContext


def test_a_difference_is_noted_with_a_path_and_values_that_can_be_printed() -> None:
    noted: list[Discrepancy] = []
    result = Verification("complete", note=noted.extend)
    view = ManifestView(SyncMessages(".dsg"))
    context = WalkContext(result, view, EVERYTHING, Moments(), lambda: None)
    context.differ(os.fsdecode(b"latin-\xe9"), "size", 3, None)
    assert noted == [Discrepancy("latin-\\xe9", "size", "3", "None")]
    assert result.discrepancies == noted
