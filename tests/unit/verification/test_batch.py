"""Names that did not change are proven at once, and the others one by one."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from dsgmigd.host.file_errors import source_error, target_error
from dsgmigd.verification.batch import Batch, BatchReader, EncodedNames, Place, may_be_stub
from dsgmigd.verification.metadata.listing import BETWEEN_LINES, Listing, block_of
from dsgmigd.verification.proof import Moments
from dsgmigd.verification.side import Side
from dsgmigd.verification.walk_proofs import BatchProofs, Kind, WalkProofs

NAMES = [f"f{number:02}" for number in range(40)]
PLACE = Place("d", 77)


class Sides:
    """Two directories `d` with files of the same names, all of them in a manifest."""

    def __init__(self, directory: Path) -> None:
        self.roots = [directory / "source", directory / "target"]
        self.proofs = WalkProofs()
        self.listing = listing_of(NAMES)
        self.moments = Moments((time.time() + 1000,), time.time() + 1000)
        for root in self.roots:
            (root / "d").mkdir(parents=True)
            for name in NAMES:
                (root / "d" / name).touch()

    @contextmanager
    def read(self, names: list[str] = NAMES, *, trusts_proofs: bool = True) -> Iterator[Batch]:
        """Read a batch in a new walk."""
        self.proofs.begin_snapshot()
        source, target = (str(root) for root in self.roots)
        with Side(source, source_error) as here, Side(target, target_error) as there:
            reader = BatchReader(
                *(here, there),
                listing=self.listing,
                proofs=self.proofs,
                moments=self.moments,
                trusts_proofs=trusts_proofs,
            )
            yield reader.read(PLACE, names)

    def prove_all(self, kind: Kind = Kind.FILE, names: list[str] = NAMES) -> None:
        with self.read(names) as batch:
            for index in range(len(names)):
                batch.slot(index).prove(kind)

    def others(self, *, trusts_proofs: bool = True) -> list[int]:
        with self.read(trusts_proofs=trusts_proofs) as batch:
            assert batch.file_count + len(batch.others()) == len(NAMES)
            return batch.others()


def listing_of(names: list[str], at_once: int = 7) -> Listing:
    """Return a listing of some files in `d`, and of others before, between and after them."""
    paths = sorted([*(f"d/{name}" for name in names), "a", "d/f05/x", "d/f05/y", "e"])
    lines = [orjson.dumps(path) + b":" + orjson.dumps({"type": "file"}) for path in paths]
    starts = range(0, len(paths), at_once)
    return Listing(
        block_of(BETWEEN_LINES.join(lines[one : one + at_once]), paths[one : one + at_once])
        for one in starts
    )


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


def test_nothing_is_proven_at_first(sides: Sides) -> None:
    assert sides.others() == list(range(40))
    assert sides.others() == list(range(40))


def test_files_that_did_not_change_are_ticked_off_without_a_look_at_their_entries(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides.prove_all()
    sides.listing = listing_of(NAMES)  # other blocks with the same lines
    monkeypatch.setattr(Listing, "find_each", None)
    for _ in range(2):
        assert sides.others() == []
        assert list(sides.listing.untaken()) == ["a", "d/f05/x", "d/f05/y", "e"]


@pytest.mark.parametrize("side", [0, 1])
def test_a_file_that_changed_leaves_the_others_proven(sides: Sides, side: int) -> None:
    sides.prove_all()
    (sides.roots[side] / "d" / "f07").chmod(0o600)
    assert sides.others() == [7]
    assert "d/f07" in set(sides.listing.untaken())
    assert "d/f08" not in set(sides.listing.untaken())
    assert sides.others() == [7], "it was not found equal since"


def test_an_entry_that_changed_leaves_the_others_proven(sides: Sides) -> None:
    sides.prove_all()
    sides.listing = listing_of([name for name in NAMES if name != "f07"])
    assert sides.others() == [7]


def test_names_that_come_and_go_leave_the_others_proven(sides: Sides) -> None:
    sides.prove_all(names=NAMES[1:])
    with sides.read(NAMES[:20]) as batch:
        assert batch.others() == [0]


def test_the_numbers_of_entries_may_differ_from_walk_to_walk(sides: Sides) -> None:
    sides.prove_all()
    sides.listing = Listing([block_of(b'"0":{"type":"file"}', ["0"]), *sides.listing._blocks])
    assert sides.others() == []
    assert list(sides.listing.untaken()) == ["0", "a", "d/f05/x", "d/f05/y", "e"]


@pytest.mark.parametrize("kind", [Kind.OTHER, Kind.DIRECTORY])
def test_every_other_kind_is_left_to_the_walk(sides: Sides, kind: Kind) -> None:
    sides.prove_all(kind)
    with sides.read() as batch:
        assert batch.others() == list(range(40))
        assert batch.slot(3).is_proven
        assert batch.is_proven_directory(3) == (kind == Kind.DIRECTORY)
        assert batch.inode(3) == os.lstat(sides.roots[0] / "d" / "f03").st_ino
        assert batch.listed(3) == (sides.listing.find("d/f03"))
    assert "d/f03" in set(sides.listing.untaken())


def test_names_that_are_proven_and_not_found_equal_again_are_not_proven_in_the_next_walk(
    sides: Sides,
) -> None:
    sides.prove_all(Kind.OTHER)
    with sides.read() as batch:
        assert batch.slot(3).is_proven
    with sides.read() as batch:
        assert not batch.slot(3).is_proven


def test_whoever_reads_everything_trusts_no_proof(sides: Sides) -> None:
    sides.prove_all()
    assert sides.others(trusts_proofs=False) == list(range(40))


@pytest.mark.parametrize("kind", [Kind.FILE, Kind.DIRECTORY])
def test_where_there_may_be_nested_subvolumes_each_name_is_looked_at(
    sides: Sides, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    sides.prove_all(kind)
    monkeypatch.setattr(Side, "has_one_file_system", lambda *_: False)
    with sides.read() as batch:
        assert batch.others() == list(range(40))
        assert batch.slot(3).is_proven
        assert not batch.is_proven_directory(3)


def test_of_files_that_changed_near_a_moment_each_is_judged(sides: Sides) -> None:
    for root in sides.roots:
        os.utime(root / "d" / "f07", ns=(0, 0))
    sides.prove_all()
    ctimes = [os.lstat(sides.roots[0] / "d" / name).st_ctime_ns / 10**9 for name in NAMES]
    sides.moments = Moments((ctimes[7],), time.time() + 1000)
    near = [index for index, one in enumerate(ctimes) if -0.25 <= one - ctimes[7] <= 0.02]
    assert sides.others() == near


def test_names_that_are_not_unicode_are_proven_too(sides: Sides) -> None:
    odd = os.fsdecode(b"\xe9")
    for root in sides.roots:
        (root / "d" / odd).touch()
    names = [*NAMES, odd]
    sides.prove_all(Kind.OTHER, names)
    with sides.read(names) as batch:
        assert batch.slot(40).is_proven
        assert batch.listed(40) is None


def test_encoded_names_have_the_paths_of_the_file_system() -> None:
    names = EncodedNames("d\u00fc", ["a", "\u00fc"])
    assert names.paths() == [names.path(0), names.path(1)] == ["dü/a".encode(), "dü/ü".encode()]
    assert names.are_unicode
    names = EncodedNames("", [os.fsdecode(b"\xe9")])
    assert (names.paths(), names.are_unicode) == ([b"\xe9"], False)


def test_a_name_that_vanished_has_no_status(sides: Sides) -> None:
    (sides.roots[1] / "d" / "f07").unlink()
    with sides.read() as batch:
        assert batch.target(7) is None
        found = batch.source(7)
        assert found is not None
        assert found.st_ino == os.lstat(sides.roots[0] / "d" / "f07").st_ino


@pytest.mark.parametrize(("inode", "expected"), [(2, True), (256, False)])
def test_a_stub_has_the_inode_number_that_btrfs_gives_it(inode: int, *, expected: bool) -> None:
    assert may_be_stub(os.stat_result((0o40755, inode, 1, 1, 0, 0, 0, 0, 0, 0))) == expected


def test_proofs_of_the_walk_before_are_not_changed_by_this_one(sides: Sides) -> None:
    sides.prove_all(Kind.OTHER)
    (before,) = sides.proofs._now["d"].batches
    with sides.read():
        assert isinstance(before, BatchProofs)
        assert Kind.UNPROVEN not in before._kinds
