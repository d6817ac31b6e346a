"""What workers and their children do, read from the outside: /proc, properties, claims."""

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any, TypeVar

import bed
import pytest

from dsgmigd.target.mounts import zfs_mounts
from tests.integration.conftest import Bed

Found = TypeVar("Found")

# Long enough for a busy host: only a test that fails waits so long.
PATIENCE_SECONDS = 300.0


def wait_for(
    look: Callable[[], Found | None], what: str, *, made: Bed, seconds: float = PATIENCE_SECONDS
) -> Found:
    """Look again and again until there is something; return it.

    A look that runs programs leaves most of the time to those that are waited for.
    """
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if found := look():
            return found
        now = time.monotonic()
        if now > deadline:
            pytest.fail(f"waited {seconds} s for {what}; {made.listing()}\n{made.words()}")
        time.sleep(max(0.01, 2 * (now - began)))


def wait_started(made: Bed, instance: int) -> None:
    """Wait until an instance has its number and looks at the spool."""
    status = made.spool / f".dsgmigd/instances/{instance}.json"
    wait_for(status.exists, f"instance {instance}", made=made)


def is_marked_verified(made: Bed, repo: str, snapshot: str) -> bool:
    """Say whether staging's snapshot carries the mark of verification."""
    name = f"{made.parent}/.dsgmigd/staging/{repo}@{snapshot}"
    try:
        value = bed.run("zfs", "get", "-H", "-o", "value", "org.hrdag.dsgmigd:verified", name)
    except bed.BedError:
        return False
    return value.partition(" ")[0].strip() == "complete"


def wait_marked(made: Bed, repo: str, snapshot: str) -> None:
    """Wait until a verified snapshot is marked, which may be when the next one is taken."""
    wait_for(
        lambda: is_marked_verified(made, repo, snapshot), f"{repo}@{snapshot} marked", made=made
    )


def wait_verified(made: Bed, repo: str, snapshot: str) -> None:
    """Wait until a worker says that it verified a snapshot: it begins with the next one."""
    said = re.compile(rf"snapshot\.verified .*\brepo={repo} .*\bsnapshot={snapshot}\b")
    wait_for(
        lambda: any(said.search(log.read_text()) for log in made.logs.glob("*.log")),
        f"{repo}@{snapshot} verified",
        made=made,
    )


def read_claim(made: Bed, repo: str, instance: int) -> dict[str, Any]:
    """Return the claim record; empty as long as the claim is not one of ours."""
    try:
        record = json.loads((made.spool / f"{repo}.claim.{instance}").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return dict(record)


def kill(process: Popen[bytes]) -> None:
    """Kill one process and nothing else: what it started lives on."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)


def stop(process: Popen[bytes], made: Bed) -> None:
    """Let a process stand still, until SIGCONT or a kill: what it started goes on."""
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: is_stopped(process.pid), "a process that stands still", made=made)


def child_of(pid: int, *words: str) -> int | None:
    """Return a child of `pid` whose command line begins with `words`."""
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal():
            try:
                # proc(5): the name stands in brackets and may hold blanks; the parent comes 2nd.
                stat = (directory / "stat").read_text().rpartition(")")[2].split()
                argv = (directory / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat[1]) == pid and argv[: len(words)] == [word.encode() for word in words]:
                return int(directory.name)
    return None


def is_stopped(pid: int) -> bool:
    """Say whether every thread of a process stands still."""
    return all(state.rpartition(")")[2].split()[0] == "T" for state in of_threads(pid, "stat"))


def is_traced(pid: int) -> bool:
    """Say whether every thread of a process has a tracer."""
    return all("TracerPid:\t0\n" not in status for status in of_threads(pid, "status"))


def of_threads(pid: int, name: str) -> list[str]:
    """Return what /proc has in the file `name` of every thread of a process."""
    texts = []
    for path in Path(f"/proc/{pid}/task").glob(f"*/{name}"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            texts.append(path.read_text())
    return texts


def pins(made: Bed) -> list[str]:
    """Return the directories of pins, REPO.REQUEST, of every spool and of earlier versions."""
    area = made.source_root / ".dsgmigd-pins"
    return sorted(path.name for path in area.glob("**/*.*-*-*-*-*") if path.name[0].isupper())


def area_contents(made: Bed, part: str) -> list[str]:
    """Return the datasets below a part of the staging area."""
    area = f"{made.parent}/.dsgmigd/{part}"
    names = bed.run("zfs", "list", "-H", "-r", "-t", "filesystem", "-o", "name", area).split()
    return [name.removeprefix(f"{area}/") for name in names if name != area]


def views(made: Bed) -> list[str]:
    """Return what is there to read snapshots through: clones, and mounted snapshots."""
    above = str(made.mountpoint / ".dsgmigd/views")
    places = [mount.mountpoint for mount in zfs_mounts() if "@" in mount.dataset]
    mounted = [Path(place).name for place in places if str(Path(place).parent) == above]
    return sorted({*area_contents(made, "views"), *mounted})


def assert_clean(made: Bed) -> None:
    """Fail if a claim, a pin, a staging dataset or a view is left."""
    assert [name for name in made.listing() if ".claim." in name] == []
    assert pins(made) == []
    assert area_contents(made, "staging") == []
    assert views(made) == []
