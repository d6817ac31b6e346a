"""What operators said, as files: pauses, cancels, what was withdrawn."""

import os
from pathlib import Path

import pytest

from dsgmigd.errors import AlreadyRunning
from dsgmigd.names import RepoName
from dsgmigd.spool.control import Cancel, Control, Pauses
from dsgmigd.spool.layout import SpoolLayout

SV = RepoName("SV")


@pytest.fixture
def control(tmp_path: Path) -> Control:
    layout = SpoolLayout(str(tmp_path))
    Path(layout.control).mkdir(parents=True)
    return Control(layout)


def test_a_cancel_is_for_the_request_that_it_names_and_for_no_other(control: Control) -> None:
    control.ask_to_cancel(SV, Cancel("one", discard=True))

    assert control.cancel_for(SV, "one") == Cancel("one", discard=True)
    assert control.cancel_for(SV, "two") is None
    assert control.cancel_for(RepoName("CO"), "one") is None


def test_a_dropped_cancel_is_gone_and_may_be_dropped_again(control: Control) -> None:
    control.ask_to_cancel(SV, Cancel("one", discard=False))
    control.drop_cancel(SV)
    control.drop_cancel(SV)

    assert control.cancels() == []


def test_each_pause_is_taken_back_by_itself(control: Control) -> None:
    control.pause(SV)
    control.pause(instance=2)
    control.pause()
    control.pause()
    assert control.pauses() == Pauses(
        is_all=True, instances=frozenset({2}), repositories=frozenset({"SV"})
    )

    assert control.resume()
    assert not control.resume()
    assert control.pauses() == Pauses(instances=frozenset({2}), repositories=frozenset({"SV"}))
    assert control.resume(instance=2)
    assert control.resume(SV)
    assert control.pauses() == Pauses()


@pytest.mark.parametrize("name", ["all", "1", "1.instance", "x.cancel", "x.paused", "lock", "new"])
def test_a_repository_whose_name_looks_like_a_file_of_ours_is_paused_alone(
    control: Control, name: str
) -> None:
    control.pause(RepoName(name))

    assert control.pauses() == Pauses(repositories=frozenset({name}))
    assert control.cancels() == []
    assert control.withdrawn() == []


def test_what_nobody_made_here_is_not_looked_at(control: Control) -> None:
    for name in ("x.instance", "../x", "-x.cancel", "-x.id.withdrawn", ".withdrawn", "README"):
        Path(control.directory, os.path.basename(name)).touch()

    assert control.pauses() == Pauses()
    assert control.cancels() == []
    assert control.withdrawn() == []


def test_without_the_directory_nothing_is_paused(tmp_path: Path) -> None:
    assert Control(SpoolLayout(str(tmp_path / "nowhere"))).pauses() == Pauses()


def test_two_verbs_do_not_change_the_queue_at_once(control: Control) -> None:
    named = rf"changing the queue: .*\(pid {os.getpid()}, user "
    with control.held(), pytest.raises(AlreadyRunning, match=named), control.held():
        pass
    with control.held():
        pass


@pytest.mark.parametrize(
    ("pauses", "held_back"),
    [
        (Pauses(), []),
        (Pauses(repositories=frozenset({"B", "Z"})), ["B"]),
        (Pauses(is_all=True), ["A", "B"]),
        (Pauses(instances=frozenset({1})), []),
        (Pauses(instances=frozenset({1, 2, 3})), ["A", "B"]),
    ],
)
def test_a_request_waits_because_of_a_pause_if_nobody_who_lives_may_claim_it(
    pauses: Pauses, held_back: list[str]
) -> None:
    assert pauses.paused_requests(["A", "B"], {1, 2}) == held_back


def test_without_an_instance_requests_wait_because_of_that() -> None:
    assert Pauses(instances=frozenset({1})).paused_requests(["A"], set()) == []
