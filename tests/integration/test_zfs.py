"""Each command of target/zfs.py on a real pool: what it does, and with which error it fails."""

from collections.abc import Callable
from pathlib import Path

import bed
import pytest

from dsgmigd.errors import CommandFailed, TargetBusy, TargetChanged, TargetExists, TargetMissing
from dsgmigd.host.command import Commands
from dsgmigd.target.dataset import PROPERTY_PREFIX
from dsgmigd.target.native import find_native
from dsgmigd.target.owned import destroy_with_snapshots
from dsgmigd.target.zfs import Zfs
from tests.integration import zfs_kind
from tests.integration.conftest import Bed

NEVER = {"canmount": "noauto"}


@pytest.fixture(params=["command", "native"])
def zfs(request: pytest.FixtureRequest) -> Zfs:
    """The command, or what is quicker on a host with the kernel's ZFS; without waits."""
    native = find_native() if request.param == "native" else None
    if native is None and request.param == "native":
        assert zfs_kind.IS_FUSE, "the library is not there"
        pytest.skip("zfs-fuse has the command only")
    return Zfs(Commands(), native=native, sleep=lambda _: None)


@pytest.fixture
def dataset(fresh_bed: Bed, zfs: Zfs) -> str:
    """A mounted file system."""
    name = f"{fresh_bed.parent}/one"
    zfs.create(name, {}, {"request": "r1"})
    return name


def mountpoint_of(zfs: Zfs, name: str) -> Path:
    found = zfs.read(name, ())
    assert found is not None
    assert found.is_mounted
    return Path(found.mountpoint)


def test_what_is_created_is_read_with_its_own_properties_only(dataset: str, zfs: Zfs) -> None:
    zfs.snapshot(f"{dataset}@s1", {"verified": "yes"})
    zfs.create(f"{dataset}/child", NEVER, {})
    found = zfs.read(dataset, ("request", "verified"))
    assert found is not None
    assert (found.origin, found.is_read_only) == (None, False)
    assert found.properties == {"request": "r1"}
    (snapshot,) = found.snapshots
    assert (snapshot.name, snapshot.properties) == ("s1", {"verified": "yes"})
    child = zfs.read(f"{dataset}/child", ("request",))
    assert child is not None
    assert (child.is_mounted, child.properties) == (False, {})
    assert zfs.children(dataset) == (f"{dataset}/child",)
    assert found.guid != child.guid


def test_what_does_not_exist_is_read_as_none(dataset: str, zfs: Zfs) -> None:
    assert zfs.read(f"{dataset}/none", ()) is None


def test_options_properties_and_their_sources(dataset: str, zfs: Zfs) -> None:
    zfs.unmount(dataset)  # zfs-fuse takes a mounted one for writable until it is mounted again
    zfs.set_option(dataset, "readonly", "on")
    zfs.set_property(dataset, "stage", "verified")
    found = zfs.read(dataset, ("stage",))
    assert found is not None
    assert (found.is_read_only, found.properties) == (True, {"stage": "verified"})
    assert zfs.option(dataset, "readonly") == "on"
    sources = zfs.sources(dataset, ("readonly", "devices"))
    assert sources == {"readonly": "local", "devices": "default"}
    assert 0 < zfs.used_bytes(dataset) < zfs.available_bytes(dataset)


def test_only_the_kernels_zfs_says_what_was_written(dataset: str, zfs: Zfs) -> None:
    if zfs_kind.HAS_WRITTEN:
        assert int(zfs.option(dataset, "written")) > 0
    else:
        with pytest.raises(CommandFailed):
            zfs.option(dataset, "written")


def test_a_rollback_takes_back_what_was_written_since(dataset: str, zfs: Zfs) -> None:
    directory = mountpoint_of(zfs, dataset)
    (directory / "kept").touch()
    zfs.snapshot(f"{dataset}@s1", {})
    (directory / "late").touch()
    zfs.unmount(dataset)
    zfs.rollback(f"{dataset}@s1")
    zfs.mount(dataset)
    assert [path.name for path in directory.iterdir()] == ["kept"]


def test_a_clone_takes_its_origins_snapshots_over(dataset: str, zfs: Zfs) -> None:
    zfs.snapshot(f"{dataset}@s1", {})
    clone = f"{dataset}-clone"
    zfs.clone(f"{dataset}@s1", clone, NEVER, {"request": "r2"})
    found = zfs.read(clone, ("request",))
    assert found is not None
    assert (found.origin, found.properties) == (f"{dataset}@s1", {"request": "r2"})
    zfs.promote(clone)
    promoted = zfs.read(clone, ())
    assert promoted is not None
    assert (promoted.origin, [one.name for one in promoted.snapshots]) == (None, ["s1"])


def test_a_dataset_is_renamed_and_destroyed_with_its_snapshots(dataset: str, zfs: Zfs) -> None:
    zfs.snapshot(f"{dataset}@s1", {})
    zfs.unmount(dataset)
    zfs.rename(dataset, f"{dataset}-moved")
    moved = zfs.read(f"{dataset}-moved", ())
    assert moved is not None
    destroy_with_snapshots(zfs, moved)
    assert zfs.read(f"{dataset}-moved", ()) is None


def test_mounting_and_unmounting_twice_is_no_error(dataset: str, zfs: Zfs) -> None:
    for _ in range(2):
        zfs.unmount(dataset)
    zfs.ensure_mounted(dataset, {})
    for _ in range(2):
        zfs.mount(dataset)
    assert mountpoint_of(zfs, dataset).is_dir()
    zfs.ensure_mounted(f"{dataset}-new", {})
    assert mountpoint_of(zfs, f"{dataset}-new").is_dir()


REFUSED: dict[str, tuple[Callable[[Zfs, str], object], type[Exception]]] = {
    "create without a parent": (
        lambda zfs, name: zfs.create(f"{name}/none/child", {}, {}),
        TargetMissing,
    ),
    "create what is there": (lambda zfs, name: zfs.create(name, {}, {}), TargetExists),
    "snapshot what is there": (lambda zfs, name: zfs.snapshot(f"{name}@s1", {}), TargetExists),
    "snapshot of nothing": (lambda zfs, name: zfs.snapshot(f"{name}/none@s1", {}), TargetMissing),
    "destroy nothing": (lambda zfs, name: zfs.destroy(f"{name}@none"), TargetMissing),
    "destroy what has snapshots": (lambda zfs, name: zfs.destroy(name), TargetChanged),
    "roll back to an older one": (lambda zfs, name: zfs.rollback(f"{name}@s1"), CommandFailed),
    "rename over what is there": (
        lambda zfs, name: zfs.rename(name, name.rpartition("/")[0]),
        TargetExists,
    ),
    "clone what is there": (lambda zfs, name: zfs.clone(f"{name}@s1", name, {}, {}), TargetExists),
    "promote what is no clone": (lambda zfs, name: zfs.promote(name), CommandFailed),
    "set what is no option": (lambda zfs, name: zfs.set_option(name, "none", "1"), CommandFailed),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_what_zfs_refuses_is_an_error_of_its_kind(dataset: str, zfs: Zfs, refused: str) -> None:
    zfs.snapshot(f"{dataset}@s1", {})
    zfs.snapshot(f"{dataset}@s2", {})
    action, kind = REFUSED[refused]
    with pytest.raises(kind) as caught:
        action(zfs, dataset)
    assert type(caught.value) is kind


def test_what_a_process_stands_in_is_busy(dataset: str, zfs: Zfs) -> None:
    with (mountpoint_of(zfs, dataset) / "open").open("wb"), pytest.raises(TargetBusy) as caught:
        zfs.unmount(dataset)
    assert "fuser -vm" in str(caught.value.hint)


def test_what_a_clone_depends_on_is_not_destroyed(dataset: str, zfs: Zfs) -> None:
    zfs.snapshot(f"{dataset}@s1", {})
    zfs.clone(f"{dataset}@s1", f"{dataset}-clone", NEVER, {})
    with pytest.raises(TargetBusy, match="clone"):
        zfs.destroy(f"{dataset}@s1")


@zfs_kind.target_with_holds
def test_a_hold_is_named(dataset: str, zfs: Zfs) -> None:
    zfs.snapshot(f"{dataset}@s1", {})
    bed.run("zfs", "hold", "kept", f"{dataset}@s1")
    try:
        with pytest.raises(TargetBusy, match="a hold keeps") as caught:
            zfs.destroy(f"{dataset}@s1")
        assert f"zfs holds {dataset}@s1" in str(caught.value.hint)
    finally:
        bed.run("zfs", "release", "kept", f"{dataset}@s1")


def test_properties_have_dsgmigds_prefix(dataset: str) -> None:
    assert bed.run("zfs", "get", "-Ho", "value", f"{PROPERTY_PREFIX}request", dataset) == "r1\n"


def test_a_mark_and_the_next_snapshot_come_with_their_properties(dataset: str, zfs: Zfs) -> None:
    zfs.snapshot(f"{dataset}@s1", {"request": "r1"})
    zfs.mark_and_snapshot(
        f"{dataset}@s1", ("verified", "yes"), f"{dataset}@s2", {"request": "r1", "a": "b c"}
    )
    found = zfs.read(dataset, ("request", "verified", "a"))
    assert found is not None
    assert [(one.name, one.properties) for one in found.snapshots] == [
        ("s1", {"request": "r1", "verified": "yes"}),
        ("s2", {"request": "r1", "a": "b c"}),
    ]
    with pytest.raises(TargetExists):
        zfs.mark_and_snapshot(f"{dataset}@s1", ("verified", "no"), f"{dataset}@s2", {})
    with pytest.raises(TargetMissing):
        zfs.mark_and_snapshot(f"{dataset}@none", ("verified", "no"), f"{dataset}@s3", {})
    found = zfs.read(dataset, ("verified",))
    assert found is not None
    assert [one.properties for one in found.snapshots] == [{"verified": "no"}, {}]


def test_snapshots_are_destroyed_together(dataset: str, zfs: Zfs) -> None:
    names = [f"{dataset}@s{number}" for number in (1, 2, 3)]
    for name in names:
        zfs.snapshot(name, {})
    zfs.clone(names[1], f"{dataset}-clone", NEVER, {})
    with pytest.raises(TargetBusy, match="clone"):
        zfs.destroy_snapshots(names)
    zfs.destroy(f"{dataset}-clone")
    zfs.destroy_snapshots([name for name in names if zfs.exists(name)])
    assert not any(map(zfs.exists, names))


def test_what_exists_is_told_apart_from_what_does_not(dataset: str, zfs: Zfs) -> None:
    zfs.snapshot(f"{dataset}@s1", {})
    names = (dataset, f"{dataset}@s1", f"{dataset}@none", f"{dataset}/none")
    assert [zfs.exists(name) for name in names] == [True, True, False, False]
    found = zfs.look_at([dataset, f"{dataset}@s1"], ("type", "exec"))
    assert found[dataset]["type"].value == "filesystem"
    assert found[dataset]["exec"] == ("on", "default")


def test_a_mounted_snapshot_can_be_read_and_keeps_it_until_it_is_unmounted(
    dataset: str, zfs: Zfs, tmp_path: Path
) -> None:
    if zfs.mounts is None:
        pytest.skip("the command mounts no snapshots")
    directory = mountpoint_of(zfs, dataset)
    (directory / "file").write_text("one")
    zfs.snapshot(f"{dataset}@s1", {})
    (directory / "file").write_text("two")
    place = tmp_path / "view"
    zfs.mounts.mount(f"{dataset}@s1", str(place))
    try:
        assert (place / "file").read_text() == "one"
        assert zfs.mounts.mounted_in(str(tmp_path)) == {str(place): f"{dataset}@s1"}
        with pytest.raises(OSError, match="Read-only"):
            (place / "new").touch()
        with pytest.raises(TargetBusy):
            zfs.destroy_snapshots([f"{dataset}@s1"])
        with (place / "file").open("rb"), pytest.raises(TargetBusy):
            zfs.mounts.unmount(str(place))
        # Neither hinders the other.
        zfs.unmount(dataset)
        zfs.rename(dataset, f"{dataset}-moved")
        assert (place / "file").read_text() == "one"
        assert zfs.mounts.mounted_in(str(tmp_path)) == {str(place): f"{dataset}-moved@s1"}
        zfs.rename(f"{dataset}-moved", dataset)
    finally:
        zfs.mounts.unmount(str(place))
    zfs.destroy_snapshots([f"{dataset}@s1"])
    with pytest.raises(TargetMissing):
        zfs.mounts.mount(f"{dataset}@s1", str(place))
