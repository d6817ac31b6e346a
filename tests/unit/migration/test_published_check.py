"""Which snapshots of a published dataset are compared, on a zfs that keeps its pool in memory."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dsgmigd.errors import NoSnapshots, SourceMissing, TargetMissing, VerificationFailed
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.published_check import check_published, choose_snapshots
from dsgmigd.migration.report import Report
from dsgmigd.names import SnapshotName, parse_dataset_name, parse_repo_name
from dsgmigd.target.dataset import PROPERTY_PREFIX
from dsgmigd.target.layout import SNAPSHOT_HASH, DatasetLayout
from dsgmigd.target.publication import find_target
from dsgmigd.target.published_marks import PublishedMarks
from dsgmigd.target.staging import Staging
from dsgmigd.target.zfs import Zfs
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.standalone import ManifestVerifier, Stamp
from tests.unit.fake_zfs import FakeZfs
from tests.unit.verification.metadata.dsg_documents import write_documents

S1, S2, S3, S4 = map(SnapshotName, (1, 2, 3, 4))


class Target:
    """The published dataset SV, made by somebody with nothing of dsgmigd."""

    def __init__(self, commands: FakeZfs) -> None:
        self.commands = commands
        layout = DatasetLayout(parse_dataset_name("zsd"), "zsd/.dsgmigd", parse_repo_name("SV"))
        self.staging = Staging(Zfs(commands, sleep=lambda _: None), layout, "r1")
        self.staging.area.prepare()
        self.report = Report(has_source=False)
        self.marks = PublishedMarks(self.staging.zfs, "zsd/SV", "r1")

    def create(self) -> Path:
        self.commands.output("zfs", "create", "zsd/SV")
        root = self.commands.mountpoint("zsd/SV")
        (root / "file").write_text("content")
        return root

    def take(self, *numbers: int, before: Callable[[Path], object] = lambda _: None) -> None:
        """Make snapshots with correct documents, spoiled by `before`."""
        for number in numbers:
            root = self.commands.mountpoint("zsd/SV")
            write_documents(root, number)
            before(root)
            self.commands.output("zfs", "snapshot", f"zsd/SV@s{number}")

    def check(self, asked: SnapshotName | None = None) -> list[tuple[str, str, int]]:
        """Check it; return name, level and number of discrepancies of each row."""
        verifier = ManifestVerifier(level="complete", hash_threads=2)
        check_published(
            *(self.staging, asked, verifier),
            report=self.report,
            progress=Progress(),
            marks=self.marks,
        )
        found = [(row.name, row.verification) for row in self.report.snapshots]
        return [(name, one.level, one.discrepancy_count) for name, one in found if one]


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(FakeZfs(tmp_path))


def spoil(root: Path) -> None:
    """Change a file's content and nothing else."""
    before = (root / "file").stat()
    (root / "file").write_text("CONTENT")
    os.utime(root / "file", ns=(before.st_atime_ns, before.st_mtime_ns))


def test_every_snapshot_is_checked_in_the_order_of_its_number(target: Target) -> None:
    target.create()
    target.take(*range(1, 12))
    assert target.check() == [(f"s{number}", "complete", 0) for number in range(1, 12)]
    assert [row.files for row in target.report.snapshots] == [1] * 11
    assert "zsd/.dsgmigd/views/SV" not in target.commands.names()


def test_of_the_snapshots_before_the_one_asked_for_the_documents_are_checked(
    target: Target,
) -> None:
    target.create()
    target.take(1, 2, 3)
    assert target.check(S2) == [("s1", "structure", 0), ("s2", "complete", 0)]


def test_each_check_is_told_when_the_snapshot_before_was_made(target: Target) -> None:
    target.create()
    target.take(1, 2, 3)
    stamps: list[Stamp] = []

    class Recorder(ManifestVerifier):
        def verify(
            self, root: str, number: int, stamp: Stamp, *, is_document_only: bool = False
        ) -> Verification:
            stamps.append(stamp)
            return super().verify(root, number, stamp, is_document_only=is_document_only)

    recorder = Recorder(level="complete", hash_threads=2)
    check_published(
        *(target.staging, None, recorder),
        report=target.report,
        progress=Progress(),
        marks=target.marks,
    )
    published = target.staging.read_target()
    assert published is not None
    made = [snapshot.created_at for snapshot in published.snapshots]
    assert [stamp.created_before for stamp in stamps] == [None, *made[:2]]


def test_all_are_checked_before_any_is_judged(target: Target) -> None:
    target.create()
    target.take(1)
    target.take(2, before=spoil)
    target.take(3)
    with pytest.raises(
        VerificationFailed, match="s2: 1 differences between its manifests"
    ) as caught:
        target.check()
    assert [row.name for row in target.report.snapshots if row.verification] == ["s1", "s2", "s3"]
    assert "zpool status" in caught.value.hint


def test_the_hash_that_is_noted_on_a_snapshot_is_compared(target: Target) -> None:
    target.create()
    target.take(1)
    wrong = f"{PROPERTY_PREFIX}{SNAPSHOT_HASH}={'0' * 16}"
    target.commands.output("zfs", "set", wrong, "zsd/SV@s1")
    with pytest.raises(VerificationFailed, match="snapshot_hash"):
        target.check()


def test_snapshots_with_other_names_are_left_out_with_a_warning(target: Target) -> None:
    target.create()
    target.take(1)
    target.commands.output("zfs", "snapshot", "zsd/SV@sync-temp-7")
    assert target.check() == [("s1", "complete", 0)]
    assert target.report.warnings == ["not called s1 … sN, so not checked: sync-temp-7"]


def test_a_snapshot_that_is_gone_is_missed_by_the_next(target: Target) -> None:
    target.create()
    target.take(1, 2, 3, 4)
    for name in ("s2", "s3"):
        target.commands.output("zfs", "destroy", f"zsd/SV@{name}")
    with pytest.raises(VerificationFailed, match=r"s4: 2 differences .*@s2: snapshot is missing"):
        target.check()


def test_a_dataset_without_snapshots_is_not_verified(target: Target) -> None:
    target.create()
    target.commands.output("zfs", "snapshot", "zsd/SV@other")
    with pytest.raises(NoSnapshots, match="zsd/SV has no snapshot"):
        target.check()


@pytest.mark.parametrize("asked", [None, S1])
def test_a_target_that_is_not_there_is_not_verified(
    target: Target, asked: SnapshotName | None
) -> None:
    with pytest.raises(TargetMissing, match="SV is not published") as caught:
        find_target(target.staging, asked)
    assert "dsgmigd migrate SV" in caught.value.hint


def test_a_snapshot_that_the_target_lacks_is_named(target: Target) -> None:
    target.create()
    target.take(1)
    for ask in (target.check, lambda one: choose(target, [S1, S2], one)):
        with pytest.raises(TargetMissing, match="dataset of SV has no snapshot s2") as caught:
            ask(S2)
        assert "zfs list -r -t snapshot zsd/SV" in caught.value.hint


# With a source.


def choose(
    target: Target, in_source: list[SnapshotName], asked: SnapshotName | None
) -> list[SnapshotName]:
    return list(choose_snapshots(target.staging, in_source, asked, target.report))


def test_all_snapshots_of_the_source_are_compared_or_the_one_asked_for(target: Target) -> None:
    target.create()
    target.take(1, 2)
    assert choose(target, [S1, S2, S3], None) == [S1, S2, S3]
    assert choose(target, [S1, S2, S3], S2) == [S2]
    assert target.report.warnings == []


def test_what_the_source_lacks_is_a_warning_or_an_error_if_it_was_asked_for(
    target: Target,
) -> None:
    target.create()
    target.take(1, 2, 3, 4)
    assert choose(target, [S1, S2], None) == [S1, S2]
    assert target.report.warnings == ["not in the source, so not compared: s3, s4"]
    with pytest.raises(SourceMissing, match="source of SV has no snapshot s4") as caught:
        choose(target, [S1, S2], S4)
    assert "dsgmigd verify SV@s4 --without-source" in caught.value.hint
