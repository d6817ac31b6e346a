"""What the reporting thread reads of the work, and how the work learns that it must end."""

import pytest

from dsgmigd.errors import InterruptedByStop, RequestCancelled
from dsgmigd.migration.progress import Progress
from dsgmigd.names import SnapshotName


def test_every_piece_of_work_moves_the_count_of_steps() -> None:
    progress = Progress()
    progress.checkpoint()
    progress.enter("copy")
    assert progress.steps_done == 2


def test_a_step_that_begins_without_a_snapshot_is_of_the_same_snapshot() -> None:
    progress = Progress()
    progress.enter("copy", SnapshotName(3))
    progress.enter("verify")
    assert (progress.step, progress.snapshot) == ("verify", "s3")


def test_work_that_is_asked_to_stop_ends_at_the_next_checkpoint() -> None:
    progress = Progress()
    progress.checkpoint()
    progress.stop_requested = True
    with pytest.raises(InterruptedByStop):
        progress.checkpoint()
    with pytest.raises(InterruptedByStop):
        progress.enter("copy")
    assert progress.step == "copy"


def test_a_cancel_wins_over_a_stop() -> None:
    with pytest.raises(RequestCancelled):
        Progress(stop_requested=True, cancel_requested=True).checkpoint()


def test_the_piece_of_work_at_which_it_ends_is_counted_too() -> None:
    progress = Progress(cancel_requested=True)
    with pytest.raises(RequestCancelled):
        progress.checkpoint()
    assert progress.steps_done == 1


def test_a_status_has_what_people_look_for_and_no_flags() -> None:
    progress = Progress("SV", "id", stop_requested=True, cancel_requested=True)
    progress.snapshots_wanted, progress.bytes_written = 3, 17
    assert progress.to_json() == {
        "repo": "SV",
        "request_id": "id",
        "snapshot": None,
        "step": None,
        "snapshots_done": 0,
        "snapshots_wanted": 3,
        "bytes_written": 17,
    }


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(), "idle"),
        (Progress("SV"), "SV - - (0/0, 0.0 MB)"),
        (
            Progress(
                *("SV", "id", "s2", "copy"),
                snapshots_done=1,
                snapshots_wanted=3,
                bytes_written=1_250_000,
            ),
            "SV s2 copy (1/3, 1.2 MB)",
        ),
    ],
)
def test_the_line_of_a_status_names_repository_snapshot_and_step(
    progress: Progress, line: str
) -> None:
    assert str(progress) == line
