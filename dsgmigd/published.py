"""Compare the published dataset with its source.

Leaving errors: VerificationFailed, and those of dsgmigd.staging and dsgmigd.verify.
"""

import time

from dsgmigd.names import SnapshotName
from dsgmigd.progress import Progress
from dsgmigd.report import Report, SnapshotRow
from dsgmigd.source import HeldSnapshot
from dsgmigd.staging import Staging
from dsgmigd.verify.proof import Moments
from dsgmigd.verify.verifier import Verifier


def compare_published(
    staging: Staging,
    held: dict[SnapshotName, HeldSnapshot],
    verifier: Verifier,
    report: Report,
    progress: Progress,
) -> list[str]:
    """Compare the target's snapshot of each held source snapshot; return what the target lacks."""
    target = staging.read_target()
    created = {one.name: one.created_at for one in target.snapshots} if target else {}
    before: SnapshotName | None = None
    for name, source in held.items():
        if str(name) not in created:
            continue
        progress.enter("verify", name)
        row = SnapshotRow(str(name), None, is_pinned=source.is_pinned)
        report.snapshots.append(row)
        started = time.monotonic()
        moments = Moments(
            source=tuple(held[one].created_at for one in (before, name) if one),
            target=created[str(before)] if before else None,
        )
        with staging.view(staging.places.target, name) as view:
            found = verifier.verify(source.path, view, name.number, moments)
        row.files, row.verification = found.files, found
        row.seconds = time.monotonic() - started
        report.judge(name, found)
        before = name
    return [str(name) for name in held if str(name) not in created]
