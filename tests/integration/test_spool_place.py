"""Spools on real file systems, and spools that are taken away while somebody works on them."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import bed
import pytest

from tests.integration import zfs_kind
from tests.integration.conftest import Bed, write_config
from tests.integration.processes import (
    assert_clean,
    read_claim,
    stop,
    wait_started,
    wait_verified,
)
from tests.integration.trees import assert_migrated, filling, new_series, writing

WORK_MIB = 24


def on_tmpfs(_made: Bed, place: Path) -> None:
    bed.run("mount", "-t", "tmpfs", "tmpfs", place)


def on_ramfs(_made: Bed, place: Path) -> None:
    bed.run("mount", "-t", "ramfs", "ramfs", place)


def on_overlayfs(made: Bed, place: Path) -> None:
    # Upper layers are refused on some file systems, so they have one of their own.
    layers = made.logs / "layers"
    layers.mkdir()
    bed.run("mount", "-t", "tmpfs", "tmpfs", layers)
    for name in ("lower", "upper", "work"):
        (layers / name).mkdir()
    words = ",".join(f"{name}dir={layers / name}" for name in ("lower", "upper", "work"))
    bed.run("mount", "-t", "overlay", "-o", words, "overlay", place)


def on_btrfs(made: Bed, place: Path) -> None:
    bed.run("mount", "--bind", made.source_root, place)


def on_ext4(made: Bed, place: Path) -> None:
    image = made.logs / "ext4.img"
    bed.run("truncate", "-s", "16M", image)
    bed.run("mkfs.ext4", "-q", image)
    bed.run("mount", "-o", "loop", image, place)


@pytest.mark.parametrize(
    ("mount", "warning"),
    [
        (on_ext4, None),
        (on_btrfs, None),
        (on_tmpfs, "is on tmpfs"),
        (on_ramfs, "is on ramfs"),
        (on_overlayfs, "is on overlayfs"),
    ],
)
def test_a_local_file_system_carries_a_spool_in_which_requests_are_answered(
    fresh_bed: Bed, mount: Callable[[Bed, Path], None], warning: str | None
) -> None:
    mount(fresh_bed, fresh_bed.spool)
    checked = fresh_bed.dsgmigd("config", "check")
    assert (warning in checked.stderr) if warning else not checked.stderr
    fresh_bed.start_worker(1)
    fresh_bed.drop("NONE")
    assert fresh_bed.wait_result("NONE")["error"]["code"] == "source_missing"
    log = fresh_bed.log(1).read_text()
    assert (warning in log) if warning else "spool.warning" not in log


@zfs_kind.target_on_fuse
def test_a_spool_on_fuse_is_refused_with_the_status_that_systemd_does_not_restart(
    fresh_bed: Bed,
) -> None:
    fresh_bed.spool = fresh_bed.mountpoint / "spool"
    fresh_bed.spool.mkdir()
    write_config(fresh_bed)
    for command in (("config", "check"), ("run", "--instance", "1")):
        done = fresh_bed.dsgmigd(*command, check=False)
        assert done.returncode == 78
        assert f"the spool {fresh_bed.spool} is on FUSE" in done.stderr
        assert "install -d -m 3730" in done.stderr
    assert fresh_bed.listing() == []


def begin_work(made: Bed) -> Popen[bytes]:
    """Return a worker that stands still in a repository whose first snapshot is done.

    A worker that works might be done before it looks for its spool, which it does now and then.
    """
    new_series(made, "SV", writing(a="a"), *[filling(f"f{number}", WORK_MIB) for number in (1, 2)])
    worker = made.start_worker(1)
    made.drop("SV", {"note": "moved"})
    wait_verified(made, "SV", "s1")
    stop(worker, made)
    return worker


def assert_left_for_a_new_start(made: Bed, worker: Popen[bytes]) -> None:
    worker.send_signal(signal.SIGCONT)
    assert worker.wait(30) == os.EX_TEMPFAIL, "systemd starts it again, unlike after 78"
    assert "was moved, removed, or mounted over" in made.log(1).read_text()


def test_work_stops_resumably_in_the_spool_that_was_moved_away(fresh_bed: Bed) -> None:
    """Nothing of it is written into the directory that has the name now."""
    worker = begin_work(fresh_bed)
    moved = fresh_bed.spool.with_name("moved")
    fresh_bed.spool.rename(moved)
    fresh_bed.spool.mkdir()
    assert_left_for_a_new_start(fresh_bed, worker)
    assert fresh_bed.listing() == []
    (claim,) = moved.glob("*.claim.*")
    record = json.loads(claim.read_bytes())
    assert [attempt["ended"] for attempt in record["attempts"]] == ["stopped"]
    fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    claim.rename(fresh_bed.spool / claim.name)  # what the hint says
    result = fresh_bed.wait_result("SV")
    assert (result["outcome"], result["request_id"]) == ("done", record["request_id"])
    assert [attempt["ended"] for attempt in result["attempts"]] == ["stopped", "done"]
    assert result["snapshots"][0]["name"] != "s1", "it went on where it stopped"
    assert_migrated(fresh_bed, "SV", fresh_bed.source_root / "SV", 3)
    assert_clean(fresh_bed)


def test_a_spool_that_is_put_back_goes_on_where_it_was(fresh_bed: Bed) -> None:
    worker = begin_work(fresh_bed)
    moved = fresh_bed.spool.with_name("moved")
    fresh_bed.spool.rename(moved)
    assert_left_for_a_new_start(fresh_bed, worker)
    missing = fresh_bed.dsgmigd("run", "--instance", "1", check=False)
    assert missing.returncode == 78
    moved.rename(fresh_bed.spool)
    assert read_claim(fresh_bed, "SV", 1)["attempts"][0]["ended"] == "stopped"
    fresh_bed.start_worker(1)
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    assert_clean(fresh_bed)


def test_a_spool_that_is_removed_while_somebody_works_ends_the_worker(fresh_bed: Bed) -> None:
    worker = begin_work(fresh_bed)
    shutil.rmtree(fresh_bed.spool)
    assert_left_for_a_new_start(fresh_bed, worker)
    fresh_bed.spool.mkdir()
    fresh_bed.start_worker(1)
    fresh_bed.drop("SV")
    assert fresh_bed.wait_result("SV")["outcome"] == "done"
    assert_migrated(fresh_bed, "SV", fresh_bed.source_root / "SV", 3)


def test_an_idle_worker_leaves_a_spool_that_is_mounted_over_and_one_that_is_unmounted(
    fresh_bed: Bed,
) -> None:
    below = fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    bed.run("mount", "-t", "tmpfs", "tmpfs", fresh_bed.spool)
    assert_left_for_a_new_start(fresh_bed, below)
    assert fresh_bed.listing() == []
    above = fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    with pytest.raises(bed.BedError, match="busy"):
        bed.run("umount", fresh_bed.spool)
    bed.run("umount", "--lazy", fresh_bed.spool)
    assert_left_for_a_new_start(fresh_bed, above)
    fresh_bed.start_worker(1)
    fresh_bed.drop("NONE")
    assert fresh_bed.wait_result("NONE")["outcome"] == "failed"


# Events that do not come.


def answer_in(made: Bed, repo: str) -> str:
    made.drop(repo)
    return str(made.wait_result(repo)["error"]["code"])


@pytest.mark.parametrize("limit", ["max_inotify_instances", "max_inotify_watches"])
def test_without_inotify_the_directory_is_read_regularly(fresh_bed: Bed, limit: str) -> None:
    """In a user namespace of its own the worker may have none (namespaces(7), /proc/sys/user)."""
    script = f'echo 0 > /proc/sys/user/{limit} && exec "$@"'
    fresh_bed.start_worker(1, "unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    wait_started(fresh_bed, 1)
    assert answer_in(fresh_bed, "NONE") == zfs_kind.ERROR_IN_USER_NAMESPACE
    assert "spool.unwatched" in fresh_bed.log(1).read_text()


def test_a_request_is_answered_at_once_and_not_at_the_next_regular_look(fresh_bed: Bed) -> None:
    text = fresh_bed.config.read_text()
    fresh_bed.config.write_text(text.replace("rescan_seconds = 1", "rescan_seconds = 3000"))
    fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    for repo in ("FIRST", "SECOND"):
        assert answer_in(fresh_bed, repo) == "source_missing"


def test_a_request_whose_event_was_lost_is_found(fresh_bed: Bed) -> None:
    """While the worker stands still more happens than the kernel keeps for it."""
    worker = fresh_bed.start_worker(1)
    wait_started(fresh_bed, 1)
    assert answer_in(fresh_bed, "FIRST") == "source_missing"
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    stop(worker, fresh_bed)
    for number in range(limit // 2 + 100):
        junk = fresh_bed.spool / f"junk{number}"
        junk.touch()
        junk.unlink()
    fresh_bed.drop("LAST")
    worker.send_signal(signal.SIGCONT)
    assert fresh_bed.wait_result("LAST")["error"]["code"] == "source_missing"
    assert worker.poll() is None
