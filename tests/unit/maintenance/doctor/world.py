"""A spool, a source root and a pool in memory, with what an interrupted request left in them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dsgmigd.maintenance.doctor.doctor import Doctor
from dsgmigd.maintenance.doctor.leftover import Findings, Leftover, Treatment
from dsgmigd.names import RepoName, SnapshotName, parse_dataset_name
from dsgmigd.source.pin_names import PINS_DIRECTORY
from dsgmigd.spool.spool import Spool
from dsgmigd.target.dataset import PROPERTY_PREFIX
from dsgmigd.target.layout import SOURCE_IDENTITY, DatasetLayout
from dsgmigd.target.staging import Staging
from dsgmigd.target.zfs import Zfs
from tests.unit.fake_zfs import FakeZfs

AREA = "zsd/.dsgmigd"
VIEW, STAGING, TARGET = f"{AREA}/views/SV", f"{AREA}/staging/SV", "zsd/SV"
SV = RepoName("SV")
ID = "0b8a5d6c-6f0a-4f3e-9d52-0d6a3a3f7f11"
REMOVE: tuple[Treatment, ...] = ("remove",)
ALL: tuple[Treatment, ...] = ("remove", "discard")


class GuardedZfs(FakeZfs):
    """A zfs that destroys, and says so, only on behalf of whoever holds the repository's lock."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.destroyed: list[str] = []
        self.makings = 0
        self.before: dict[int, Callable[[], object]] = {}

    def on_behalf_of(self, keep_descriptors: tuple[int, ...]) -> "Bound":
        """Return what runs programs; what stands in `before` for this making happens first."""
        self.makings += 1
        self.before.get(self.makings, int)()
        return Bound(self, keep_descriptors)


@dataclass
class Bound:
    """What stands for `Commands`: it knows which descriptors its children would hold."""

    zfs: GuardedZfs
    descriptors: tuple[int, ...]

    def output(
        self,
        *argv: str,
        timeout_seconds: float = 120,
        keep_descriptors: tuple[int, ...] = (),
    ) -> str:
        if argv[1] == "destroy":
            (descriptor,) = self.descriptors
            assert os.readlink(f"/proc/self/fd/{descriptor}").endswith(".dsgmigd/locks/SV")
            self.zfs.destroyed.append(argv[-1])
        return self.zfs.output(
            *argv, timeout_seconds=timeout_seconds, keep_descriptors=keep_descriptors
        )


@dataclass
class World:
    """A spool, a source root and a pool, with what a dead request left of SV in them."""

    spool: Spool
    root: Path
    zfs: GuardedZfs

    @property
    def pins(self) -> Path:
        return self.root / PINS_DIRECTORY

    @property
    def work(self) -> Path:
        return Path(self.spool.layout.work)

    def examine(self, treatments: tuple[Treatment, ...] = ()) -> Findings:
        return Doctor(
            self.spool,
            source_root=str(self.root),
            parent=parse_dataset_name("zsd"),
            area=AREA,
            commands=lambda *, keep_descriptors: self.zfs.on_behalf_of(keep_descriptors),
        ).examine(treatments)

    def staging(self) -> Staging:
        layout = DatasetLayout(parse_dataset_name("zsd"), AREA, SV)
        return Staging(Zfs(self.zfs, sleep=lambda _: None), layout, ID)

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def claim(self, name: str = "SV.claim.1") -> Path:
        """Write a claim of an instance that ran here."""
        Spool(self.spool.directory, int(name.rpartition(".")[2])).instances.lock().release()
        return self.write(Path(self.spool.directory) / name)


def make_world(tmp_path: Path) -> World:
    """Return a world in which no request was interrupted."""
    for name in ("spool", "source", "pool"):
        (tmp_path / name).mkdir()
    spool = Spool(str(tmp_path / "spool"))
    spool.prepare()
    made = World(spool, tmp_path / "source", GuardedZfs(tmp_path / "pool"))
    made.staging().area.prepare()
    return made


def interrupt(world: World) -> World:
    """Killed while s2 was verified: a pin directory, a view, two snapshots, one of them proven."""
    (world.pins / f"SV.{ID}").mkdir(parents=True)
    staging = world.staging()
    staging.create()
    for number in (1, 2):
        staging.snapshot(SnapshotName(number), {SOURCE_IDENTITY: "u"})
    staging.mark_verified(SnapshotName(1), "complete")
    mark = f"{PROPERTY_PREFIX}request={ID}"
    world.zfs.output("zfs", "clone", "-o", mark, f"{STAGING}@s2", VIEW)
    return world


def kinds(findings: Findings) -> list[str]:
    assert findings.problems == ()
    return sorted(leftover.kind for leftover in findings.leftovers)


def only(findings: Findings, kind: str | None = None) -> Leftover:
    (found,) = [one for one in findings.leftovers if kind in {None, one.kind}]
    return found


def pool_and_source(world: World) -> tuple[list[str], list[str]]:
    paths = [str(path) for top in (world.root, world.work) for path in top.rglob("*")]
    return world.zfs.names(), sorted(paths)
