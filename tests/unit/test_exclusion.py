"""The rule of what stays out of the dataset, and rsync's idea of it."""

import pytest

from dsgmigd.exclusion import is_excluded, is_excluded_name, rsync_filters

OUT = [b".snap", b".zfs", b"HEAD", b"lost+found", b".Trash-", b".Trash-1000"]
IN = [b".snapshots", b".Trash", b"HEAD.txt", b"head", b"lost", b".git", b".dsg", b"a.Trash-1", b""]


@pytest.mark.parametrize("name", OUT)
def test_a_name_that_stays_out_takes_all_below_it_along(name: bytes) -> None:
    assert is_excluded_name(name)
    assert is_excluded(name)
    assert is_excluded(name + b"/a/b")


@pytest.mark.parametrize("name", OUT)
def test_the_same_name_deeper_down_is_data(name: bytes) -> None:
    assert not is_excluded(b".git/" + name)
    assert not is_excluded(b"a/b/" + name)


@pytest.mark.parametrize("name", IN)
def test_a_name_that_only_looks_alike_is_data(name: bytes) -> None:
    assert not is_excluded_name(name)
    assert not is_excluded(name + b"/HEAD")


def test_rsync_is_told_the_same_rule_anchored_at_the_root_and_never_touches_dsg() -> None:
    assert rsync_filters() == (
        "--exclude=/.dsg",
        "--exclude=/.snap",
        "--exclude=/.zfs",
        "--exclude=/HEAD",
        "--exclude=/lost+found",
        "--exclude=/.Trash-*",
    )
