"""What is a pin and what is not, and that nothing but a pin is deleted."""

import os
from pathlib import Path

import pytest

from dsgmigd.errors import SourceUnsafe
from dsgmigd.names import RepoName, SnapshotName
from dsgmigd.source.pin_area import PinArea
from dsgmigd.source.pin_names import PINS_DIRECTORY, PinName, PinSet, reason_against
from dsgmigd.source.subvolume import Subvolume
from tests.unit.source.fake_btrfs import UUIDS, FakeBtrfs, subvolume
from tests.unit.source.repositories import SPOOL_ID

ID = "0b8a5d6c-6f0a-4f3e-9d52-0d6a3a3f7f11"
OLD_SET = PinSet(RepoName("SV"), ID)
SET = PinSet(RepoName("SV"), ID, SPOOL_ID)
OF_S1 = UUIDS["s1"]


NAMED, OLD = PinName(SnapshotName(1), OF_S1), PinName(SnapshotName(1), None)


@pytest.mark.parametrize(
    ("name", "found", "reason"),
    [
        (NAMED, subvolume("p", OF_S1), None),
        (OLD, subvolume("p", OF_S1), None),
        (None, subvolume("p", OF_S1), "its name is not that of a pin"),
        (NAMED, None, "it is not a snapshot"),
        (NAMED, subvolume("p"), "it is not a snapshot"),
        (OLD, subvolume("p"), "it is not a snapshot"),
        (NAMED, subvolume("p", OF_S1, is_read_only=False), "it is writable, and a pin is not"),
        (OLD, subvolume("p", OF_S1, is_read_only=False), "it is writable, and a pin is not"),
        (
            NAMED,
            subvolume("p", UUIDS["s2"]),
            "it is a snapshot of another subvolume than its name says",
        ),
    ],
)
def test_only_a_read_only_snapshot_of_what_its_name_says_is_a_pin_and_deleted(
    tmp_path: Path,
    btrfs: FakeBtrfs,
    name: PinName | None,
    found: Subvolume | None,
    reason: str | None,
) -> None:
    assert reason_against(name, found) == reason
    path = tmp_path / SET.path / str(name or "notes")
    path.mkdir(parents=True)
    if found is not None:
        btrfs.add(path, found)
    with PinArea(str(tmp_path)) as area:
        left = area.delete(SET).strangers
    assert [one.why for one in left] == ([] if reason is None else [reason])
    assert path.exists() == (reason is not None)
    for above in (path.parent, path.parent.parent):
        assert above.exists() == path.exists()


def plant_link(directory: Path) -> None:
    outside = directory.parent.parent / "outside"
    outside.mkdir()
    directory.symlink_to(outside)


def plant_file(directory: Path) -> None:
    directory.touch()


def plant_open(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o770)


def plant_owned(directory: Path) -> None:
    directory.mkdir(0o700)
    os.chown(directory, 4711, -1)


PLANTED = [
    (plant_link, "is a symbolic link"),
    (plant_file, "is not a directory"),
    (plant_open, "is group- or world-writable"),
    pytest.param(
        *(plant_owned, "belongs to user 4711"),
        marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away"),
    ),
]


@pytest.mark.parametrize(("plant", "words"), PLANTED)
def test_an_area_that_is_not_ours_alone_is_refused(
    tmp_path: Path, btrfs: FakeBtrfs, plant: object, words: str
) -> None:
    assert callable(plant)
    root = tmp_path / "root"
    root.mkdir()
    plant(root / PINS_DIRECTORY)
    with PinArea(str(root)) as area:
        for action in (
            area.sets,
            lambda: area.look_into(SET),
            lambda: area.delete(SET),
            lambda: area.read(SET, NAMED),
            lambda: area.create(SET, NAMED, str(root)),
        ):
            with pytest.raises(SourceUnsafe, match=words) as caught:
                action()
    assert caught.value.hint.startswith(f"look at it, and move it away: mv -T -- {root}/.dsgmigd-")
    assert btrfs.subvolumes == {}


@pytest.mark.parametrize(("plant", "words"), PLANTED)
def test_a_directory_of_a_spool_that_is_not_ours_alone_is_not_looked_into(
    tmp_path: Path, btrfs: FakeBtrfs, plant: object, words: str
) -> None:
    assert callable(plant)
    path = tmp_path / "root" / SET.above
    path.parent.mkdir(parents=True)
    plant(path)
    with PinArea(str(tmp_path / "root")) as area:
        sets, (stranger,) = area.sets()
        assert (sets, stranger.path, stranger.why) == ([], SET.above, f"it {words}")
        for action in (lambda: area.delete(SET), lambda: area.create(SET, NAMED, "/")):
            with pytest.raises(SourceUnsafe, match=words):
                action()
    assert btrfs.subvolumes == {}


def test_the_sets_of_all_spools_and_of_earlier_versions_are_found(tmp_path: Path) -> None:
    for name in (SET.path, OLD_SET.path, f"{SET.above}/notes", f"{PINS_DIRECTORY}/notes"):
        (tmp_path / name).mkdir(parents=True)
    with PinArea(str(tmp_path)) as area:
        sets, strangers = area.sets()
    assert sets == [OLD_SET, SET]
    assert sorted(one.path for one in strangers) == [
        f"{SET.above}/notes",
        f"{PINS_DIRECTORY}/notes",
    ]
    assert [one.is_foreign_to(SPOOL_ID) for one in sets] == [False, False]
    assert [one.is_foreign_to(ID) for one in sets] == [False, True]


@pytest.mark.parametrize(("plant", "words"), PLANTED)
def test_a_directory_of_pins_that_is_not_ours_alone_is_left_alone(
    tmp_path: Path, btrfs: FakeBtrfs, plant: object, words: str
) -> None:
    assert callable(plant)
    path = tmp_path / "root" / SET.path
    path.parent.mkdir(parents=True)
    plant(path)
    btrfs.add(tmp_path / "outside" / str(NAMED), subvolume("p", OF_S1))
    with PinArea(str(tmp_path / "root")) as area:
        (stranger,) = area.delete(SET).strangers
        assert (stranger.path, stranger.why) == (SET.path, f"it {words}")
        with pytest.raises(SourceUnsafe, match=words):
            area.create(SET, NAMED, str(tmp_path))
        with pytest.raises(SourceUnsafe, match=words):
            area.read(SET, NAMED)
    assert len(btrfs.subvolumes) == 1
    assert os.path.lexists(path)


def test_a_directory_of_pins_that_is_a_subvolume_is_left_alone(
    tmp_path: Path, btrfs: FakeBtrfs
) -> None:
    btrfs.add(tmp_path / SET.path, subvolume("x", OF_S1))
    btrfs.add(tmp_path / SET.path / str(NAMED), subvolume("p", OF_S1))
    with PinArea(str(tmp_path)) as area:
        (stranger,) = area.delete(SET).strangers
    assert stranger.why == "it is a subvolume"
    assert len(btrfs.subvolumes) == 2


def test_the_area_is_for_root_alone_and_goes_when_it_is_empty(
    tmp_path: Path, btrfs: FakeBtrfs
) -> None:
    btrfs.add(tmp_path / "s1", subvolume(OF_S1))
    with PinArea(str(tmp_path)) as area:
        area.create(SET, NAMED, str(tmp_path / "s1"))
        for path in (PINS_DIRECTORY, SET.above, SET.path):
            assert (tmp_path / path).stat().st_mode & 0o777 == 0o700
        assert area.read(SET, NAMED) == subvolume("pin", OF_S1)
        area.remove_if_empty()
        assert area.sets() == ([SET], [])
        assert area.delete(SET).pins == [NAMED]
        area.remove_if_empty()
    assert not (tmp_path / PINS_DIRECTORY).exists()
