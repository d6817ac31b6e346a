"""Compare the published dataset with its source.

Leaving errors: VerificationFailed, and those of dsgmigd.staging and dsgmigd.verify.
"""

import time

from dsgmigd.checker import SnapshotChecker
from dsgmigd.names import SnapshotName
from dsgmigd.progress import Progress
from dsgmigd.report import Report, SnapshotRow
from dsgmigd.source import HeldSnapshot
from dsgmigd.staging import Staging


def compare_published(
    staging: Staging,
    held: dict[SnapshotName, HeldSnapshot],
    checker: SnapshotChecker,
    report: Report,
    progress: Progress,
) -> list[str]:
    """Compare the target's snapshot of each held source snapshot; return what the target lacks."""
    dataset = staging.read_target()
    created = {one.name: one.created_at for one in dataset.snapshots} if dataset else {}
    there = [name for name in held if str(name) in created]
    for name in there:
        source = held[name]
        progress.enter("verify", name)
        row = SnapshotRow(str(name), None, is_pinned=source.is_pinned)
        report.snapshots.append(row)
        started = time.monotonic()
        target = staging.places.target
        found = checker.check(source, target, created[str(name)], is_last=name == there[-1])
        row.files, row.verification = found.files, found
        row.seconds = time.monotonic() - started
        report.judge(name, found)
    return [str(name) for name in held if str(name) not in created]
