"""A source of plain directories, and a pool in memory, for whole runs of a migration.

Snapshots are copied by the real rsync, because a plain directory cannot be sent; what only a real
btrfs or a real ZFS shows is in tests/integration.
"""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dsgmigd.errors import CommandFailed
from dsgmigd.host.command import Commands, Pipe
from dsgmigd.migration.job import Job, Settings
from dsgmigd.migration.migration import Migration
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.report import Report
from dsgmigd.migration.run import Run
from dsgmigd.names import parse_dataset_name, parse_repo_name
from dsgmigd.request import Request
from dsgmigd.target.dataset import PROPERTY_PREFIX
from tests.unit.fake_zfs import FakeZfs
from tests.unit.source.repositories import SPOOL_ID

needs_rsync = pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")

SV = parse_repo_name("SV")
AREA = "zsd/.dsgmigd"
AnyRun = TypeVar("AnyRun", bound=Run)


class FakePool(Commands):
    """Runs programs, but zfs and zpool on a pool in memory; what begins as `refused` fails."""

    def __init__(self, zfs: FakeZfs) -> None:
        super().__init__()
        self.zfs = zfs
        self.refused: set[str] = set()

    def output(
        self,
        *argv: str,
        timeout_seconds: float = 120,
        keep_descriptors: tuple[int, ...] = (),
        content: bytes | None = None,
    ) -> str:
        assert content is None
        if any(" ".join(argv).startswith(words) for words in self.refused):
            raise CommandFailed(argv, status=1, stderr="made up")
        return self.zfs.output(
            *argv, timeout_seconds=timeout_seconds, keep_descriptors=keep_descriptors
        )

    def pipe(self, *argv: str) -> Pipe:
        if argv[0] == "zpool":  # this host's, which the tests must not ask
            raise CommandFailed(argv, status=1, stderr="made up")
        return super().pipe(*argv)


@dataclass
class StopAt(Progress):
    """The progress of a run that is asked to stop when a step begins for the `at`-th time."""

    at: int = 1
    when: str = ""

    def enter(self, step: str, snapshot: object = None) -> None:
        if step == self.when:
            self.at -= 1
            self.stop_requested = self.at == 0
        super().enter(step, snapshot)


@dataclass
class Meddling(Progress):
    """The progress of a run during which somebody does something, whenever a step begins."""

    do: Callable[[str, str | None], object] = lambda _step, _snapshot: None

    def enter(self, step: str, snapshot: object = None) -> None:
        super().enter(step, snapshot)
        self.do(step, self.snapshot)


@dataclass
class World:
    """The repository SV, and what runs make of it."""

    directory: Path
    has_native: bool = False
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.zfs = FakeZfs(self.directory, has_native=self.has_native)
        self.pool = FakePool(self.zfs)
        self.source = self.directory / "source" / "SV"
        self.source.mkdir(parents=True)
        root = str(self.source.parent)
        self.settings = Settings(root, parse_dataset_name("zsd"), AREA)

    def push(self, number: int, **files: str) -> Path:
        """Make a snapshot of the source with these files."""
        snapshot = self.source / f"s{number}"
        (snapshot / ".snap").mkdir(parents=True)
        line = f"SV/s{number} | ana | 2014-05-07 17:27:{number:02} UTC (Wed) | m\n"
        (snapshot / ".snap/push.log").write_text(line)
        for name, text in files.items():
            (snapshot / name).write_text(text)
        return snapshot

    def work(
        self,
        kind: type[AnyRun],
        request: Request | None = None,
        progress: Progress | None = None,
        request_id: str = "r1",
        **settings: Any,
    ) -> AnyRun:
        """Return new work for a request."""
        return kind(
            Job(SV, request or Request(), request_id, SPOOL_ID),
            replace(self.settings, **settings),
            self.pool,
            progress or Progress(repo=SV),
            native=self.zfs.native,
        )

    def migrate(self, request: Request | None = None, **settings: Any) -> Report:
        """Migrate the repository to the end."""
        return self.work(Migration, request, **settings).run()

    def snapshots(self, dataset: str = "zsd/SV") -> list[str]:
        """Return the names of a dataset's snapshots."""
        return [one.name for one in self.zfs.datasets[dataset].snapshots]

    def mark(self, snapshot: str, key: str, dataset: str = "zsd/SV") -> str | None:
        """Return what dsgmigd wrote on a snapshot."""
        return self.zfs.properties(f"{dataset}@{snapshot}").get(PROPERTY_PREFIX + key)

    def level(self, snapshot: str, dataset: str = "zsd/SV") -> str | None:
        """Return the level at which a snapshot is marked as verified."""
        text = self.mark(snapshot, "verified", dataset)
        return text.partition(" ")[0] if text else None

    def guid(self, name: str) -> str:
        """Return what identifies a dataset or snapshot through every rename."""
        return self.zfs.output("zfs", "get", "-Hp", "-o", "value", "guid", name).strip()

    def published(self, name: str = "file") -> str:
        """Return the content of a published file."""
        return (self.zfs.mountpoint("zsd/SV") / name).read_text()

    def damage(self, snapshot: str, name: str = "file", dataset: str = "zsd/SV") -> None:
        """Change a file in a snapshot of a dataset, keeping its size and times."""
        (found,) = (one for one in self.zfs.datasets[dataset].snapshots if one.name == snapshot)
        change_in_place(found.files / name)

    def rename(self, old: str, new: str) -> None:
        """Rename a dataset, as `zfs rename` does: it is mounted at its new place."""
        for argv in (("unmount", old), ("rename", old, new), ("mount", new)):
            self.zfs.output("zfs", *argv)


def change_in_place(path: Path) -> None:
    """Swap the case of a file's text, and give it back its times."""
    times = path.stat()
    path.write_text(path.read_text().swapcase())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def touch_root(snapshot: Path) -> None:
    """Change the version of a plain directory, which is that of its root, and nothing else."""
    before = snapshot.stat()
    while snapshot.stat().st_ctime_ns == before.st_ctime_ns:  # a kernel's clock ticks slowly
        os.utime(snapshot, ns=(before.st_atime_ns, before.st_mtime_ns))


def set_xattr(path: Path, name: str, value: bytes = b"x") -> None:
    """Set an attribute; skip the test if the file system does not support any."""
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip("the temporary directory's file system has no such attributes")
