"""The verifier on two small trees: every kind of difference is found, and nothing else is said."""

import os
import resource
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dsgmigd.abilities import Abilities
from dsgmigd.errors import InterruptedByStop, SourceUnreadable, TargetUnwritable
from dsgmigd.hashing import hash_bytes
from dsgmigd.request import VerifyLevel
from dsgmigd.verify.findings import Verification
from dsgmigd.verify.proof import Moments
from dsgmigd.verify.verifier import Verifier
from tests.unit.verify.dsg_documents import Document, write_documents

MTIME = 1_399_483_646_123_456_789
FILES = 8
FILE_BYTES = 9 + 5000 + 6 + 6 + 3 + 1 + 4 + 0


class World:
    """A source snapshot and its target, equal at first."""

    def __init__(self, directory: Path) -> None:
        self.source = directory / "source"
        self.target = directory / "target"
        for root in (self.source, self.target):
            _plant(root)
        (self.source / ".snap").mkdir()
        (self.source / ".snap" / "push.log").touch()
        (self.source / "HEAD").touch()
        self.copy_times()
        write_documents(self.target, 1)

    def copy_times(self) -> None:
        """Give everything its time, so that only what a test changes afterwards differs."""
        for root in (self.source, self.target):
            for path in (root, *root.rglob("*")):
                os.utime(path, ns=(MTIME, MTIME), follow_symlinks=False)

    def verify(
        self, *, level: VerifyLevel = "complete", abilities: Abilities | None = None
    ) -> Verification:
        verifier = Verifier(level=level, abilities=abilities or Abilities())
        return verifier.verify(str(self.source), str(self.target), 1, Moments())

    def found(self) -> set[tuple[str, str]]:
        found = self.verify()
        assert found.discrepancy_count == len(found.discrepancies)
        return {(one.path, one.attribute) for one in found.discrepancies}


def _plant(root: Path) -> None:
    (root / "d" / "e").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"content a")
    (root / "d" / "b.bin").write_bytes(b"01234" * 1000)
    (root / "d" / "link").symlink_to("b.bin")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "h1").write_bytes(b"linked")
    (root / "d" / "h2").hardlink_to(root / "h1")
    (root / "d" / ".hidden").write_bytes(b"hid")
    (root / "d" / "HEAD").write_bytes(b"x")
    (root / os.fsdecode(b"latin-\xe9")).write_bytes(b"odd\n")
    (root / "ünï\nline").write_bytes(b"")
    os.mkfifo(root / "pipe")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_equal_trees_have_no_discrepancy_and_every_file_was_read(world: World) -> None:
    result = world.verify()
    assert result.discrepancies == []
    assert (result.files, result.files_read, result.files_proven) == (FILES, FILES, 0)
    assert (result.source_bytes_read, result.target_bytes_read) == (FILE_BYTES, FILE_BYTES)
    assert result.entries == 1 + 2 + FILES + 2 + 1


def test_what_no_manifest_lists_is_counted_and_named(world: World) -> None:
    found = world.verify()
    names = {"absolute", "d/.hidden", "latin-\\xe9", "pipe"}
    assert (found.unlisted_count, set(found.unlisted)) == (4, names)


def test_a_large_directory_is_compared_some_names_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsgmigd.verify.walk._NAMES_AT_ONCE", 2)
    assert world.verify().entries == 1 + 2 + FILES + 2 + 1
    (world.target / "d" / "b.bin").write_bytes(b"01235" * 1000)
    world.copy_times()
    assert world.found() == {("d/b.bin", "content")}


# Names and attributes.


@pytest.mark.parametrize(
    "name", ["a.txt", "d/.hidden", "d/HEAD", "d/link", "pipe", "d/e", os.fsdecode(b"latin-\xe9")]
)
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_path_that_one_side_has_not_is_found(world: World, name: str, side: str) -> None:
    path = (world.source if side == "source" else world.target) / name
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    world.copy_times()
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    is_listed = name in {"a.txt", "d/HEAD", "d/link"}
    expected = {(shown, "presence")} | ({(shown, "manifest")} if is_listed else set())
    assert world.found() == expected


def test_missing_and_extra_are_told_apart(world: World) -> None:
    (world.target / "d" / ".hidden").rename(world.target / "d" / ".extra")
    world.copy_times()
    result = world.verify()
    assert [(one.path, one.target) for one in result.discrepancies] == [
        ("d/.hidden", "missing"),
        ("d/.extra", "extra"),
    ]


@pytest.mark.parametrize("name", [".snap", "HEAD", ".zfs", "lost+found", ".Trash-0"])
def test_what_stays_out_of_the_dataset_must_not_be_in_it(world: World, name: str) -> None:
    (world.target / name).mkdir()
    world.copy_times()
    assert world.found() == {(name, "presence")}


def test_a_dsg_of_the_sources_own_is_found_missing(world: World) -> None:
    (world.source / ".dsg").mkdir()
    world.copy_times()
    assert world.found() == {(".dsg", "presence")}


@pytest.mark.parametrize("name", ["a.txt", "d", "d/.hidden", "pipe", "."])
def test_another_mode_is_found(world: World, name: str) -> None:
    path = world.target / name
    path.chmod(stat.S_IMODE(path.stat().st_mode) ^ stat.S_ISVTX)
    assert world.found() == {(name, "mode")}


@pytest.mark.parametrize("name", ["a.txt", "d", "d/link", "absolute", "pipe", "."])
def test_another_time_is_found_down_to_the_nanosecond(world: World, name: str) -> None:
    os.utime(world.target / name, ns=(0, MTIME + 1), follow_symlinks=False)
    assert world.found() == {(name, "mtime")}


def test_another_type_is_found(world: World) -> None:
    (world.target / "d" / ".hidden").unlink()
    (world.target / "d" / ".hidden").mkdir()
    world.copy_times()
    assert world.found() == {("d/.hidden", "type")}


def test_another_size_is_found(world: World) -> None:
    (world.target / "d" / ".hidden").write_bytes(b"longer")
    world.copy_times()
    assert world.found() == {("d/.hidden", "size")}


def test_another_link_target_is_found(world: World) -> None:
    (world.target / "d" / "link").unlink()
    (world.target / "d" / "link").symlink_to("b.bim")
    world.copy_times()
    assert ("d/link", "link target") in world.found()


@pytest.mark.parametrize("name", ["a.txt", "d/.hidden", "d/b.bin", os.fsdecode(b"latin-\xe9")])
def test_other_content_of_the_same_size_and_time_is_found(world: World, name: str) -> None:
    content = bytearray((world.target / name).read_bytes())
    content[-1] ^= 1
    (world.target / name).write_bytes(content)
    world.copy_times()
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    assert world.found() == {(shown, "content")}


# Hard links.


def test_a_group_of_hard_links_that_was_split_is_found(world: World) -> None:
    (world.target / "d" / "h2").unlink()
    (world.target / "d" / "h2").write_bytes(b"linked")
    world.copy_times()
    assert {attribute for _, attribute in world.found()} == {"hard links"}


def test_hard_links_that_the_source_has_not_are_found(world: World) -> None:
    for root in (world.source, world.target):
        (root / "same").write_bytes(b"linked")
    (world.target / "same").unlink()
    (world.target / "same").hardlink_to(world.target / "h1")
    world.copy_times()
    write_documents(world.target, 1)
    assert {attribute for _, attribute in world.found()} == {"hard links"}


def test_a_hard_link_that_joined_another_group_is_found(world: World) -> None:
    for root in (world.source, world.target):
        (root / "g1").write_bytes(b"linked")
        (root / "g2").hardlink_to(root / "g1")
        (root / "g3").hardlink_to(root / "g1")
    (world.target / "g3").unlink()
    (world.target / "g3").hardlink_to(world.target / "h1")
    world.copy_times()
    write_documents(world.target, 1)
    assert {attribute for _, attribute in world.found()} == {"hard links"}


# Extended attributes.


def set_xattr(path: Path, value: bytes) -> bool:
    """Set an attribute; False where the file system below has none."""
    try:
        os.setxattr(path, "user.a", value)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("name", ["a.txt", "d"])
def test_extended_attributes_are_compared_in_both_directions(world: World, name: str) -> None:
    expected = {(name, "xattr user.a")} if set_xattr(world.source / name, b"1") else set()
    assert world.found() == expected
    set_xattr(world.target / name, b"2")
    assert world.found() == expected
    set_xattr(world.target / name, b"1")
    assert world.found() == set()
    if expected:
        os.removexattr(world.source / name, "user.a")
    assert world.found() == expected


def test_a_target_without_attributes_has_losses_and_no_discrepancies(world: World) -> None:
    count = sum(set_xattr(world.source / name, b"1") for name in ("a.txt", "d"))
    result = world.verify(abilities=Abilities(xattrs=False))
    assert result.discrepancy_count == 0
    assert [(loss.count, loss.examples) for loss in result.losses.values()] == (
        [(2, ["a.txt", "d"])] if count else []
    )


def test_a_target_without_nanoseconds_has_losses_and_no_discrepancies(world: World) -> None:
    for path in (world.target, *world.target.rglob("*")):
        os.utime(path, ns=(0, MTIME // 10**9 * 10**9), follow_symlinks=False)
    result = world.verify(abilities=Abilities(subsecond_mtime=False))
    assert result.discrepancy_count == 0
    assert result.losses["subsecond_mtime"].count == result.entries


# The manifest against the files.


def spoil(world: World, change: Callable[[Document], None]) -> set[tuple[str, str]]:
    write_documents(world.target, 1, change=change)
    return world.found()


@pytest.mark.parametrize(
    ("key", "value"), [("hash", "0" * 16), ("filesize", 8), ("type", "link"), ("hash", None)]
)
def test_an_entry_that_says_something_else_than_the_file_is_found(
    world: World, key: str, value: object
) -> None:
    found = spoil(world, lambda entries: entries["a.txt"].update({key: value}))
    assert ("a.txt", "manifest entry") in found


def test_a_links_entry_that_points_elsewhere_is_found(world: World) -> None:
    found = spoil(world, lambda entries: entries["d/link"].update(reference="x"))
    assert found == {("d/link", "manifest reference")}


@pytest.mark.parametrize("name", ["a.txt", "d/link", "h1", "d/HEAD", "ünï\nline"])
def test_a_file_or_link_without_an_entry_is_found(world: World, name: str) -> None:
    assert spoil(world, lambda entries: entries.pop(name)) == {(name, "manifest")}


@pytest.mark.parametrize("name", ["absent", "d/e/absent", "d", "pipe"])
def test_an_entry_without_a_file_is_found(world: World, name: str) -> None:
    def add(entries: Document) -> None:
        entries[name] = {**entries["a.txt"], "path": name}

    assert spoil(world, add) == {(name, "manifest")}


@pytest.mark.parametrize("name", ["d/.hidden", "absolute"])
def test_an_entry_that_no_manifest_may_have_is_found(world: World, name: str) -> None:
    """All that it says of what is there is true."""

    def add(entries: Document) -> None:
        path = world.target / name
        entry = {**entries["a.txt"], "path": name, "filesize": 3, "hash": hash_bytes(b"hid")}
        if path.is_symlink():
            entry = {**entries["d/link"], "path": name, "reference": os.readlink(path)}
        entries[name] = entry

    assert spoil(world, add) == {(name, "manifest")}


def test_a_missing_manifest_is_a_discrepancy_of_each_file_and_of_the_documents(
    world: World,
) -> None:
    shutil.rmtree(world.target / ".dsg")
    world.copy_times()
    found = world.found()
    assert (".dsg", "metadata") in found
    assert ("a.txt", "manifest") in found
    assert ("absolute", "manifest") not in found


def test_a_manifest_whose_entries_are_nonsense_is_a_discrepancy_and_no_error(world: World) -> None:
    documents = b'{"entries": {"a.txt": 7, "d/link": 7}, "metadata": {}}'
    (world.target / ".dsg" / "last-sync.json").write_bytes(documents)
    world.copy_times()
    assert (".dsg", "metadata") in world.found()


# Levels and proofs.


class Series:
    """Two snapshots of an unchanged source, verified one after the other."""

    def __init__(self, world: World, level: VerifyLevel) -> None:
        self.world = world
        self.verifier = Verifier(level=level, abilities=Abilities())
        # As if both snapshots had been made long after the files were last touched.
        self.later = Moments(source=(time.time() + 1000,), target=time.time() + 1000)

    def verify(
        self, number: int, moments: Moments | None = None, *, is_verified_before: bool = False
    ) -> Verification:
        write_documents(self.world.target, number)
        return self.verifier.verify(
            str(self.world.source),
            str(self.world.target),
            number,
            moments or self.later,
            is_verified_before=is_verified_before,
        )


def test_proven_files_are_not_read_again(world: World) -> None:
    series = Series(world, "complete")
    assert series.verify(1).files_read == FILES
    second = series.verify(2)
    assert second.discrepancies == []
    assert (second.files_read, second.files_proven, second.source_bytes_read) == (0, FILES, 0)
    assert series.verify(3).files_proven == FILES


def test_what_another_scope_excludes_may_not_be_listed_although_it_is_proven(world: World) -> None:
    series = Series(world, "complete")
    assert series.verify(1).discrepancies == []
    for root in (world.source, world.target):
        (root / ".dsgconfig.yml").write_text("data_dirs: [d]")
        for path in (root / ".dsgconfig.yml", root):
            os.utime(path, ns=(MTIME, MTIME))
    found = {(one.path, one.attribute) for one in series.verify(2).discrepancies}
    assert found == {(name, "manifest") for name in ("a.txt", "h1", "ünï\nline")}


def test_a_file_that_changed_is_read_and_the_others_are_not(world: World) -> None:
    series = Series(world, "complete")
    series.verify(1)
    for root in (world.source, world.target):
        (root / "a.txt").write_bytes(b"content b")
        os.utime(root / "a.txt", ns=(MTIME, MTIME))
    second = series.verify(2)
    assert second.discrepancies == []
    assert (second.files_read, second.files_proven) == (1, FILES - 1)


def test_content_that_changed_on_the_target_alone_is_found_behind_proofs(world: World) -> None:
    series = Series(world, "complete")
    series.verify(1)
    (world.target / "a.txt").write_bytes(b"content b")
    os.utime(world.target / "a.txt", ns=(MTIME, MTIME))
    found = {(one.path, one.attribute) for one in series.verify(2).discrepancies}
    assert found == {("a.txt", "content")}


def test_a_file_that_was_found_different_is_not_proven_afterwards(world: World) -> None:
    (world.target / "a.txt").write_bytes(b"content b")
    world.copy_times()
    series = Series(world, "complete")
    series.verify(1)
    assert [one.path for one in series.verify(2).discrepancies] == ["a.txt"]


def test_nothing_is_proven_without_knowing_when_the_snapshots_were_made(world: World) -> None:
    series = Series(world, "complete")
    series.verify(1)
    assert series.verify(2, Moments()).files_read == FILES


def test_a_snapshot_that_was_verified_before_is_not_read_but_proves_the_next(
    world: World,
) -> None:
    series = Series(world, "complete")
    first = series.verify(1, is_verified_before=True)
    assert (first.files_read, first.files_proven) == (0, 0)
    assert series.verify(2).files_proven == FILES


def test_exhaustive_reads_everything_every_time(world: World) -> None:
    series = Series(world, "exhaustive")
    assert [series.verify(number).files_read for number in (1, 2)] == [FILES, FILES]


def test_structure_reads_no_contents_and_compares_all_else(world: World) -> None:
    (world.target / "a.txt").write_bytes(b"content b")
    world.copy_times()
    result = world.verify(level="structure")
    assert (result.discrepancy_count, result.files, result.files_read) == (0, FILES, 0)
    assert (result.source_bytes_read, result.target_bytes_read) == (0, 0)
    (world.target / "d" / ".hidden").unlink()
    (world.target / "a.txt").chmod(0o600)
    world.copy_times()
    found = world.verify(level="structure").discrepancies
    assert {(one.path, one.attribute) for one in found} == {
        ("d/.hidden", "presence"),
        ("a.txt", "mode"),
    }


# Limits and errors.


def test_all_discrepancies_are_counted_and_the_first_are_kept(world: World) -> None:
    for number in range(150):
        (world.target / f".extra {number}").touch()
    world.copy_times()
    result = world.verify()
    assert (result.discrepancy_count, len(result.discrepancies)) == (150, 100)
    assert len(result.to_json()["discrepancies"]) == 100


@pytest.mark.parametrize(
    ("side", "error"), [("source", SourceUnreadable), ("target", TargetUnwritable)]
)
def test_a_side_that_is_not_there_is_an_error_and_not_a_difference(
    world: World, side: str, error: type[Exception]
) -> None:
    shutil.rmtree(getattr(world, side))
    with pytest.raises(error):
        world.verify()


def test_the_checkpoint_may_stop_the_walk_at_any_entry_and_leaves_nothing_open(
    world: World,
) -> None:
    before = os.listdir("/proc/self/fd")
    entries = world.verify().entries
    for count in range(entries):
        with pytest.raises(InterruptedByStop):
            Verifier(level="complete", abilities=Abilities(), checkpoint=_stop_after(count)).verify(
                str(world.source), str(world.target), 1, Moments()
            )
    assert os.listdir("/proc/self/fd") == before


def test_many_directories_with_a_file_each_take_few_descriptors(tmp_path: Path) -> None:
    for side in ("source", "target"):
        for number in range(600):
            path = tmp_path / side / f"d{number}" / "f"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"%d" % number)
            os.utime(path, ns=(MTIME, MTIME))
    for root in (tmp_path / "source", tmp_path / "target"):
        for path in (*root.iterdir(), root):
            os.utime(path, ns=(MTIME, MTIME))
    write_documents(tmp_path / "target", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (750, hard))
    try:
        found = Verifier(level="complete", abilities=Abilities()).verify(
            str(tmp_path / "source"), str(tmp_path / "target"), 1, Moments()
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (found.files_read, found.discrepancies) == (600, [])


def _stop_after(count: int) -> Callable[[], None]:
    left = [count]

    def checkpoint() -> None:
        if not left[0]:
            raise InterruptedByStop
        left[0] -= 1

    return checkpoint
