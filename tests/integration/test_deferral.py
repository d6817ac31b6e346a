"""A target that is away for a while: the request waits in the spool, and goes on by itself."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import bed
import pytest

from dsgmigd.config import read_config
from dsgmigd.errors import TargetUnavailable
from dsgmigd.host.command import Commands
from dsgmigd.migration.job import Job
from dsgmigd.migration.migration import Migration
from dsgmigd.migration.progress import Progress
from dsgmigd.names import parse_repo_name
from dsgmigd.request import Request
from tests.integration import zfs_kind
from tests.integration.conftest import SPOOL_ID, Bed, write_config
from tests.integration.processes import (
    assert_clean,
    child_of,
    is_stopped,
    wait_for,
    wait_started,
)
from tests.integration.trees import assert_migrated, filling, new_series, writing
from tests.invariants import Asked, observe, violations

BIG_MIB = 24


def configure(
    made: Bed, extra: str = "", *, first_seconds: int = 1, retry_for_seconds: int = 600
) -> None:
    """Let requests wait for seconds instead of minutes."""
    write_config(made, extra, retry_for_seconds=retry_for_seconds)
    waits = f"[retry]\nfirst_seconds = {first_seconds}\nlongest_seconds = {2 * first_seconds}\n"
    made.config.write_text(made.config.read_text().replace("[retry]\n", waits))


def wait_deferred(made: Bed, code: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = made.status()["deferred"]
        return next((one for one in found if one["error"]["code"] == code), None)

    return wait_for(look, f"a request put off by {code}", made=made)


def events(made: Bed, instance: int, name: str) -> list[str]:
    lines = made.log(instance).read_text(errors="replace").splitlines()
    return [line for line in lines if name in line]


def test_a_full_target_is_waited_for(fresh_bed: Bed) -> None:
    series = new_series(
        fresh_bed, "SV", writing(a="a"), filling("big", BIG_MIB), writing(a="changed")
    )
    configure(fresh_bed)
    world = observe(
        spool=fresh_bed.spool, source_root=fresh_bed.source_root, parent=fresh_bed.parent
    )
    bed.run("zfs", "set", "quota=12M", fresh_bed.parent)
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    deferred = wait_deferred(fresh_bed, "target_full")
    assert "quota" in deferred["error"]["hint"]
    said = re.compile("retrying: SV at .*target_full")
    wait_for(lambda: said.search(fresh_bed.dsgmigd("status").stdout), "the words", made=fresh_bed)
    assert not (fresh_bed.spool / "SV.result.json").exists()
    assert violations(world, Asked({"SV": 1})) == []
    bed.run("zfs", "set", "quota=none", fresh_bed.parent)
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["error"]) == ("done", None)
    assert [row["name"] for row in result["snapshots"]] == ["s2", "s3"]
    ends = [attempt["ended"] for attempt in result["attempts"]]
    assert (set(ends[:-1]), ends[-1]) == ({"deferred"}, "done")
    assert result["attempts"][0]["error"]["code"] == "target_full"
    assert len(events(fresh_bed, 1, "request.deferred")) == len(ends) - 1
    assert_migrated(fresh_bed, "SV", series.directory, 3)
    assert_clean(fresh_bed)


def test_others_are_served_while_one_waits_and_another_worker_may_go_on(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "BIG", filling("big", BIG_MIB))
    new_series(fresh_bed, "SMALL", writing(a="a"))
    configure(fresh_bed)
    bed.run("zfs", "set", "quota=12M", fresh_bed.parent)
    worker = fresh_bed.start_worker(1)
    fresh_bed.drop("BIG")
    wait_deferred(fresh_bed, "target_full")
    fresh_bed.drop("SMALL")
    assert fresh_bed.wait_result("SMALL")["outcome"] == "done"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    bed.run("zfs", "set", "quota=none", fresh_bed.parent)
    fresh_bed.start_worker(2)
    result = fresh_bed.wait_result("BIG")
    assert (result["outcome"], result["instance"]) == ("done", 2)


def test_an_exported_pool_is_waited_for(fresh_bed: Bed, pool: bed.FilePool) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"), writing(a="b"))
    configure(fresh_bed)
    bed.run("zpool", "export", pool.name)
    try:
        fresh_bed.start_worker(1)
        fresh_bed.drop("SV")
        deferred = wait_deferred(fresh_bed, "target_unavailable")
        assert f"zpool import {pool.name}" in deferred["error"]["hint"]
    finally:
        import_pool(pool)
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, 2)
    assert_clean(fresh_bed)


def test_a_parent_that_is_not_mounted_yet_is_waited_for(fresh_bed: Bed) -> None:
    """As a pool is for a moment when it is imported, and when the host boots."""
    series = new_series(fresh_bed, "SV", writing(a="a"), writing(a="b"))
    configure(fresh_bed)
    bed.run("zfs", "unmount", fresh_bed.parent)
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    deferred = wait_deferred(fresh_bed, "target_unavailable")
    assert f"zfs mount {fresh_bed.parent}" in deferred["error"]["hint"]
    bed.run_when_free("zfs", "mount", fresh_bed.parent)
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, 2)
    assert_clean(fresh_bed)


class Leaving(Progress):
    """Progress that lets the pool go when the second snapshot is to be verified."""

    pool: str

    def enter(self, step: str, snapshot: object = None) -> None:
        super().enter(step, snapshot)
        if (step, self.snapshot) == ("verify", "s2"):
            bed.run_when_free("zpool", "export", self.pool)


def test_a_pool_that_goes_in_the_middle_is_told_of_and_not_what_failed_for_it(
    fresh_bed: Bed, pool: bed.FilePool
) -> None:
    series = new_series(fresh_bed, "SV", writing(a="a"), writing(a="b"))
    progress = Leaving(repo="SV")
    progress.pool = pool.name
    settings = read_config(str(fresh_bed.config)).settings()
    job = Job(parse_repo_name("SV"), Request(), "leaving", SPOOL_ID)
    try:
        with pytest.raises(TargetUnavailable, match=f"the pool {pool.name} is not available"):
            Migration(job, settings, Commands(), progress).run()
    finally:
        import_pool(pool)
    assert fresh_bed.migrate("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, 2)
    assert_clean(fresh_bed)


def import_pool(pool: bed.FilePool) -> None:
    place = ("-d", str(pool.image.parent))
    bed.run("zpool", "import", "-o", "cachefile=none", *place, pool.name)


def test_retry_ends_the_wait_at_once(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", filling("big", BIG_MIB))
    configure(fresh_bed, first_seconds=3600, retry_for_seconds=86_400)
    bed.run("zfs", "set", "quota=12M", fresh_bed.parent)
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    wait_deferred(fresh_bed, "target_full")
    bed.run("zfs", "set", "quota=none", fresh_bed.parent)
    assert "is retried now" in fresh_bed.dsgmigd("retry", "SV").stdout
    assert len(fresh_bed.wait_result("SV")["attempts"]) == 2


def test_what_waits_too_long_fails(fresh_bed: Bed) -> None:
    new_series(fresh_bed, "SV", filling("big", BIG_MIB))
    configure(fresh_bed, retry_for_seconds=2)
    bed.run("zfs", "set", "quota=12M", fresh_bed.parent)
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["error"]["code"]) == ("failed", "target_full")
    assert [one["ended"] for one in result["attempts"]] == ["deferred", "deferred", "failed"]


def test_a_send_that_is_stopped_and_goes_on_begins_anew_and_so_does_the_work(
    fresh_bed: Bed,
) -> None:
    """As all programs are on a host that sleeps, or in a unit that somebody freezes."""
    series = new_series(fresh_bed, "SV", writing(a="a"), filling("big", 4 * BIG_MIB))
    configure(fresh_bed)
    worker = fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    wait_for(
        lambda: events(fresh_bed, 1, "snapshot.made") and child_of(worker.pid, "btrfs", "send"),
        "the stream of s2",
        made=fresh_bed,
    )
    os.kill(worker.pid, signal.SIGSTOP)  # so that the stream of s2 has to wait for its reader
    sending = wait_for(lambda: sender_of(worker.pid), "a part of it", made=fresh_bed)
    os.kill(sending, signal.SIGSTOP)
    wait_for(lambda: is_stopped(sending), "its stop", made=fresh_bed)
    os.kill(sending, signal.SIGCONT)
    os.kill(worker.pid, signal.SIGCONT)
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["error"]) == ("done", None)
    assert [attempt["ended"] for attempt in result["attempts"]] == ["deferred", "done"]
    assert result["attempts"][0]["error"]["code"] == "stream_restarted"
    assert_migrated(fresh_bed, "SV", series.directory, 2)


def sender_of(worker: int) -> int | None:
    """Return the `btrfs send` that has written a part of a large stream, and has more."""
    pid = child_of(worker, "btrfs", "send")
    if pid is None:
        return None
    with suppress(OSError):
        written = re.search(r"wchar: (\d+)", Path(f"/proc/{pid}/io").read_text())
        if written and int(written[1]) > 1 << 16:
            return pid
    return None


# A pool that answers nothing.


@pytest.fixture
def frozen() -> Iterator[Callable[[], object]]:
    """Let every file operation in the pool hang, as a suspended pool does, until the test ends."""
    with contextmanager(_frozen)() as freeze:
        yield freeze


def _frozen() -> Iterator[Callable[[], object]]:
    pid = _fuse_daemon()
    try:
        yield lambda: os.kill(pid, signal.SIGSTOP)
    finally:
        os.kill(pid, signal.SIGCONT)


def _fuse_daemon() -> int:
    """Return the zfs-fuse whose mounts we see."""
    own = os.readlink("/proc/self/ns/mnt")
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text() == "zfs-fuse\n" and os.readlink(comm.parent / "ns/mnt") == own:
                return int(comm.parent.name)
        except OSError:
            continue
    pytest.fail("no zfs-fuse runs")


@zfs_kind.target_of_a_daemon
def test_work_that_hangs_is_told_of_and_no_hang_of_the_worker(
    fresh_bed: Bed, frozen: Callable[[], object]
) -> None:
    """The loop goes on: it answers, takes a cancel, and says what the pool does not do."""
    series = new_series(fresh_bed, "SV", filling("big", BIG_MIB), writing(a="a"))
    configure(fresh_bed, "[worker]\nstall_seconds = 1\n")
    fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    pid = _fuse_daemon()
    fresh_bed.drop("SV")
    wait_for(lambda: events(fresh_bed, 1, "plan.made"), "the work", made=fresh_bed)
    frozen()
    told = wait_for(
        lambda: words if "did not end" in (words := _instance(fresh_bed)["status"]) else None,
        "word of the stall",
        made=fresh_bed,
    )
    assert re.search(r"SV .*no progress for 0 min: zpool list", told)
    assert len(events(fresh_bed, 1, "work.stalled")) == 1
    os.kill(pid, signal.SIGCONT)
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    assert len(events(fresh_bed, 1, "work.resumed")) == 1
    assert_migrated(fresh_bed, "SV", series.directory, 2)


@zfs_kind.target_of_a_daemon
def test_a_stop_while_the_target_hangs_leaves_the_work_to_the_next_start(
    fresh_bed: Bed, frozen: Callable[[], object]
) -> None:
    series = new_series(fresh_bed, "SV", filling("big", BIG_MIB), writing(a="a"))
    configure(fresh_bed, "[worker]\nstall_seconds = 1\nstop_seconds = 2\n")
    worker = fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    pid = _fuse_daemon()
    fresh_bed.drop("SV")
    wait_for(lambda: events(fresh_bed, 1, "plan.made"), "the work", made=fresh_bed)
    frozen()
    wait_for(lambda: events(fresh_bed, 1, "work.stalled"), "word of the stall", made=fresh_bed)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    fresh_bed.workers.remove(worker)
    assert len(events(fresh_bed, 1, "worker.aborted")) == 1
    assert not (fresh_bed.spool / "SV.result.json").exists()
    os.kill(pid, signal.SIGCONT)
    fresh_bed.start_worker(1)
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", series.directory, 2)
    assert_clean(fresh_bed)


def _instance(made: Bed) -> dict[str, Any]:
    return dict(json.loads((made.spool / ".dsgmigd/instances/1.json").read_text()))
