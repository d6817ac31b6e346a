"""A kept dataset with a mountpoint of its own stays unmounted until it is the target again."""

import pytest

from dsgmigd.target.kept_mountpoint import keep_unmounted, let_mount
from dsgmigd.target.layout import KEYS
from dsgmigd.target.zfs import Zfs
from tests.unit.fake_zfs import FakeZfs

KEPT = "zsd/kept"


@pytest.fixture
def zfs(commands: FakeZfs) -> Zfs:
    commands.output("zfs", "create", KEPT)
    return Zfs(commands)


def undo(zfs: Zfs) -> None:
    kept = zfs.read(KEPT, KEYS)
    assert kept is not None
    let_mount(zfs, kept)


def test_a_mountpoint_of_its_own_is_not_used_while_it_is_kept(zfs: Zfs) -> None:
    zfs.set_option(KEPT, "mountpoint", "/srv/SV")
    for _ in range(2):
        keep_unmounted(zfs, KEPT)
        assert zfs.option(KEPT, "canmount") == "noauto"
    for _ in range(2):
        undo(zfs)
        assert zfs.option(KEPT, "canmount") == "on"
    assert zfs.option(KEPT, "mountpoint") == "/srv/SV"


@pytest.mark.parametrize("canmount", ["noauto", "off"])
def test_what_was_not_mounted_by_itself_before_is_not_afterwards(zfs: Zfs, canmount: str) -> None:
    zfs.set_option(KEPT, "mountpoint", "/srv/SV")
    zfs.set_option(KEPT, "canmount", canmount)
    keep_unmounted(zfs, KEPT)
    undo(zfs)
    assert zfs.option(KEPT, "canmount") == canmount


def test_an_inherited_mountpoint_is_below_the_area_and_stays_as_it_is(zfs: Zfs) -> None:
    keep_unmounted(zfs, KEPT)
    undo(zfs)
    assert zfs.option(KEPT, "canmount") == "on"
    kept = zfs.read(KEPT, KEYS)
    assert kept is not None
    assert kept.properties == {}
