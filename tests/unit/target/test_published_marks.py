"""Which marks a verification leaves on the snapshots of a published dataset."""

import pytest

from dsgmigd.names import SnapshotName
from dsgmigd.request import VerifyLevel
from dsgmigd.target.dataset import Snapshot
from dsgmigd.target.marks import Against, differs_mark, verified_mark
from dsgmigd.target.published_marks import PublishedMarks
from dsgmigd.target.staging import Staging
from tests.unit.staged_series import publish_series

S1 = SnapshotName(1)


class Marked:
    """The published snapshot s1, which was verified at `complete` when it was made."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._marks = PublishedMarks(staging.zfs, staging.layout.target, "r2")
        publish_series(staging, S1)

    def read(self) -> Snapshot:
        dataset = self._staging.read_target()
        assert dataset is not None
        (snapshot,) = dataset.snapshots
        return snapshot

    def note(self, count: int, level: VerifyLevel, against: Against) -> tuple[str | None, bool]:
        """Note a verification; return the level on record, and whether it counts as different."""
        self._marks.note(self.read(), count, level, against)
        verified = verified_mark(self.read().properties)
        differs = differs_mark(self.read().properties)
        return verified.level if verified else None, differs is not None

    def note_version(self, version: int) -> str | None:
        self._marks.note_version(self.read(), version)
        return self.read().properties.get("source_ctransid")


@pytest.fixture
def marked(staging: Staging) -> Marked:
    return Marked(staging)


def test_a_mark_never_becomes_weaker(marked: Marked) -> None:
    assert marked.note(0, "structure", "source") == ("complete", False)
    assert marked.note(0, "exhaustive", "source") == ("exhaustive", False)
    assert marked.note(0, "complete", "source") == ("exhaustive", False)


def test_the_newest_verification_of_a_level_is_on_record(marked: Marked) -> None:
    marked.note(0, "complete", "source")
    mark = verified_mark(marked.read().properties)
    assert mark is not None
    assert mark.request_id == "r2"


def test_manifests_alone_prove_nothing_of_the_source(marked: Marked) -> None:
    assert marked.note(0, "exhaustive", "manifests") == ("complete", False)


def test_what_differs_is_marked_until_it_is_refuted(marked: Marked) -> None:
    assert marked.note(7, "complete", "source") == ("complete", True)
    mark = differs_mark(marked.read().properties)
    assert mark is not None
    assert (mark.count, mark.level, mark.against, mark.request_id) == (
        *(7, "complete", "source"),
        "r2",
    )
    assert marked.note(0, "structure", "source") == ("complete", True)
    assert marked.note(0, "exhaustive", "manifests") == ("complete", True)
    assert marked.note(0, "complete", "source") == ("complete", False)
    assert marked.note(1, "structure", "source") == ("complete", True)


def test_the_version_of_the_source_is_recorded(marked: Marked) -> None:
    assert marked.note_version(77) == "77"
