"""Losses of extended attributes, ACLs and times in a replay."""

import os

import pytest

from dsgmigd.errors import (
    LossNotAllowed,
)
from dsgmigd.target.capabilities import Capabilities
from tests.unit import send_commands as send
from tests.unit.transfer.replay_world import World


def test_extended_attributes_that_the_target_cannot_hold_end_the_replay(world: World) -> None:
    (world.root / "f").touch()
    with pytest.raises(LossNotAllowed, match=r"'f' has user\.a, which the target cannot hold"):
        world.replay(send.set_xattr(b"f", b"user.a", b"1"), capabilities=Capabilities(xattrs=False))


def test_extended_attributes_may_be_lost_when_that_is_allowed(world: World) -> None:
    (world.root / "f").touch()
    world.replay(
        send.set_xattr(b"f", b"user.a", b"1"),
        send.remove_xattr(b"f", b"user.a"),
        capabilities=Capabilities(xattrs=False),
        allowed=["xattr"],
    )
    assert os.listxattr(world.root / "f") == []


def test_an_acl_is_a_loss_of_its_own(world: World) -> None:
    (world.root / "f").touch()
    set_acl = send.set_xattr(b"f", b"system.posix_acl_access", b"1")
    with pytest.raises(LossNotAllowed, match=r"system\.posix_acl_access") as caught:
        world.replay(set_acl, capabilities=Capabilities(acls=False), allowed=["xattr"])
    assert '"allow_loss": ["acl"]' in caught.value.hint
    world.replay(set_acl, capabilities=Capabilities(acls=False), allowed=["acl"])


def test_btrfs_storage_attributes_are_not_carried_over(world: World) -> None:
    (world.root / "f").touch()
    world.replay(
        send.set_xattr(b"f", b"btrfs.compression", b"zstd"),
        send.remove_xattr(b"f", b"btrfs.compression"),
    )
    assert os.listxattr(world.root / "f") == []


def test_times_out_of_range_become_the_nearest_that_the_target_holds(world: World) -> None:
    (world.root / "f").touch()
    world.replay(
        send.set_times(b"f", atime=0, mtime=10**9 * 5000 + 7),
        capabilities=Capabilities(earliest_mtime=0, latest_mtime=4000),
        allowed=["mtime_range"],
    )
    assert (world.root / "f").stat().st_mtime_ns == 4000 * 10**9


def test_times_out_of_range_without_an_allowed_loss_end_the_replay(world: World) -> None:
    (world.root / "f").touch()
    with pytest.raises(LossNotAllowed, match="time out of range"):
        world.replay(
            send.set_times(b"f", atime=0, mtime=10**9 * 5000),
            capabilities=Capabilities(latest_mtime=4000),
        )
