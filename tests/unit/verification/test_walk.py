"""A walk over two small trees finds every difference, and reports nothing else."""

import os
import stat

import pytest

from dsgmigd.target.capabilities import Capabilities
from tests.unit.verification.snapshot_pair import FILE_BYTES, FILES, MTIME, World


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
    monkeypatch.setattr("dsgmigd.verification.walk.NAMES_AT_ONCE", 2)
    assert world.verify().entries == 1 + 2 + FILES + 2 + 1
    (world.target / "d" / "b.bin").write_bytes(b"01235" * 1000)
    world.copy_times()
    assert world.found() == {("d/b.bin", "content")}


# Names and attributes.


@pytest.mark.parametrize(
    "name", ["a.txt", "d/.hidden", "d/HEAD", "d/link", "pipe", "d/e", os.fsdecode(b"latin-\xe9")]
)
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_path_that_only_one_side_has_is_found(world: World, name: str, side: str) -> None:
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


def test_a_dsg_directory_in_the_source_is_reported_as_missing(world: World) -> None:
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


def stub_nested(monkeypatch: pytest.MonkeyPatch, world: World, name: str) -> None:
    """Make the directory `name` of the source a nested subvolume."""
    inode = (world.source / name).stat().st_ino
    monkeypatch.setattr(
        "dsgmigd.verification.side.Side.is_nested_subvolume",
        lambda _side, status: status.st_ino == inode,
    )


def test_a_nested_subvolume_is_named_and_an_empty_directory_in_its_place_is_right(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.source / "d" / "e" / "inside").touch()
    world.copy_times()
    stub_nested(monkeypatch, world, "d/e")
    result = world.verify()
    assert (result.discrepancies, result.nested_subvolumes) == ([], ["d/e"])
    assert result.to_json()["borders"] == ["d/e"]


def test_what_the_target_has_below_a_nested_subvolume_is_extra(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.target / "d" / "e" / ".inside").touch()
    world.copy_times()
    stub_nested(monkeypatch, world, "d/e")
    assert world.found() == {("d/e/.inside", "presence")}


def test_a_file_in_the_place_of_a_nested_subvolume_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_nested(monkeypatch, world, "d/e")
    (world.target / "d" / "e").rmdir()
    (world.target / "d" / "e").symlink_to("b.bin")
    world.copy_times()
    found = [str(one) for one in world.verify().discrepancies]
    assert found[0] == "d/e: type is symbolic link, expected empty directory"


def test_a_target_without_nanoseconds_has_losses_and_no_discrepancies(world: World) -> None:
    for path in (world.target, *world.target.rglob("*")):
        os.utime(path, ns=(0, MTIME // 10**9 * 10**9), follow_symlinks=False)
    result = world.verify(capabilities=Capabilities(subsecond_mtime=False))
    assert result.discrepancy_count == 0
    assert result.losses["subsecond_mtime"].count == result.entries
