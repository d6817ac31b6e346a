"""The numbers of instances, and what they say of themselves."""

import os
from pathlib import Path

import pytest

from dsgmigd.errors import AlreadyRunning
from dsgmigd.spool.instances import Instances
from dsgmigd.spool.layout import SpoolLayout
from dsgmigd.spool.spool import Spool


def test_two_processes_cannot_be_the_same_instance(directory: Path) -> None:
    waits: list[float] = []
    lock = Instances(SpoolLayout(str(directory)), 1).lock()
    other = Instances(SpoolLayout(str(directory)), 1, sleep=waits.append)

    with pytest.raises(
        AlreadyRunning, match=rf"instance 1 .* on this spool: .*\(pid {os.getpid()}, user "
    ):
        other.lock()

    assert 1 < sum(waits) < 10
    lock.release()
    other.lock().release()


def test_who_holds_an_instances_lock_for_a_moment_does_not_keep_it_from_starting(
    directory: Path,
) -> None:
    layout = SpoolLayout(str(directory))
    holding = [Instances(layout, 1).lock()]  # as `dsgmigd status` does, to see whether it runs
    Instances(layout, 1, sleep=lambda _: holding.pop().release()).lock().release()
    assert holding == []


def test_only_living_instances_have_a_status(spool: Spool) -> None:
    spool.instances.write_status({"instance": 1, "status": "idle"})
    assert spool.instances.read_statuses() == {}

    lock = spool.instances.lock()

    assert spool.instances.read_statuses() == {1: {"instance": 1, "status": "idle"}}
    lock.release()


def test_the_status_of_a_number_that_never_ran_is_not_looked_for(spool: Spool) -> None:
    assert not spool.instances.is_alive(9)
    assert spool.instances.numbers() == {1}


def test_an_instance_is_alive_while_its_process_holds_the_lock(directory: Path) -> None:
    layout = SpoolLayout(str(directory))
    lock = Instances(layout, 12).lock()
    looking = Spool(str(directory)).instances
    assert (looking.is_alive(12), looking.numbers()) == (True, {12})
    assert looking.is_alive(12), "to look must not take the lock"

    lock.release()

    assert (looking.is_alive(12), looking.numbers()) == (False, {12})


def test_a_status_replaces_the_last_one_whole(spool: Spool) -> None:
    lock = spool.instances.lock()
    for text in ("a long status", "idle"):
        spool.instances.write_status({"instance": 1, "status": text})
    assert spool.instances.read_statuses() == {1: {"instance": 1, "status": "idle"}}
    assert os.listdir(spool.layout.work) == []
    lock.release()


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}"])
def test_an_instance_that_has_said_nothing_yet_has_no_status(
    spool: Spool, content: bytes | None
) -> None:
    lock = spool.instances.lock()
    if content is not None:
        Path(spool.layout.instance_status(1)).write_bytes(content)
    assert spool.instances.read_statuses() == {}
    lock.release()


def test_a_spool_that_was_never_prepared_has_no_instances(tmp_path: Path) -> None:
    assert Spool(str(tmp_path)).instances.read_statuses() == {}
