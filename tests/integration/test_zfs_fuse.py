"""zfs-fuse after processes were killed while they waited for its answer."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import Random

import bed
import pytest

from dsgmigd.target.zfs_fuse import wake_zfs_fuse
from tests.amounts import amount
from tests.integration import zfs_kind

ROUNDS = int(amount("DSGMIGD_READERS"))
ANSWER_SECONDS = 30
READER = """
import os, sys, threading
def look():
    while True:
        os.path.exists(sys.argv[1] + "/no file")
for _ in range(3):
    threading.Thread(target=look).start()
print(flush=True)
look()
"""


def start_reader(directory: Path) -> "subprocess.Popen[bytes]":
    reader = subprocess.Popen(
        (sys.executable, "-c", READER, directory), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert reader.stdout is not None
    with reader.stdout as words:
        words.readline()
    return reader


def answers(directory: Path) -> bool:
    asking = threading.Thread(target=os.statvfs, args=(directory,), daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    return not asking.is_alive()


@pytest.mark.sweep
@zfs_kind.target_of_a_daemon
def test_it_answers_again_after_readers_were_killed_and_it_was_woken(pool: bed.FilePool) -> None:
    """About one of thirty rounds stops it: it waits for what a killed reader asked."""
    dataset = f"{pool.name}/wake"
    bed.run("zfs", "create", dataset)
    random = Random("readers")  # noqa: S311
    for number in range(ROUNDS):
        reader = start_reader(pool.mountpoint / "wake")
        time.sleep(random.uniform(0.03, 0.05))
        reader.kill()
        reader.wait()
        wake_zfs_fuse()
        assert answers(pool.mountpoint), f"in round {number}"
    bed.destroy(dataset)
