"""A snapshot against its own manifest: every kind of damage is found, and nothing else is said."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dsgmigd.errors import InterruptedByStop, TargetUnwritable
from dsgmigd.host.directories import Directories
from dsgmigd.request import VerifyLevel
from dsgmigd.transfer.tree import Tree
from dsgmigd.verification.findings import Verification
from dsgmigd.verification.standalone import ManifestVerifier, Stamp, _time
from tests.unit.verification.metadata.dsg_documents import Document, metadata_of, write_documents
from tests.unit.verification.snapshot_pair import calling_functions

DEPTH = 1200
MTIME = 1_399_483_646_123_456_789
LISTED_FILES = {"a.txt": b"content a", "d/b.bin": b"01234" * 1000, "h1": b"linked", "ünï\n": b""}
LISTED_FILES |= {"d/h2": b"linked", "HEAD": b"x"}
BYTES = sum(map(len, LISTED_FILES.values()))
UNLISTED = ("d/.hidden", "d/.dsg", ".dsgconfig.yml", os.fsdecode(b"latin-\xe9"))
Found = set[tuple[str, str]]


class World:
    """One snapshot of a dataset, with its documents, right at first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "d" / "e").mkdir(parents=True)
        for name, content in LISTED_FILES.items():
            (root / name).write_bytes(content)
        (root / "d" / "h2").unlink()
        (root / "d" / "h2").hardlink_to(root / "h1")
        (root / "d" / "link").symlink_to("b.bin")
        (root / "absolute").symlink_to("/etc/passwd")
        for name in UNLISTED:
            (root / name).write_bytes(b"hid")
        os.mkfifo(root / "pipe")
        (root / ".zfs" / "snapshot").mkdir(parents=True)
        (root / ".zfs" / "snapshot" / "listed").touch()
        self.write_documents(1)

    def write_documents(
        self, number: int, change: Callable[[Document], object] = lambda _: None
    ) -> None:
        self.copy_times()
        write_documents(self.root, number, change=change)

    def copy_times(self) -> None:
        for path in self.root.rglob("*"):
            if not path.is_relative_to(self.root / ".dsg"):
                os.utime(path, ns=(MTIME, MTIME), follow_symlinks=False)

    def verify(self, level: VerifyLevel = "complete", stamp: Stamp | None = None) -> Verification:
        return ManifestVerifier(level=level, hash_threads=2).verify(
            str(self.root), 1, stamp or Stamp()
        )

    def found(self) -> Found:
        return pairs(self.verify())

    def spoil(self, change: Callable[[Document], object]) -> Found:
        """Write documents whose entries `change` made wrong; return what is found."""
        self.write_documents(1, change)
        return self.found()


def pairs(result: Verification) -> Found:
    assert result.discrepancy_count == len(result.discrepancies)
    return {(one.path, one.attribute) for one in result.discrepancies}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_intact_snapshot_has_no_discrepancy_and_every_listed_file_was_read(world: World) -> None:
    result = world.verify()
    assert result.discrepancies == []
    assert (result.level, result.files_read, result.files_proven) == ("complete", 6, 0)
    assert (result.source_bytes_read, result.target_bytes_read) == (0, BYTES)
    assert result.files == len(LISTED_FILES) + len(UNLISTED)
    assert result.entries == result.files + len(("d", "d/e", "d/link", "absolute", "pipe"))


# Files.


@pytest.mark.parametrize("name", [name for name, content in LISTED_FILES.items() if content])
def test_one_flipped_bit_is_found_at_the_same_size_and_time(world: World, name: str) -> None:
    content = bytearray((world.root / name).read_bytes())
    content[-1] ^= 1
    (world.root / name).write_bytes(content)
    world.copy_times()
    group = {"h1", "d/h2"} if name in {"h1", "d/h2"} else {name}
    assert world.found() == {(one, "content") for one in group}


def test_another_size_is_found_and_not_read(world: World) -> None:
    (world.root / "a.txt").write_bytes(b"longer than before")
    world.copy_times()
    result = world.verify()
    assert pairs(result) == {("a.txt", "size")}
    assert (result.discrepancies[0].source, result.discrepancies[0].target) == ("9", "18")
    assert result.files_read == len(LISTED_FILES) - 1


def test_a_different_second_is_found_and_a_different_nanosecond_is_not(world: World) -> None:
    os.utime(world.root / "a.txt", ns=(0, MTIME + 1000))
    assert world.found() == set()
    os.utime(world.root / "a.txt", ns=(0, MTIME + 10**9))
    assert world.found() == {("a.txt", "mtime")}


@pytest.mark.parametrize("seconds", [260_000_000_000, -(10**12), 10**18])
def test_a_time_beyond_what_an_entry_can_say_is_no_error(seconds: int) -> None:
    status = os.stat_result((0,) * 7 + (seconds,) * 3)
    assert "which an entry cannot express" in _time(status)


@pytest.mark.parametrize("name", ["a.txt", "d/link", "h1", "HEAD"])
def test_a_listed_path_that_is_missing_is_found(world: World, name: str) -> None:
    (world.root / name).unlink()
    result = world.verify()
    assert [(one.path, one.attribute, one.target) for one in result.discrepancies] == [
        (name, "presence", "missing")
    ]


@pytest.mark.parametrize("name", ["a.txt", "d/link", "h1", "HEAD", "ünï\n"])
def test_what_is_there_and_has_to_be_listed_is_found(world: World, name: str) -> None:
    assert world.spoil(lambda entries: entries.pop(name)) == {(name, "presence")}


def test_what_the_scope_excludes_has_to_be_listed_no_more(world: World) -> None:
    (world.root / "new").touch()
    assert world.found() == {("new", "presence")}
    (world.root / ".dsgconfig.yml").write_text("data_dirs: [input]")
    assert world.found() == set()


@pytest.mark.parametrize("name", ["absent", "d/e/absent", ".zfs/snapshot/listed"])
def test_an_entry_for_what_was_never_there_is_found(world: World, name: str) -> None:
    found = world.spoil(lambda entries: entries.update({name: {**entries["a.txt"], "path": name}}))
    assert found == {(name, "presence")}


@pytest.mark.parametrize(
    ("name", "kind"), [("d", "directory"), ("pipe", "special file"), ("absolute", "link")]
)
def test_an_entry_of_another_type_than_what_is_there_is_found(
    world: World, name: str, kind: str
) -> None:
    world.write_documents(1, lambda one: one.update({name: {**one["a.txt"], "path": name}}))
    found = [(one.path, one.attribute, one.target) for one in world.verify().discrepancies]
    assert found == [(name, "type", kind)]


def test_a_link_in_the_place_of_a_file_is_found_and_not_followed(world: World) -> None:
    (world.root / "a.txt").rename(world.root / ".a")
    (world.root / "a.txt").symlink_to(".a")
    assert world.found() == {("a.txt", "type")}


def test_a_link_that_points_elsewhere_is_found(world: World) -> None:
    (world.root / "d" / "link").unlink()
    (world.root / "d" / "link").symlink_to(os.fsdecode(b"b\xff"))
    found = world.verify().discrepancies
    assert [(one.path, one.attribute) for one in found] == [("d/link", "reference")]
    assert (found[0].source, found[0].target) == ("b.bin", "b\\xff")


def test_what_no_manifest_has_to_list_is_checked_if_it_is_listed(world: World) -> None:
    """Whoever wrote the manifest may have had other rules of what to leave out."""

    def add(entries: Document) -> None:
        entries["d/.hidden"] = {**entries["HEAD"], "path": "d/.hidden", "filesize": 3}

    assert world.spoil(add) == {("d/.hidden", "content")}


@pytest.mark.parametrize("key", ["hash", "filesize", "mtime"])
def test_an_empty_entry_is_found(world: World, key: str) -> None:
    attribute = {"hash": "content", "filesize": "size"}.get(key, key)
    found = world.spoil(lambda entries: entries["a.txt"].update({key: None}))
    assert found == {("a.txt", attribute)}


# Documents.


def test_no_documents_are_a_discrepancy_of_theirs_and_of_each_file(world: World) -> None:
    shutil.rmtree(world.root / ".dsg")
    found = world.found()
    assert {(".dsg", "metadata"), ("a.txt", "presence"), ("d/link", "presence")} <= found
    assert ("absolute", "presence") not in found


def test_the_hash_that_was_noted_on_the_snapshot_has_to_be_the_manifests(world: World) -> None:
    entries: Document = {}
    world.write_documents(1, entries.update)
    right = metadata_of(1, entries, None)["snapshot_hash"]
    assert pairs(world.verify(stamp=Stamp(snapshot_hash=right))) == set()
    assert pairs(world.verify(stamp=Stamp(snapshot_hash="0" * 16))) == {(".dsg", "snapshot_hash")}


def test_the_level_structure_reads_documents_and_nothing_else(world: World) -> None:
    (world.root / "a.txt").unlink()
    result = world.verify("structure")
    assert (pairs(result), result.level, result.entries) == (set(), "structure", 0)
    (world.root / ".dsg" / "sync-messages.json").unlink()
    assert pairs(world.verify("structure")) == {(".dsg", "metadata")}


def test_an_archive_that_is_not_what_an_earlier_snapshot_had_is_found(world: World) -> None:
    verifier = ManifestVerifier(level="complete", hash_threads=2)
    verifier.verify(str(world.root), 1, Stamp())
    (world.root / ".dsg" / "last-sync.json").unlink()  # or s1 is archived as it was
    world.write_documents(2, lambda entries: entries["a.txt"].update(user="x"))
    assert pairs(verifier.verify(str(world.root), 2, Stamp())) >= {(".dsg/archive", "s1")}


# Proofs.


class Series:
    """Snapshots of files that nobody touches, checked one after the other."""

    def __init__(self, world: World, level: VerifyLevel = "complete") -> None:
        self.world = world
        self.verifier = ManifestVerifier(level=level, hash_threads=2)

    def verify(
        self,
        number: int,
        change: Callable[[Document], object] = lambda _: None,
        *,
        seconds_later: float = 1000,
    ) -> Verification:
        """Check as if the snapshot before had been made so long after the files were touched."""
        write_documents(self.world.root, number, change=change)
        stamp = Stamp(created_before=time.time() + seconds_later if number > 1 else None)
        return self.verifier.verify(str(self.world.root), number, stamp)


def test_proven_files_are_not_read_again(world: World) -> None:
    series = Series(world)
    assert series.verify(1).files_read == len(LISTED_FILES)
    for number in (2, 3):
        result = series.verify(number)
        assert result.discrepancies == []
        assert (result.files_read, result.files_proven) == (0, len(LISTED_FILES))


def test_a_file_touched_shortly_before_the_snapshot_was_made_is_read_again(world: World) -> None:
    series = Series(world)
    series.verify(1)
    assert series.verify(2, seconds_later=50).files_proven == 0


def test_content_that_changed_behind_the_manifests_back_is_read_and_found(world: World) -> None:
    series = Series(world)
    series.verify(1)
    entries: Document = {}
    write_documents(world.root, 1, change=entries.update)
    (world.root / "a.txt").write_bytes(b"content b")
    os.utime(world.root / "a.txt", ns=(MTIME, MTIME))
    result = series.verify(2, lambda now: now["a.txt"].update(entries["a.txt"]))
    assert pairs(result) == {("a.txt", "content")}
    assert (result.files_read, result.files_proven) == (1, len(LISTED_FILES) - 1)


@pytest.mark.parametrize(
    ("attribute", "wrong"),
    [
        ("content", {"hash": "0" * 16}),
        ("mtime", {"mtime": "2001-01-01T00:00:00-08:00"}),
        ("size", {"filesize": 8}),
    ],
)
def test_what_was_found_wrong_is_not_proven_in_the_next_snapshot(
    world: World, attribute: str, wrong: Document
) -> None:
    series = Series(world)
    for number in (1, 2):
        result = series.verify(number, lambda entries: entries["a.txt"].update(wrong))
        assert pairs(result) == {("a.txt", attribute)}


def test_exhaustive_reads_everything_every_time(world: World) -> None:
    series = Series(world, "exhaustive")
    assert [series.verify(number).files_read for number in (1, 2)] == [len(LISTED_FILES)] * 2


def test_after_a_snapshot_of_which_the_documents_alone_were_checked_all_is_read(
    world: World,
) -> None:
    verifier = ManifestVerifier(level="complete", hash_threads=2)
    first = verifier.verify(str(world.root), 1, Stamp(), is_document_only=True)
    assert (first.level, first.files_read) == ("structure", 0)
    world.write_documents(2)
    result = verifier.verify(str(world.root), 2, Stamp(created_before=time.time() + 1000))
    assert (result.level, result.files_read) == ("complete", len(LISTED_FILES))


# Errors.


def test_a_root_that_is_not_there_is_an_error(world: World) -> None:
    shutil.rmtree(world.root)
    with pytest.raises(TargetUnwritable):
        world.verify()


def test_a_file_that_cannot_be_read_is_an_error_of_the_pool(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_directory: int, name: bytes, **_options: bool) -> tuple[str, int]:
        raise OSError(5, os.strerror(5), name)

    monkeypatch.setattr("dsgmigd.verification.side.hash_file", fail)
    with pytest.raises(TargetUnwritable, match="HEAD"):
        world.verify()


def test_the_checkpoint_may_stop_the_walk_anywhere_and_leaves_nothing_open(world: World) -> None:
    before = os.listdir("/proc/self/fd")
    for count in range(world.verify().entries + len(LISTED_FILES)):
        left = [count]

        def checkpoint(left: list[int] = left) -> None:
            if not left[0]:
                raise InterruptedByStop
            left[0] -= 1

        with pytest.raises(InterruptedByStop):
            ManifestVerifier(level="complete", hash_threads=2, checkpoint=checkpoint).verify(
                str(world.root), 1, Stamp()
            )
    assert os.listdir("/proc/self/fd") == before


def test_the_checkpoint_is_called_while_documents_and_archives_are_read(world: World) -> None:
    """Whoever owns the dataset decides how large they are."""
    callers: set[str] = set()
    verifier = ManifestVerifier(
        level="complete", hash_threads=2, checkpoint=lambda: callers.update(calling_functions())
    )
    for number in (1, 2):
        world.write_documents(number)
        verifier.verify(str(world.root), number, Stamp())
    assert {"Documents.read", "Chain.check"} <= callers


def test_no_tree_is_too_deep(world: World) -> None:
    """Deeper than Python calls functions, and than a process has descriptors by default."""
    descriptor = os.open(world.root, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("down", dir_fd=descriptor)
        below = os.open("down", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open(".deep", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    try:
        result = world.verify()
        assert pairs(result) == set()
        assert result.entries > DEPTH
    finally:
        with Directories(str(world.root)) as directories:
            Tree(directories).remove_all(b"down")
