"""rollback and purge, on a pool in memory."""

from pathlib import Path

import pytest

from dsgmigd.names import SnapshotName
from dsgmigd.target.staging import Staging
from tests.unit.cli.commands import run
from tests.unit.fake_zfs import FakeZfs
from tests.unit.staged_series import (
    AREA,
    T1,
    publish,
    publish_series,
    staging_of,
    take_snapshot,
    target_names,
)

S1, S2 = SnapshotName(1), SnapshotName(2)
KEPT = f"{AREA}/replaced/SV-{T1}"


@pytest.fixture
def staging(pool: FakeZfs) -> Staging:
    """SV, published with s1 and s2; the dataset that it replaced at T1 had s1 only."""
    staging = staging_of(pool, "r1")
    staging.area.prepare()
    publish_series(staging, S1)
    staging.create()
    for name in (S1, S2):
        take_snapshot(staging, name, f"new {name}")
    publish(staging, T1)
    return staging


def kept_names(pool: FakeZfs) -> list[str]:
    return [name for name in pool.datasets if name.startswith(f"{AREA}/replaced/")]


@pytest.mark.parametrize("more", [[], ["--to", T1]])
def test_rollback_restores_what_was_replaced_and_keeps_what_was_there(
    config: Path, pool: FakeZfs, staging: Staging, more: list[str]
) -> None:
    result = run(config, "rollback", "SV", *more)

    assert result.exit_code == 0
    assert target_names(staging) == ["s1"]
    (aside,) = kept_names(pool)
    assert aside != KEPT
    assert result.output == (
        f"{KEPT} is zsd/SV again, mounted at {pool.mountpoint('zsd/SV')}\n"
        f"the dataset from before is kept as {aside}\n"
    )


def test_rollback_hides_no_files_and_says_so(config: Path, pool: FakeZfs, staging: Staging) -> None:
    pool.output("zfs", "unmount", "zsd/SV")
    (pool.datasets["zsd/SV"].mountpoint / "k").touch()

    result = run(config, "rollback", "SV")

    assert result.exit_code == 3
    assert f"{KEPT} is zsd/SV again, not mounted\n" in result.output
    assert "warning: zsd/SV is published, but not mounted: " in result.output
    assert target_names(staging) == ["s1"]


@pytest.mark.parametrize("when", ["20200101T000000Z", "yesterday"])
def test_a_moment_at_which_nothing_was_replaced_is_an_error_that_names_those_that_are_kept(
    config: Path, staging: Staging, when: str
) -> None:
    for command in (("rollback", "SV", "--to", when), ("purge", "SV", when)):
        result = run(config, *command)
        assert result.exit_code == 1
        assert f"kept are: {T1}" in result.output
    assert target_names(staging) == ["s1", "s2"]


@pytest.mark.usefixtures("pool")
def test_without_anything_kept_there_is_nothing_to_restore_or_list(config: Path) -> None:
    result = run(config, "rollback", "SV")
    assert (result.exit_code, "no previous target of zsd/SV" in result.output) == (1, True)
    assert run(config, "purge", "SV").output == "SV: nothing is kept\n"
    assert run(config, "purge", "SV", "--all").output == ""


@pytest.mark.usefixtures("staging")
def test_purge_without_a_time_lists_and_destroys_nothing(config: Path, pool: FakeZfs) -> None:
    result = run(config, "purge", "SV")

    assert result.exit_code == 0
    header, row = result.output.splitlines()
    assert header.split() == ["TIME", "BYTES", "DATASET"]
    assert row.split() == [T1, str(len("s1")), KEPT]
    assert kept_names(pool) == [KEPT]


@pytest.mark.parametrize("which", [T1, "--all"])
def test_purge_destroys_what_is_named_and_says_so(
    config: Path, pool: FakeZfs, staging: Staging, which: str
) -> None:
    result = run(config, "purge", "SV", which)

    assert (result.exit_code, result.output) == (0, f"{KEPT}: destroyed\n")
    assert kept_names(pool) == []
    assert target_names(staging) == ["s1", "s2"]


@pytest.mark.usefixtures("staging")
def test_times_and_all_together_are_wrong_usage(config: Path, pool: FakeZfs) -> None:
    result = run(config, "purge", "SV", T1, "--all")

    assert result.exit_code == 2
    assert "name times, or give --all" in result.output
    assert kept_names(pool) == [KEPT]


@pytest.mark.usefixtures("staging")
def test_what_dsgmigd_did_not_make_is_not_destroyed(config: Path, pool: FakeZfs) -> None:
    pool.output("zfs", "snapshot", f"{KEPT}@mine")

    result = run(config, "purge", "SV", "--all")

    assert result.exit_code == 1
    assert "target_changed" in result.output
    assert kept_names(pool) == [KEPT]
