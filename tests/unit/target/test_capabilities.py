"""What a target can hold, and what of an object is a loss or an obstacle."""

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.target.capabilities import Capabilities, Shortfall, is_carried_xattr

SECOND = 1_000_000_000
times = st.integers(-(2**34) * SECOND, 2**34 * SECOND)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        (Capabilities(), []),
        (Capabilities(subsecond_mtime=False), ["subsecond_mtime"]),
        (Capabilities(latest_mtime=1), ["mtime_range"]),
        (Capabilities(earliest_mtime=3), ["mtime_range"]),
        (Capabilities(subsecond_mtime=False, latest_mtime=1), ["mtime_range"]),
        (Capabilities(highest_id=999), ["owner"]),
        (Capabilities(devices=False), ["device"]),
        (
            Capabilities(highest_id=999, devices=False, latest_mtime=1),
            ["owner", "device", "mtime_range"],
        ),
    ],
)
def test_what_an_object_would_lose_is_named(
    capabilities: Capabilities, expected: list[Shortfall]
) -> None:
    assert capabilities.shortfalls(stat.S_IFCHR | 0o600, 0, 1000, 2 * SECOND + 5) == expected


def test_a_file_needs_no_device_nodes() -> None:
    assert Capabilities(devices=False).shortfalls(stat.S_IFREG, 0, 0, 0) == []


@pytest.mark.parametrize(
    ("name", "loss"),
    [("user.a", "xattr"), ("security.capability", "xattr"), ("system.posix_acl_default", "acl")],
)
def test_an_extended_attribute_is_lost_as_what_it_is(name: str, loss: str) -> None:
    assert Capabilities().xattr_loss(name) is None
    assert Capabilities(xattrs=False, acls=False).xattr_loss(name) == loss
    assert Capabilities(xattrs=loss != "xattr", acls=loss != "acl").xattr_loss(name) == loss


def test_how_btrfs_stores_a_file_is_no_data() -> None:
    assert not is_carried_xattr("btrfs.compression")
    assert is_carried_xattr("user.btrfs")


@given(time_ns=times, earliest=st.integers(-100, 0), latest=st.integers(1, 100))
def test_a_held_time_is_held_and_what_is_held_already_stays(
    time_ns: int, earliest: int, latest: int
) -> None:
    for is_fine in (True, False):
        poor = Capabilities(subsecond_mtime=is_fine, earliest_mtime=earliest, latest_mtime=latest)
        held = poor.held_mtime_ns(time_ns)
        assert poor.mtime_loss(held) is None
        assert poor.held_mtime_ns(held) == held
        assert (held == time_ns) == (poor.mtime_loss(time_ns) is None)


def test_names_are_refused_by_the_rules_of_the_target() -> None:
    assert Capabilities().name_obstacles(b"\xff" * 255) == []
    strict = Capabilities(utf8_names_only=True, longest_name_bytes=3)
    assert strict.name_obstacles(b"\xff\xff\xff\xff") == ["name length", "name encoding"]
    assert strict.name_obstacles("é".encode()) == []


def test_names_that_a_target_takes_for_one_have_one_key() -> None:
    assert Capabilities(normalizes_names=True).name_key("e\u0301") == "\u00e9"
    assert Capabilities(folds_case=True).name_key("README") == "readme"
    assert Capabilities().name_key("README") == "README"
    assert [Capabilities().has_name_rules, Capabilities(folds_case=True).has_name_rules] == [
        False,
        True,
    ]
