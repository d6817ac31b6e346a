"""Which check a difference fails, and what a result counts."""

import pytest

from dsgmigd.verification.compare import Discrepancy
from dsgmigd.verification.findings import CHECKS, Verification, check_of, count_checks


@pytest.mark.parametrize(
    ("path", "attribute", "check"),
    [
        ("a/b", "presence", "file_transfer"),
        ("a/b", "xattr user.a", "file_transfer"),
        ("a/b", "content", "file_contents"),
        ("a/b", "manifest entry", "manifest_entries"),
        (".dsg", "metadata", "manifests_exist"),
        (".dsg", "files", "manifests_exist"),
        (".dsg", "metadata_version", "metadata_version"),
        (".dsg", "entry_count", "entry_count"),
        (".dsg", "entries_hash", "entries_hash"),
        (".dsg", "metadata in sync-messages.json", "sync_messages"),
        (".dsg", "metadata of s3 in sync-messages.json", "sync_messages"),
        (".dsg", "chain at s3", "snapshot_chain"),
        (".dsg", "snapshot_hash", "snapshot_hash"),
        (".dsg/archive", "s3", "archives"),
        (".dsg", "created_by", "push_log_data"),
    ],
)
def test_every_difference_fails_one_check(path: str, attribute: str, check: str) -> None:
    assert check_of(Discrepancy(path, attribute, "", "")) == check
    assert check in CHECKS


def test_checks_are_counted_over_all_snapshots_and_nothing_is_called_checked_that_was_not() -> None:
    first = Verification("complete", entries=7, files_read=3, files_proven=2, is_push_checked=True)
    second = Verification("structure", entries=7)
    second.add([Discrepancy("a", "mode", "1", "2"), Discrepancy(".dsg", "entries_hash", "", "")])
    counts = count_checks([first, second])
    assert list(counts) == list(CHECKS)
    assert counts["file_transfer"] == {"checked": 14, "failed": 1}
    assert counts["file_contents"] == {"checked": 5, "failed": 0}
    assert counts["push_log_data"] == {"checked": 1, "failed": 0}
    assert counts["entries_hash"] == {"checked": 2, "failed": 1}


@pytest.mark.parametrize(
    ("rows", "check", "reason"),
    [
        ([], "file_transfer", "no snapshot was verified"),
        ([Verification("complete")], "push_log_data", "compared only when a snapshot is made"),
        ([Verification("structure")], "file_contents", "not part of the level structure"),
        ([Verification("complete")], "file_contents", "the snapshots have no files"),
    ],
)
def test_a_check_that_covered_nothing_says_why(
    rows: list[Verification], check: str, reason: str
) -> None:
    assert count_checks(rows)[check] == {"checked": 0, "failed": 0, "reason": reason}
