"""Pins, as far as plain directories show them; tests/integration has those of a real btrfs."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dsgmigd.errors import PinImpossible, SourceChanged, SourceUnreadable
from dsgmigd.names import SnapshotName
from dsgmigd.source import pin_area
from dsgmigd.source import pins as pins_module
from dsgmigd.source.pin_names import PINS_DIRECTORY
from dsgmigd.source.pins import Pins, describe_unpinned
from dsgmigd.source.repository import HeldSnapshot, SnapshotDirectory
from dsgmigd.source.subvolume import Subvolume
from tests.unit.failing import failing
from tests.unit.source.fake_btrfs import UUIDS, FakeBtrfs, subvolume
from tests.unit.source.repositories import SPOOL_ID, find, make_snapshots

S1 = SnapshotName(1)
ID, OTHER = "0b8a5d6c-6f0a-4f3e-9d52-0d6a3a3f7f11", "1c8a5d6c-6f0a-4f3e-9d52-0d6a3a3f7f11"
OF_S1 = UUIDS["s1"]
# Directories of pins: of this request, of an earlier version, of another spool.
OURS, UNMARKED, OTHERS = f"{SPOOL_ID}/SV.{ID}", f"SV.{ID}", f"{OTHER}/SV.{OTHER}"
# The claim was moved to this spool from another.
MOVED = f"{OTHER}/SV.{ID}"


def pins(root: Path) -> Pins:
    return Pins(find(root), ID, SPOOL_ID)


def make_subvolume(root: Path, btrfs: FakeBtrfs, *, is_read_only: bool = True) -> SnapshotDirectory:
    path = root / "SV/s1"
    found = btrfs.add(path, subvolume(UUIDS["s1"], is_read_only=is_read_only))
    return SnapshotDirectory(S1, str(path), found)


def hold_subvolume(root: Path, btrfs: FakeBtrfs, *, is_read_only: bool = True) -> HeldSnapshot:
    snapshot = make_subvolume(root, btrfs, is_read_only=is_read_only)
    return pins(root).hold(snapshot)


def test_a_plain_directory_is_read_in_place_and_nothing_is_made_for_it(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    held = pins(tmp_path).hold(find(tmp_path).snapshot(S1))
    assert held.place == str(tmp_path / "SV" / "s1")
    assert os.path.samefile(held.path, held.place)
    assert (held.is_pinned, held.is_sendable) == (False, False)
    assert held.version == find(tmp_path).snapshots[0].version
    assert os.listdir(tmp_path) == ["SV"]


def test_a_subvolume_is_read_from_its_pin_which_is_called_after_it(
    tmp_path: Path, btrfs: FakeBtrfs
) -> None:
    held = hold_subvolume(tmp_path, btrfs)
    assert held.path == f"{tmp_path}/{PINS_DIRECTORY}/{SPOOL_ID}/SV.{ID}/s1.{UUIDS['s1']}"
    assert (held.is_pinned, held.is_sendable, held.unpinned_reason) == (True, True, "")


def test_a_pin_that_exists_is_used_again(tmp_path: Path, btrfs: FakeBtrfs) -> None:
    held = hold_subvolume(tmp_path, btrfs)
    btrfs.refusal = AssertionError()
    assert hold_subvolume(tmp_path, btrfs) == held
    assert pins(tmp_path).existing(make_subvolume(tmp_path, btrfs)) is not None


@pytest.mark.parametrize(
    ("name", "found", "is_used"),
    [
        (f"{OURS}/s1.{OF_S1}", subvolume("pin", OF_S1), True),
        # Made by an earlier version, before it was stopped and upgraded.
        (f"{UNMARKED}/s1", subvolume("pin", OF_S1), True),
        (f"{UNMARKED}/s1", subvolume("pin", UUIDS["s2"]), False),
        (f"{UNMARKED}/s1", subvolume("pin"), False),
        (f"{UNMARKED}/s1", subvolume("pin", OF_S1, is_read_only=False), False),
        (f"{OURS}/s1.{OF_S1}", subvolume("pin", OF_S1, is_read_only=False), False),
        (f"{OURS}/s1.{UUIDS['s2']}", subvolume("pin", UUIDS["s2"]), False),
        (f"{OURS}/s2.{OF_S1}", subvolume("pin", OF_S1), False),
        (f"{OTHERS}/s1.{OF_S1}", subvolume("pin", OF_S1), False),
        (f"{SPOOL_ID}/SV.{OTHER}/s1.{OF_S1}", subvolume("pin", OF_S1), False),
    ],
)
def test_only_a_pin_of_this_very_snapshot_is_used_again(
    tmp_path: Path, btrfs: FakeBtrfs, name: str, found: Subvolume, *, is_used: bool
) -> None:
    snapshot = make_subvolume(tmp_path, btrfs)
    btrfs.add(tmp_path / PINS_DIRECTORY / name, found)
    assert (pins(tmp_path).existing(snapshot) is not None) == is_used


def test_a_snapshot_that_is_replaced_while_it_is_pinned_has_changed(
    tmp_path: Path, btrfs: FakeBtrfs
) -> None:
    snapshot = make_subvolume(tmp_path, btrfs)
    btrfs.add(tmp_path / "SV/s1", subvolume(UUIDS["s2"]))
    with pytest.raises(SourceChanged, match="s1 was replaced while it was being pinned"):
        pins(tmp_path).hold(snapshot)


def test_a_pin_that_is_made_of_another_subvolume_is_not_read(
    tmp_path: Path, btrfs: FakeBtrfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, made = make_subvolume(tmp_path, btrfs), pins(tmp_path)

    def create(_: str, pin: str) -> None:
        btrfs.add(Path(os.path.realpath(pin)), subvolume("pin", UUIDS["s2"]))

    monkeypatch.setattr(pin_area, "create_pin", create)
    with pytest.raises(SourceChanged, match="s1 was replaced while it was being pinned"):
        made.hold(snapshot)


@pytest.mark.parametrize("is_looked_at", [True, False])
def test_a_subvolume_in_place_of_a_plain_directory_and_the_reverse_have_changed_too(
    tmp_path: Path, btrfs: FakeBtrfs, *, is_looked_at: bool
) -> None:
    snapshot = make_subvolume(tmp_path, btrfs)
    if is_looked_at:
        btrfs.subvolumes.clear()
    else:
        snapshot = replace(snapshot, subvolume=None)
    with pytest.raises(SourceChanged):
        pins(tmp_path).hold(snapshot)


def test_a_snapshot_that_becomes_a_link_is_not_followed(tmp_path: Path, btrfs: FakeBtrfs) -> None:
    snapshot, made = make_subvolume(tmp_path, btrfs), pins(tmp_path)
    (tmp_path / "SV/s1").rename(tmp_path / "mine")
    (tmp_path / "SV/s1").symlink_to(tmp_path / "mine")
    with pytest.raises(SourceChanged, match="s1 was removed or replaced while it was read"):
        made.hold(snapshot)


@pytest.mark.parametrize("is_read_only", [True, False])
def test_a_subvolume_that_cannot_be_pinned_is_read_in_place(
    tmp_path: Path, btrfs: FakeBtrfs, *, is_read_only: bool
) -> None:
    btrfs.refusal = PinImpossible("active swap file in the subvolume", hint="")
    held = hold_subvolume(tmp_path, btrfs, is_read_only=is_read_only)
    assert held.place == f"{tmp_path}/SV/s1"
    assert os.path.samefile(held.path, held.place)
    # btrfs sends only what is read-only.
    assert (held.is_pinned, held.is_sendable) == (False, is_read_only)
    assert held.unpinned_reason == "active swap file in the subvolume"


def test_a_pins_directory_that_cannot_be_created_is_a_reason_too(
    tmp_path: Path, btrfs: FakeBtrfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = make_subvolume(tmp_path, btrfs)
    monkeypatch.setattr(os, "mkdir", failing(errno.EROFS))
    assert pins(tmp_path).hold(snapshot).unpinned_reason == "file system mounted read-only"


def unpinned(number: int, reason: str, *, is_sendable: bool = False) -> HeldSnapshot:
    return HeldSnapshot(
        *(SnapshotName(number), "/s", "uuid", 1, 0.0),
        is_sendable=is_sendable,
        is_pinned=not reason,
        unpinned_reason=reason,
    )


def test_a_warning_says_why_snapshots_are_not_pinned_and_how_they_are_read() -> None:
    held = [unpinned(1, "quota"), unpinned(2, ""), unpinned(3, "quota")]
    held.append(unpinned(4, "quota", is_sendable=True))
    assert describe_unpinned(held) == [
        "not pinned (quota): s1, s3; read in place by rsync and checked for changes",
        "not pinned (quota): s4; read in place and checked for changes",
    ]


def test_release_deletes_the_pins_of_this_repository_in_this_spool_and_of_earlier_versions(
    tmp_path: Path, btrfs: FakeBtrfs
) -> None:
    hold_subvolume(tmp_path, btrfs)
    area = tmp_path / PINS_DIRECTORY
    released = [UNMARKED, MOVED, f"SV.{OTHER}", f"{SPOOL_ID}/SV.{OTHER}"]
    kept = [OTHERS, f"CO.{ID}", f"SV.more.{ID}", f"{SPOOL_ID}/CO.{ID}"]
    for name in (*released, *kept):
        btrfs.add(area / name / f"s1.{OF_S1}", subvolume("pin", OF_S1))
    make_snapshots(area, "SV.other")
    pins(tmp_path).release_all()
    assert sorted(str(path.parent.relative_to(area)) for path in area.rglob("s1.*")) == sorted(kept)
    assert (area / "SV.other").is_dir()


def test_pins_of_another_spool_are_named(tmp_path: Path, btrfs: FakeBtrfs) -> None:
    hold_subvolume(tmp_path, btrfs)
    assert pins(tmp_path).describe_foreign() == []
    for name in (OTHERS, MOVED, f"{OTHER}/CO.{ID}"):
        make_snapshots(tmp_path / PINS_DIRECTORY, name)
    (warning,) = pins(tmp_path).describe_foreign()
    assert warning == (
        f"another spool has pins of SV, which stay: {tmp_path}/{PINS_DIRECTORY}/{OTHERS}; "
        "all instances that work on this source should share one spool"
    )


@pytest.mark.parametrize("replacement", [None, subvolume("another", OF_S1)])
def test_a_pin_that_vanishes_while_it_is_held_is_named(
    tmp_path: Path, btrfs: FakeBtrfs, replacement: Subvolume | None
) -> None:
    snapshot, made = make_subvolume(tmp_path, btrfs), pins(tmp_path)
    held = made.hold(snapshot)
    made.check_held()
    btrfs.delete(held.path, shown=held.path)
    if replacement is not None:
        btrfs.add(Path(held.path), replacement)
    with pytest.raises(SourceChanged) as caught:
        made.check_held()
    assert caught.value.message == f"{held.path} was deleted while it was read: it is a pin of s1"


def test_what_is_no_pin_is_named_and_stays_while_the_pins_beside_it_go(
    tmp_path: Path, btrfs: FakeBtrfs
) -> None:
    hold_subvolume(tmp_path, btrfs)
    directory = tmp_path / PINS_DIRECTORY / OURS
    btrfs.add(directory / "s2", subvolume("pin", UUIDS["s2"], is_read_only=False))
    with pytest.raises(PinImpossible) as caught:
        pins(tmp_path).release_all()
    assert caught.value.message == (
        f"not touched: {directory}/s2: it is writable, and a pin is not"
    )
    assert os.listdir(directory) == ["s2"]


def test_a_release_lasts_and_costs_nothing_if_there_were_no_pins(
    tmp_path: Path, btrfs: FakeBtrfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed: list[str] = []
    monkeypatch.setattr(pins_module, "sync_filesystem", committed.append)
    hold_subvolume(tmp_path, btrfs)
    for _ in range(2):
        pins(tmp_path).release_all()
    assert committed == [str(tmp_path)]


def test_release_without_any_pins_is_not_an_error(tmp_path: Path) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    pins(tmp_path).release_all()


def test_pins_that_cannot_be_listed_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    make_snapshots(tmp_path / PINS_DIRECTORY, f"SV.{ID}")
    made = pins(tmp_path)
    monkeypatch.setattr(os, "listdir", failing(errno.EIO))
    with pytest.raises(SourceUnreadable, match=r"\.dsgmigd-pins failed in the source: Input"):
        made.release_all()


def test_pins_that_cannot_be_removed_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_snapshots(tmp_path / "SV", "s1")
    make_snapshots(tmp_path / PINS_DIRECTORY, f"SV.{ID}")
    monkeypatch.setattr(os, "rmdir", failing(errno.EROFS))
    with pytest.raises(PinImpossible, match="Read-only"):
        pins(tmp_path).release_all()
