"""Extended attributes agree in both directions, or what the target cannot store is a loss."""

import errno
import os
from pathlib import Path

import pytest

from dsgmigd.host.hashing import hash_bytes
from dsgmigd.target.capabilities import Capabilities
from tests.unit.verification.snapshot_pair import World


def set_xattr(path: Path, value: bytes) -> None:
    """Set an attribute; skip the test if the file system does not support any."""
    try:
        os.setxattr(path, "user.a", value)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip("the temporary directory's file system has no extended attributes")


@pytest.mark.parametrize("name", ["a.txt", "d"])
def test_extended_attributes_are_compared_in_both_directions(world: World, name: str) -> None:
    set_xattr(world.source / name, b"1")
    one, two = (f"1 bytes with hash {hash_bytes(value)}" for value in (b"1", b"2"))
    assert differences(world) == [f"{name}: xattr user.a is not set, expected {one}"]
    set_xattr(world.target / name, b"2")
    assert differences(world) == [f"{name}: xattr user.a is {two}, expected {one}"]
    set_xattr(world.target / name, b"1")
    assert differences(world) == []
    os.removexattr(world.source / name, "user.a")
    assert differences(world) == [f"{name}: xattr user.a is {one}, expected not set"]


def test_what_is_in_an_attribute_is_not_told(world: World) -> None:
    """Everybody may read a result, and not everybody the file."""
    set_xattr(world.source / "a.txt", b"secret")
    assert "secret" not in differences(world)[0]
    assert "6 bytes" in differences(world)[0]


def differences(world: World) -> list[str]:
    return [str(one) for one in world.verify().discrepancies]


def test_a_target_without_attributes_has_losses_and_no_discrepancies(world: World) -> None:
    for name in ("a.txt", "d"):
        set_xattr(world.source / name, b"1")
    result = world.verify(capabilities=Capabilities(xattrs=False))
    assert result.discrepancy_count == 0
    losses = [(loss.count, loss.examples) for loss in result.losses.values()]
    assert losses == [(2, ["a.txt", "d"])]
