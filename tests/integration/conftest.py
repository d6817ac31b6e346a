"""Real btrfs on a loop file, a real pool in a file, and workers as systemd would run them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import bed
import pytest

from tests.integration import zfs_kind
from tests.integration.mount_namespace import enter_own_mount_namespace
from tests.integration.trees import delete_subvolumes
from tests.invariants import whole_lines
from tests.result_schema import faults, line_faults

CHECKOUT = Path(__file__).resolve().parents[2]
TOOLS = ("btrfs", "mkfs.btrfs", "losetup", "mount", "rsync", "setfacl", "strace", "zfs", "zpool")
SPOOL_ID = "00000000-0000-0000-0000-000000000099"
_HERE = "tests/integration/"
_numbers = count(1)


@dataclass
class Bed:
    """What one test gets for itself: a source root, a target parent, a spool, a configuration."""

    source_root: Path
    parent: str
    mountpoint: Path
    spool: Path
    config: Path
    logs: Path
    python: str = sys.executable
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def dsgmigd(
        self, *arguments: str, check: bool = True, timeout_seconds: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run `dsgmigd --config CONFIG ARGUMENTS` to its end."""
        done = subprocess.run(
            self.command(*arguments),
            check=False,
            capture_output=True,
            cwd="/",
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout_seconds,
        )
        if check and done.returncode:
            pytest.fail(f"dsgmigd {arguments} gave {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def migrate(self, repo: str, *options: str) -> dict[str, Any]:
        """Run `dsgmigd migrate` in the foreground and return its result, whatever it is."""
        return self._result("migrate", repo, *options)

    def verified(self, repo: str, *options: str) -> dict[str, Any]:
        """Run `dsgmigd verify` and return its result, whatever it is."""
        return self._result("verify", repo, *options)

    def _result(self, command: str, repo: str, *options: str) -> dict[str, Any]:
        done = self.dsgmigd(command, repo, "--json", *options, check=False)
        try:
            result: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            pytest.fail(f"dsgmigd {command} {repo} gave {done.returncode}:\n{done.stderr[-3000:]}")
        assert faults(result) == []
        return result

    def status(self) -> dict[str, Any]:
        """Return what `dsgmigd status` says."""
        return dict(json.loads(self.dsgmigd("status", "--json").stdout))

    def start_worker(self, instance: int, *wrapper: str) -> subprocess.Popen[bytes]:
        """Start `dsgmigd run`; its log is `logs/worker-INSTANCE.log`, it ends with the test.

        `wrapper` is a program that runs it, with its own arguments: strace, say.
        """
        with self.log(instance).open("ab") as log:
            process = subprocess.Popen(
                (*wrapper, *self.command("run", "--instance", str(instance))),
                cwd="/",
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.workers.append(process)
        return process

    def drop(self, repo: str, body: dict[str, Any] | str | None = None) -> Path:
        """Drop a request in one rename: empty, a JSON object, or the text as it stands."""
        text = body if isinstance(body, str) else "" if body is None else json.dumps(body)
        hidden = self.spool / f".{repo}.tmp"
        hidden.write_text(text, encoding="utf-8")
        return hidden.rename(self.spool / f"{repo}.request")

    def wait_result(self, repo: str, timeout: float = 300) -> dict[str, Any]:
        """Return the result once it stands and neither a claim nor a request does."""
        result = self.spool / f"{repo}.result.json"
        deadline = time.monotonic() + timeout
        while (
            not result.exists()
            or (self.spool / f"{repo}.request").exists()
            or list(self.spool.glob(f"{repo}.claim.*"))
        ):
            ended = [worker for worker in self.workers if worker.poll() not in {None, 0}]
            if time.monotonic() > deadline or (ended and len(ended) == len(self.workers)):
                pytest.fail(
                    f"no result for {repo}; the spool holds {self.listing()}\n{self.words()}"
                )
            time.sleep(0.05)
        read: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return read

    def snapshots(self, repo: str) -> list[str]:
        """Return the names of the target's snapshots, the oldest first."""
        names = bed.run(
            *("zfs", "list", "-H", "-o", "name", "-s", "creation", "-t", "snapshot"),
            *("-r", f"{self.parent}/{repo}"),
        ).splitlines()
        prefix = f"{self.parent}/{repo}@"
        found = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        # Snapshots of one second have one creation time.
        return sorted(found, key=lambda name: (len(name), name))

    def pool_listing(self) -> str:
        """Return all that is below the parent in the pool, with what changes by a write to it."""
        if zfs_kind.COUNTS_SPACE_LATER:
            bed.run("zpool", "sync", self.parent.partition("/")[0])
        columns = "name,used,referenced,creation"
        return bed.run("zfs", "list", "-H", "-r", "-t", "all", "-o", columns, self.parent)

    def command(self, *arguments: str) -> tuple[str, ...]:
        return (self.python, "-m", "dsgmigd", "--config", str(self.config), *arguments)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}

    def log(self, instance: int) -> Path:
        return self.logs / f"worker-{instance}.log"

    def listing(self) -> list[str]:
        return sorted(path.name for path in self.spool.iterdir())

    def words(self) -> str:
        """Return how the workers' logs end."""
        logs = sorted(self.logs.glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-2000:]}" for log in logs)

    def stop_workers(self) -> None:
        """Kill the workers with their children: nothing may hold the dataset any longer."""
        for worker in self.workers:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, 9)
            worker.wait(30)


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    """A private directory outside the checkout, with a ZFS that answers."""
    problem = _what_is_missing()
    if problem and os.environ.get("CI"):
        pytest.fail(problem)
    if problem:
        pytest.skip(problem)
    if zfs_kind.IS_FUSE:
        enter_own_mount_namespace()
    directory = Path(tempfile.mkdtemp(prefix="dsgmigd-test-", dir="/var/tmp"))
    try:
        bed.ensure_zfs(directory)
        yield directory
    finally:
        bed.stop_zfs(directory)
        bed.unmount_below(directory)
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def btrfs_root(state: Path) -> Iterator[Path]:
    with bed.BtrfsLoop(state / "btrfs.img", state / "btrfs") as loop:
        yield loop.directory


@pytest.fixture(scope="session")
def pool(state: Path) -> Iterator[bed.FilePool]:
    with bed.FilePool(f"dsgt{os.getpid()}", state / "pool.img", state / "zfs") as opened:
        yield opened


@pytest.fixture
def second_btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A btrfs that is not the source's, for tests that need a target which holds everything."""
    place = tmp_path_factory.mktemp("second")
    with bed.BtrfsLoop(place / "second.img", place / "mounted"):
        yield place / "mounted"


@pytest.fixture
def fresh_bed(state: Path, btrfs_root: Path, pool: bed.FilePool) -> Iterator[Bed]:
    name = f"t{next(_numbers):03}"
    own = state / name
    (own / "spool").mkdir(parents=True)
    (own / "logs").mkdir()
    (btrfs_root / name).mkdir()
    (btrfs_root / name / ".mounted").touch()  # an empty source root is one that is away
    made = Bed(
        source_root=btrfs_root / name,
        parent=f"{pool.name}/{name}",
        mountpoint=pool.mountpoint / name,
        spool=own / "spool",
        config=own / "dsgmigd.toml",
        logs=own / "logs",
    )
    write_config(made)
    bed.run("zfs", "create", made.parent)
    try:
        yield made
        for kept in (made.spool / ".dsgmigd/results").glob("*.json"):
            assert faults(json.loads(kept.read_bytes())) == [], kept.name
        for line in whole_lines(made.spool):
            assert line_faults(line) == [], line
    finally:
        made.stop_workers()
        bed.unmount_below(own)
        bed.unmount_below(made.mountpoint / ".dsgmigd/views")  # a killed worker's, on OpenZFS
        bed.destroy("-R", made.parent)
        delete_subvolumes(made.source_root)
        shutil.rmtree(own)


def write_config(
    made: Bed,
    extra: str = "",
    *,
    source: str = "",
    target: str = "",
    retry_for_seconds: int = 0,
) -> None:
    """Write the configuration of a test bed; requests that fail do so at once.

    `source` and `target` are more keys of these tables, `extra` is TOML with its own tables.
    """
    losses = json.dumps(zfs_kind.LOSSES)
    made.config.write_text(
        f"[spool]\ndirectory = {json.dumps(str(made.spool))}\nrescan_seconds = 1\n"
        f"[source]\nroot = {json.dumps(str(made.source_root))}\n{source}\n"
        f"[target]\nparent = {json.dumps(made.parent)}\nallow_loss = {losses}\n"
        f"{target}\n[retry]\nfor_seconds = {retry_for_seconds}\n{extra}",
        encoding="utf-8",
    )


@contextmanager
def read_only_source(made: Bed) -> Iterator[None]:
    """Let the product see the source through a mount that cannot be written."""
    place = made.spool.parent / "read-only"
    place.mkdir()
    bed.run("mount", "--bind", made.source_root, place)
    bed.run("mount", "-o", "remount,bind,ro", place)
    text = made.config.read_text(encoding="utf-8")
    made.config.write_text(text.replace(str(made.source_root), str(place)), encoding="utf-8")
    try:
        yield
    finally:
        bed.unmount_below(place)
        made.config.write_text(text, encoding="utf-8")


def _what_is_missing() -> str | None:
    if os.geteuid() != 0:
        return "integration tests need root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if not shutil.which(tool, path=path)]
    return f"missing tools: {', '.join(missing)}" if missing else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many integration tests really ran: a skipped one proves nothing."""
    ran = {
        report.nodeid
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        if report.nodeid.startswith(_HERE) and report.when == "call"
    }
    terminalreporter.write_line(f"integration tests that ran on real btrfs and ZFS: {len(ran)}")
