"""Results of the commands in the foreground."""

from dsgmigd.cli.migration import _summary
from dsgmigd.migration.report import Report, SnapshotRow
from dsgmigd.migration.result import Ending, Result
from dsgmigd.request import LOSSES
from dsgmigd.verification.findings import Loss, Verification


def test_the_result_names_every_allowed_loss_in_words() -> None:
    losses: dict[str, Loss] = {name: Loss(name, 8899, ["s1/file"]) for name in LOSSES}
    ending = Ending(Report(losses=losses))
    result = Result(ending, "id", "SV", {}, instance=0, started_at=0, finished_at=1).to_json()
    assert _summary(result).splitlines() == [
        "allowed losses: extended attributes on 8,899 paths",
        "allowed losses: POSIX ACLs on 8,899 paths",
        "allowed losses: modification times below the second on 8,899 paths",
        "allowed losses: modification times out of the target's range on 8,899 paths",
        "allowed losses: users, times and messages of pushes on 8,899 snapshots",
        "SV: done",
    ]


def test_the_summary_says_what_was_not_checked_and_counts_all_seconds() -> None:
    found = Verification("complete", entries=3, files_read=1)
    row = SnapshotRow("s1", "send", is_pinned=True, seconds=1.5, verify_seconds=0.25)
    row.verification = found
    ending = Ending(Report(snapshots=[row]))
    result = Result(ending, "id", "SV", {}, instance=0, started_at=0, finished_at=1).to_json()
    lines = _summary(result).splitlines()
    assert lines[1].split()[-1] == "1.75"
    assert lines[2:] == [
        "not checked: push log data: compared only when a snapshot is made",
        "verified by this run: 1 snapshots, level complete",
        "SV: done",
    ]
