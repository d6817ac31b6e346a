"""Single faults in the target between replay and verification: `complete` finds every one.

The target is btrfs, which holds all that a source can have; the Verifier knows the snapshots
before, so that it has proofs to rely on. A smaller part is done on a real ZFS dataset.
"""

import copy
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import bed
import btrfsutil
import pytest

from dsgmigd.dsg.push_line import Push
from dsgmigd.host.command import Commands
from dsgmigd.migration.progress import Progress
from dsgmigd.migration.snapshot_writer import SnapshotWriter
from dsgmigd.source.repository import HeldSnapshot
from dsgmigd.target.capabilities import Capabilities
from dsgmigd.target.probe import probe_capabilities
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.schedule import find_changes
from dsgmigd.verification.verifier import Changed, Verifier
from tests.amounts import amount
from tests.integration.dsg_faults import DSG_FAULTS
from tests.integration.faults import PLAIN, RICH, Catalogue, Fault, Faulty, catalogue, shown
from tests.integration.snapshots import held_snapshot
from tests.integration.varied_tree import change, plant

FAULTS = int(amount("DSGMIGD_FAULTS"))
SNAPSHOTS = 3


@dataclass
class Series:
    """Source snapshots, and the writer that brings a target from one to the next."""

    directory: Path
    target: Path
    capabilities: Capabilities
    files: int
    is_sent: bool = True
    held: list[HeldSnapshot] = field(default_factory=list)
    moments: list[Moments] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = Random("corruption")  # noqa: S311
        self._live = self.directory / "live"
        self._target_moment: float | None = None
        self._writer = SnapshotWriter(
            str(self.target),
            commands=Commands(),
            capabilities=self.capabilities,
            allowed=("xattr", "acl"),
            send_protocol=None,
            progress=Progress(),
        )

    def advance(self) -> int:
        """Make the next source snapshot, and the target equal to it; return its number."""
        number = len(self.held) + 1
        if number == 1:
            btrfsutil.create_subvolume(str(self._live))
            plant(self._live, self._random, files=self.files, has_xattrs=self.capabilities.xattrs)
        else:
            change(self._live, self._random, number)
        time.sleep(1.05)  # proofs are as coarse as a second
        path = self.directory / f"s{number}"
        btrfsutil.create_snapshot(str(self._live), str(path), read_only=True)
        parent = self.held[-1] if self.held else None
        held = held_snapshot(number, path)
        sources = (*([parent.created_at] if parent else []), held.created_at)
        self.moments.append(Moments(sources, self._target_moment))
        push = Push(f"user{number}", 1.4e9 + number, f"message {number}")
        self._writer.write(held, parent, push, is_sent=self.is_sent)
        self.held.append(held)
        time.sleep(1.01)
        self._target_moment = time.time()
        return number

    def verify(
        self, verifier: Verifier, number: int, target: Path, changed: Changed | None = None
    ) -> Verification:
        """Let the verifier, which knows the snapshots before, check snapshot s`number`."""
        held, moments = self.held[number - 1], self.moments[number - 1]
        return verifier.verify(held.path, str(target), number, moments, changed=changed)

    def changed(self, number: int) -> Changed:
        """Return what the source calls changed in snapshot s`number`."""
        since = self.held[number - 1].changed_since(self.held[number - 2])
        assert since is not None
        return find_changes(self.held[number - 1].path, since)

    def delete(self) -> None:
        """Delete the source."""
        for path in sorted(self.directory.iterdir()):
            btrfsutil.delete_subvolume(str(path))
        self.directory.rmdir()


@dataclass
class GoodTarget:
    """A snapshot of a target that is right, and the verifier as it is before it comes to it."""

    number: int
    catalogue: Catalogue
    verifier: Verifier


class Judge:
    """Puts faults into copies of good targets and holds what is said against what is expected."""

    def __init__(self, series: Series, faults: Sequence[Fault]) -> None:
        self.series = series
        self.faults = faults
        self.targets: list[GoodTarget] = []
        self.catalogues: list[Catalogue] = []
        self.seen_in_changes = 0
        self.verifier = Verifier(level="complete", hash_threads=2, capabilities=series.capabilities)

    def take(self, number: int, root: Path) -> None:
        """Verify a good target, and keep it with the verifier as it was before."""
        good = GoodTarget(number, catalogue(root), copy.deepcopy(self.verifier))
        found = self.series.verify(self.verifier, number, root)
        assert found.discrepancies == []
        assert found.files > self.series.files
        if number > 1:
            assert found.files_proven > found.files_read > 0, "most of it is proven"
        self.targets.append(good)
        self.catalogues.append(good.catalogue)

    def choose(self, random: Random, fault: Fault) -> GoodTarget:
        """Choose a target; a write can be lost in a later one only."""
        is_late = fault.__name__ == "lose_a_write"
        late = [good for good in self.targets if good.number > 1]
        return random.choice(late if is_late else self.targets)

    def faulty(self, random: Random, good: GoodTarget, root: Path) -> Faulty:
        before = self.catalogues[good.number - 2] if good.number > 1 else None
        capabilities = self.series.capabilities
        return Faulty(
            root,
            good.catalogue,
            before,
            random,
            keeps_times=random.random() < 0.5,
            has_xattrs=capabilities.xattrs,
            has_nanoseconds=capabilities.subsecond_mtime,
        )

    def judge(self, tree: Faulty, good: GoodTarget, view: Path) -> str:
        """Verify a faulty tree as seen at `view`; say what was not said, and what was too much."""
        result = self.series.verify(copy.deepcopy(good.verifier), good.number, view)
        found = {(one.path, one.attribute) for one in result.discrepancies}
        assert tree.expected
        unsaid, unasked = tree.unsaid(found), tree.unasked(found)
        words = f"in t{good.number}: unsaid {unsaid[:3]}, unasked {unasked[:3]}"
        return words if unsaid or unasked else ""

    def judge_changes(self, tree: Faulty, good: GoodTarget, view: Path) -> str:
        """Verify only what changed, then everything; say what was not said."""
        verifier, changed = copy.deepcopy(good.verifier), self.series.changed(good.number)
        result = self.series.verify(verifier, good.number, view, changed)
        found = {(one.path, one.attribute) for one in result.discrepancies}
        paths = {shown(os.fsdecode(path)) for path in changed.paths}
        unsaid = [one for one in tree.unsaid(found) if one[0] in paths and one[1] in _OF_ONE_PATH]
        result = self.series.verify(verifier, good.number, view)
        found = {(one.path, one.attribute) for one in result.discrepancies}
        unsaid += tree.unsaid(found)
        self.seen_in_changes += any(one[0] in paths for one in tree.expected)
        return f"in t{good.number}: unsaid {unsaid[:3]}" if unsaid else ""


# Attributes that are reported whatever the others are.
_OF_ONE_PATH = frozenset(
    {"content", "size", "mode", "uid", "gid", "mtime", "type", "link target", "device"}
)

View = Callable[[], AbstractContextManager[Path]]
CopyOf = Callable[[GoodTarget], AbstractContextManager[tuple[Path, View]]]


@contextmanager
def writable_copy(good: GoodTarget) -> Iterator[tuple[Path, View]]:
    """Give a copy to be spoiled, and how it is seen afterwards."""
    path = good.catalogue.root.parent / "faulty"
    btrfsutil.create_snapshot(str(good.catalogue.root), str(path))
    try:
        yield path, lambda: nullcontext(path)
    finally:
        btrfsutil.delete_subvolume(str(path))


@pytest.fixture(params=[True, False], ids=["send", "rsync"])
def judge(btrfs_root: Path, request: pytest.FixtureRequest) -> Iterator[Judge]:
    """Give a judge with three good targets on btrfs, which one engine wrote."""
    place = btrfs_root / "corruption"
    (place / "source").mkdir(parents=True)
    btrfsutil.create_subvolume(str(place / "staging"))
    series = Series(place / "source", place / "staging", Capabilities(), 200, is_sent=request.param)
    judge = Judge(series, (*PLAIN, *RICH, *DSG_FAULTS))
    try:
        for _ in range(SNAPSHOTS):
            number = series.advance()
            root = place / f"t{number}"
            btrfsutil.create_snapshot(str(place / "staging"), str(root), read_only=True)
            judge.take(number, root)
        yield judge
    finally:
        series.delete()
        for path in sorted(place.iterdir()):
            btrfsutil.delete_subvolume(str(path))
        place.rmdir()


@pytest.fixture
def zfs_judge(btrfs_root: Path, pool: bed.FilePool) -> Iterator[Judge]:
    """Give a judge whose good targets are the snapshots t1 and t2 of a real dataset."""
    place = btrfs_root / "corruption"
    (place / "source").mkdir(parents=True)
    dataset = f"{pool.name}/corruption"
    bed.run("zfs", "create", dataset)
    target = pool.mountpoint / "corruption"
    series = Series(place / "source", target, probe_capabilities(str(target)), files=60)
    rich = RICH if series.capabilities == Capabilities() else ()
    judge = Judge(series, (*PLAIN, *rich, *DSG_FAULTS))
    try:
        for _ in range(2):
            number = series.advance()
            bed.run("zfs", "snapshot", f"{dataset}@t{number}")
            with bed.snapshot_view(dataset, f"t{number}", pool.mountpoint / "view") as root:
                judge.take(number, root)
        yield judge
    finally:
        series.delete()
        place.rmdir()
        bed.destroy("-R", dataset)


Say = Callable[[Faulty, GoodTarget, Path], str]


def wrongs(judge: Judge, count: int, copy_of: CopyOf, say: Say) -> list[str]:
    """Put `count` faults into as many copies of good targets; return what was judged wrongly."""
    wrong = []
    # One after the other, but not with the same first ones whatever the count.
    order = Random("order").sample(judge.faults, len(judge.faults))  # noqa: S311
    for number in range(count):
        random = Random(f"fault {number}")  # noqa: S311
        fault = order[number % len(order)]
        good = judge.choose(random, fault)
        with copy_of(good) as (tree_root, view):
            tree = judge.faulty(random, good, tree_root)
            fault(tree)
            with view() as root:
                words = say(tree, good, root)
        if words:
            wrong.append(f"{fault.__name__}, {number}, {words}")
    return wrong


@pytest.mark.sweep
def test_complete_finds_every_single_fault_and_names_it(judge: Judge) -> None:
    wrong = wrongs(judge, FAULTS, writable_copy, judge.judge)
    assert not wrong, f"{len(wrong)} of {FAULTS}:\n" + "\n".join(sorted(wrong))


@pytest.mark.sweep
def test_changes_finds_those_in_changed_paths_and_the_next_full_walk_all(judge: Judge) -> None:
    judge.targets = judge.targets[1:]
    wrong = wrongs(judge, FAULTS, writable_copy, judge.judge_changes)
    assert not wrong, f"{len(wrong)} of {FAULTS}:\n" + "\n".join(sorted(wrong))
    assert judge.seen_in_changes > FAULTS // 30


@pytest.mark.sweep
def test_complete_finds_them_on_zfs_too(zfs_judge: Judge, pool: bed.FilePool) -> None:
    dataset, faulty = f"{pool.name}/corruption", f"{pool.name}/faulty"

    @contextmanager
    def writable_clone(good: GoodTarget) -> Iterator[tuple[Path, View]]:
        @contextmanager
        def view() -> Iterator[Path]:
            bed.run("zfs", "snapshot", f"{faulty}@seen")
            with bed.snapshot_view(faulty, "seen", pool.mountpoint / "view") as root:
                yield root

        bed.run("zfs", "clone", f"{dataset}@t{good.number}", faulty)
        try:
            yield pool.mountpoint / "faulty", view
        finally:
            bed.destroy("-r", faulty)

    wrong = wrongs(zfs_judge, FAULTS // 20, writable_clone, zfs_judge.judge)
    assert not wrong, "\n".join(sorted(wrong))
