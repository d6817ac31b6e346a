"""Compare the published dataset with its source, or check it against its own manifests.

Leaving errors: VerificationFailed, TargetMissing or SourceMissing if what was asked for is not
there, NoSnapshots, and those of dsgmigd.staging and dsgmigd.verify.
"""

import time
from collections.abc import Iterable, Sequence

from dsgmigd.checker import SnapshotChecker
from dsgmigd.dsg.archive import DsgDirectory
from dsgmigd.dsg.tags import TagLink
from dsgmigd.errors import DsgmigdError, NoSnapshots, SourceMissing, TargetMissing
from dsgmigd.marks import SNAPSHOT_HASH
from dsgmigd.names import SnapshotName
from dsgmigd.progress import Progress
from dsgmigd.report import Report, SnapshotRow
from dsgmigd.source import HeldSnapshot
from dsgmigd.staging import Staging
from dsgmigd.verify.compare import Discrepancy
from dsgmigd.verify.findings import Verification
from dsgmigd.verify.own_manifest import ManifestVerifier, Stamp
from dsgmigd.zfs.dataset import Dataset, Snapshot


def choose_snapshots(
    staging: Staging,
    in_source: Sequence[SnapshotName],
    asked: SnapshotName | None,
    report: Report,
) -> Sequence[SnapshotName]:
    """Return which snapshots of the source to compare: all of them, or the one asked for.

    What the target has beyond the source cannot be compared with it: the report warns of it.
    """
    published = snapshot_names(find_target(staging, asked))
    if asked is None:
        beyond = [str(name) for name in published if name not in in_source]
        if beyond:
            report.warnings.append(f"not in the source, so not compared: {', '.join(beyond)}")
        return in_source
    if asked not in in_source:
        raise SourceMissing(
            f"the source of {staging.places.repo} has no snapshot {asked}",
            hint=f"check it without: dsgmigd verify {staging.places.repo}@{asked} --without-source",
        )
    return [asked]


def find_target(staging: Staging, asked: SnapshotName | None) -> Dataset:
    """Return the published dataset; raise TargetMissing if it, or the snapshot asked for, is not.

    Without this nothing would be compared, and nothing would differ.
    """
    places = staging.places
    target = staging.read_target()
    if target is None:
        raise TargetMissing(
            f"{places.repo} is not published: there is no dataset {places.target}",
            hint=f"migrate it first: dsgmigd migrate {places.repo}",
        )
    if asked is not None and asked not in snapshot_names(target):
        raise TargetMissing(
            f"the published dataset of {places.repo} has no snapshot {asked}",
            hint=f"see what it has with: zfs list -r -t snapshot {places.target}",
        )
    return target


def snapshot_names(target: Dataset) -> list[SnapshotName]:
    """Return the names sK among the snapshots of `target`, in order."""
    names = [one.name for one in target.snapshots if SnapshotName.is_valid(one.name)]
    return sorted(SnapshotName.parse(name) for name in names)


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


def unpublished_tags(mountpoint: str, links: Iterable[TagLink]) -> list[str]:
    """Return a warning if the published dataset lacks tags that the source has.

    They cannot come into a snapshot that is there already, but will into the next one. What DSG's
    clients made of the document since is theirs: if it cannot be read, nothing is said.
    """
    try:
        known = {tag["tag_id"] for tag in DsgDirectory(mountpoint).read_tags()}
    except DsgmigdError:
        return []
    missing = [link.tag_id for link in links if link.tag_id not in known]
    return [f"tags that only the next snapshot will have: {', '.join(missing)}"] if missing else []


def check_published(
    staging: Staging,
    asked: SnapshotName | None,
    verifier: ManifestVerifier,
    report: Report,
    progress: Progress,
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
        with staging.view(staging.places.target, name) as root:
            found = verifier.verify(
                root, name.number, stamp, is_document_only=asked not in {None, name}
            )
        found.add(_gap(name, before))
        checked[name] = row.verification = found
        row.files, row.seconds = found.files, time.monotonic() - started
        progress.snapshots_done += 1
        before = snapshot
    for name, found in checked.items():
        report.judge(name, found)


def _wanted(
    target: Dataset, asked: SnapshotName | None, report: Report
) -> dict[SnapshotName, Snapshot]:
    """Return the snapshots to look at, in order; the report warns of those with other names."""
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
    """Return which snapshots the chain of `name` speaks of and the dataset has no longer."""
    first = SnapshotName.parse(before.name).number + 1 if before else 1
    numbers = range(first, name.number)
    return [Discrepancy(f"@s{number}", "snapshot", "there", "missing") for number in numbers]
