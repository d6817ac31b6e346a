"""The names of datasets, and what a name tells."""

import pytest

from dsgmigd.errors import InvalidName
from dsgmigd.names import SnapshotName, parse_dataset_name, parse_repo_name
from dsgmigd.target.layout import (
    DatasetLayout,
    free_moment,
    moment,
    pool_of,
    split_replaced,
)
from tests.unit.staged_series import AREA, T1, layout_of


def test_the_datasets_of_a_repository_are_below_the_parent_and_the_area() -> None:
    layout = layout_of("SV")
    assert (layout.target, layout.staging, layout.view, layout.replaced(T1)) == (
        "zsd/SV",
        f"{AREA}/staging/SV",
        f"{AREA}/views/SV",
        f"{AREA}/replaced/SV-{T1}",
    )


@pytest.mark.parametrize("repo", ["SV", "SV-2020", f"SV-{T1}"])
def test_a_kept_target_belongs_to_the_repository_that_replaced_it(repo: str) -> None:
    """Each of these names begins with that of SV."""
    name = layout_of(repo).replaced(T1)
    for other in ("SV", "SV-2020", f"SV-{T1}"):
        layout = layout_of(other)
        assert layout.is_replaced(name) == (other == repo)
        assert layout.replaced_moment(name) == (T1 if other == repo else None)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "zsd/SV",
        f"{AREA}/replaced/SV",
        f"{AREA}/replaced/SV-",
        f"{AREA}/replaced/SV-T1",
        f"{AREA}/replaced/SV-{T1}x",
        f"{AREA}/replaced/SV-{T1}/child",
        f"{AREA}/staging/SV-{T1}",
        f"tank/.dsgmigd/replaced/SV-{T1}",
    ],
)
def test_any_other_name_is_not_that_of_a_kept_target(name: str) -> None:
    assert not layout_of("SV").is_replaced(name)


def test_the_name_of_a_kept_target_is_split_at_its_time() -> None:
    assert split_replaced(f"SV-2020-{T1}") == ("SV-2020", T1)
    assert split_replaced("SV-2020") is None
    assert split_replaced(f"-{T1}") is None


def test_a_moment_is_utc_and_can_be_a_part_of_a_dataset_name() -> None:
    assert moment(0) == "19700101T000000Z"
    assert moment(1_767_225_599.9) == "20251231T235959Z"


def test_targets_that_are_replaced_within_one_second_get_different_names() -> None:
    taken = {moment(7), moment(8)}
    assert free_moment(7.5, taken.__contains__) == moment(9)
    assert free_moment(9.5, taken.__contains__) == moment(9)


def test_a_name_that_zfs_would_refuse_at_publication_is_refused_before() -> None:
    def layout(letters: int) -> DatasetLayout:
        parent = parse_dataset_name("zsd")
        return DatasetLayout(parent, "a" * letters, parse_repo_name("r" * 100))

    s9, s10 = SnapshotName(9), SnapshotName(10)
    staging = layout(255 - len("/staging/") - 100 - len("@s9"))
    staging.check_lengths(s9)
    with pytest.raises(InvalidName, match=r"@s10 has 256 characters, and ZFS takes 255"):
        staging.check_lengths(s10)
    with pytest.raises(InvalidName, match="replaced"):
        staging.check_lengths(s9, [])
    replaced = layout(255 - len("/replaced/") - 100 - len("-20260101T000000Z@daily"))
    replaced.check_lengths(s10, ["daily", "s1"])
    with pytest.raises(InvalidName, match="@weekly has 256 characters"):
        replaced.check_lengths(s10, ["daily", "weekly", "s1"])


@pytest.mark.parametrize("name", ["zsd", "zsd/a/SV", "zsd@s1", "zsd/SV@s1"])
def test_the_pool_of_a_dataset_or_snapshot(name: str) -> None:
    assert pool_of(name) == "zsd"
