"""Compares the published dataset with its source, or checks it against its own manifests.

Raises: VerificationFailed, TargetMissing or SourceMissing if what was asked for is not
there, NoSnapshots, and those of dsgmigd.target.staging and dsgmigd.verification.
"""

import time
from collections.abc import Sequence

from dsgmigd.dsg.archive import DsgDirectory
from dsgmigd.dsg.tags import TagLink
from dsgmigd.errors import DsgmigdError, NoSnapshots, SourceMissing
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.report import Report, SnapshotRow
from dsgmigd.migration.run import Run
from dsgmigd.names import SnapshotName
from dsgmigd.request import VerifyLevel
from dsgmigd.target.dataset import Dataset, Snapshot
from dsgmigd.target.layout import SNAPSHOT_HASH
from dsgmigd.target.publication import find_target, snapshot_names
from dsgmigd.target.published_marks import PublishedMarks
from dsgmigd.target.staging import Staging
from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.standalone import ManifestVerifier, Stamp


def choose_snapshots(
    staging: Staging,
    in_source: Sequence[SnapshotName],
    asked: SnapshotName | None,
    report: Report,
) -> Sequence[SnapshotName]:
    """Return which snapshots of the source to compare: all of them, or the one asked for.

    Snapshots that only the target has cannot be compared: the report warns about them.
    """
    published = snapshot_names(find_target(staging, asked))
    if asked is None:
        beyond = [str(name) for name in published if name not in in_source]
        if beyond:
            report.warnings.append(f"not in the source, so not compared: {', '.join(beyond)}")
        return in_source
    if asked not in in_source:
        raise SourceMissing(
            f"the source of {staging.layout.repo} has no snapshot {asked}",
            hint=f"check it without: dsgmigd verify {staging.layout.repo}@{asked} --without-source",
        )
    return [asked]


def unpublished_tags(staging: Staging, links: Sequence[TagLink]) -> list[str]:
    """Return a warning if the published dataset lacks tags that the source has.

    They cannot come into a snapshot that is there already, but will into the next one. The newest
    snapshot is read: the live files belong to users, who may have put anything there.
    """
    if not links:
        return []
    dataset = staging.layout.target
    newest = snapshot_names(find_target(staging, None))[-1]
    staging.area.prepare()
    try:
        with staging.view(dataset, newest) as root:
            known = {tag["tag_id"] for tag in DsgDirectory(root).read_tags()}
    except DsgmigdError as error:
        return [f"the tags in {dataset}@{newest} were not compared: {error.message}"]
    missing = [link.tag_id for link in links if link.tag_id not in known]
    return (
        [f"tags that will first be in the next snapshot: {', '.join(missing)}"] if missing else []
    )


def check_published(
    staging: Staging,
    asked: SnapshotName | None,
    verifier: ManifestVerifier,
    *,
    report: Report,
    progress: Progress,
    marks: PublishedMarks,
) -> None:
    """Check every snapshot of the target against its own manifest, whoever made it.

    With `asked` only that one's files are checked, and of those before it the documents, which its
    chain and its archive have to agree with. All are checked before any is judged.
    """
    wanted = _wanted(find_target(staging, asked), asked, report)
    progress.snapshots_wanted = len(wanted)
    checked: dict[SnapshotName, Verification] = {}
    before: Snapshot | None = None
    for name, snapshot in wanted.items():
        progress.enter("verify", name)
        row = SnapshotRow(str(name), None, is_pinned=False)
        report.snapshots.append(row)
        started = time.monotonic()
        stamp = Stamp(snapshot.properties.get(SNAPSHOT_HASH), before.created_at if before else None)
        with staging.view(staging.layout.target, name) as root:
            is_document_only = asked not in {None, name}
            found = verifier.verify(root, name.number, stamp, is_document_only=is_document_only)
        found.add(_gap(name, before))
        if found.discrepancy_count or not is_document_only:
            marks.note(snapshot, found.discrepancy_count, found.level, "manifests")
        checked[name] = row.verification = found
        row.files, row.seconds = found.files, time.monotonic() - started
        progress.snapshots_done += 1
        before = snapshot
    for name, found in checked.items():
        report.raise_on_discrepancies(name, found, published=staging.layout.target)


def _wanted(
    target: Dataset, asked: SnapshotName | None, report: Report
) -> dict[SnapshotName, Snapshot]:
    """Return the snapshots to check, in order; the report warns about other names."""
    by_name = {one.name: one for one in target.snapshots}
    names = snapshot_names(target)
    if not names:
        raise NoSnapshots(
            f"{target.name} has no snapshot s1 … sN",
            hint=f"see what it has with: zfs list -r -t snapshot {target.name}",
        )
    foreign = [one for one in by_name if not SnapshotName.is_valid(one)]
    if foreign and asked is None:
        report.warnings.append(f"not called s1 … sN, so not checked: {', '.join(foreign)}")
    return {name: by_name[str(name)] for name in names if asked is None or name <= asked}


def _gap(name: SnapshotName, before: Snapshot | None) -> list[Discrepancy]:
    """Return the snapshots in the chain of `name` that the dataset no longer has."""
    first = SnapshotName.parse(before.name).number + 1 if before else 1
    numbers = range(first, name.number)
    return [Discrepancy(f"@s{number}", "snapshot", "there", "missing") for number in numbers]


class PublishedCheck(Run):
    """Verifies a published dataset, against its source or by itself."""

    is_verification = True

    def run(self) -> Report:
        """Do what the request says."""
        check = self.check if self.job.request.without_source else self.verify
        return check(level=self.level)

    def verify(self, *, level: VerifyLevel, snapshot: SnapshotName | None = None) -> Report:
        """Compare the published dataset with its source: every snapshot, or `snapshot`."""
        repository, plan = self.survey()
        wanted = choose_snapshots(self.staging, plan.wanted, snapshot, self.report)
        pins = self.pins_in(repository)
        self.report.level = level
        try:
            self.staging.area.prepare()
            with self.reading(pins):
                held = {name: pins.hold(repository.snapshot(name)) for name in wanted}
                missing = self.compare_with_source(held, level)
            if missing:
                self.report.warnings.append(f"not in the target yet: {', '.join(missing)}")
        finally:
            self.release(pins)
            self.renew_record()
        self.report.outcome = "verified"
        return self.report

    def check(self, *, level: VerifyLevel, snapshot: SnapshotName | None = None) -> Report:
        """Check the published dataset against its own manifests; no source is needed."""
        self.report.has_source, self.report.level = False, level
        self.check_target()
        self.note_target(self.staging.read_target())
        self.staging.area.prepare()
        verifier = ManifestVerifier(
            level=level,
            hash_threads=self.settings.hash_threads,
            checkpoint=self.progress.checkpoint,
            note=self.note,
        )
        try:
            check_published(
                *(self.staging, snapshot, verifier),
                report=self.report,
                progress=self.progress,
                marks=self.marks,
            )
        finally:
            self.renew_record()
        self.report.outcome = "verified"
        return self.report
