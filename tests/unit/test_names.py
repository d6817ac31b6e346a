"""Names: what is accepted, what is refused, and how snapshots are ordered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.errors import InvalidName
from dsgmigd.names import SnapshotName, is_request_id, parse_dataset_name, parse_repo_name


@pytest.mark.parametrize("name", ["SV", "a", "0", "PR-Km0", "co.uk_2", "s1", "x" * 200])
def test_a_plain_repository_name_is_itself(name: str) -> None:
    assert parse_repo_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".SV", "-SV", "_SV", "a/b", "a b", "a\n", "a@b", "a\0", "Ñandú", "x" * 201],
)
def test_a_repository_name_with_a_foreign_character_is_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="is not a repository name"):
        parse_repo_name(name)


@pytest.mark.parametrize("ending", ["-norm", ".request", ".claim", ".result"])
def test_a_repository_name_with_an_ending_that_dsgmigd_uses_itself_is_refused(ending: str) -> None:
    with pytest.raises(InvalidName, match=f"it ends in {ending}"):
        parse_repo_name(f"SV{ending}")
    assert parse_repo_name(f"SV{ending}.old") == f"SV{ending}.old"


@pytest.mark.parametrize("text", ["A.request", "A.request.request", "A-norm", "A.claim.result"])
def test_a_name_with_reserved_endings_is_refused_with_the_name_to_write(text: str) -> None:
    with pytest.raises(InvalidName) as caught:
        parse_repo_name(text)
    assert caught.value.hint == f"write A, not {text}"


@given(st.text(max_size=12))
def test_no_accepted_repository_name_reaches_out_of_its_directory(text: str) -> None:
    try:
        name = parse_repo_name(text)
    except InvalidName:
        return
    assert name.isascii()
    assert name[0].isalnum()
    assert not set(name) & set("/@ \n\0")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("02b7da6b-1859-4f60-a71b-5af88aa002f8", True),
        ("an-id", True),
        *((value, False) for value in ("", "..", "a/b", "a.b", "a\n", "ä", "x" * 65, None, 7)),
    ],
)
def test_an_id_of_a_request_can_be_part_of_a_name_on_disk(value: object, *, expected: bool) -> None:
    assert is_request_id(value) is expected


def test_snapshots_are_ordered_by_number() -> None:
    names = [SnapshotName.parse(text) for text in ("s10", "s2", "s1", "s100")]
    assert [str(name) for name in sorted(names)] == ["s1", "s2", "s10", "s100"]


@given(st.integers(1, 999_999_999))
def test_a_snapshot_name_is_read_as_it_is_written(number: int) -> None:
    assert SnapshotName.parse(str(SnapshotName(number))) == SnapshotName(number)
    assert SnapshotName.is_valid(f"s{number}")


@pytest.mark.parametrize(
    "text", ["", "s", "s0", "s01", "S1", "1", "s-1", "s1\n", " s1", "s1/", "s\u0663", "s1234567890"]
)
def test_anything_but_s_and_a_plain_number_is_no_snapshot_name(text: str) -> None:
    assert not SnapshotName.is_valid(text)
    with pytest.raises(InvalidName, match="is not a snapshot name"):
        SnapshotName.parse(text)


@pytest.mark.parametrize("name", ["zsd", "zsd/SV", "zsd/.dsgmigd/staging", "a/b:c/d_e-f.g", "p/2"])
def test_a_plain_dataset_name_is_itself(name: str) -> None:
    assert parse_dataset_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "zsd/", "/zsd", "zsd//a", "zsd/..", "zsd/./a"),
        *("9zsd", "zsd@s1", "zsd/a b", "zsd/a\n", "zsd/" + "x" * 252),
    ],
)
def test_a_dataset_name_that_zfs_or_a_path_would_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="is not the name of a ZFS file system"):
        parse_dataset_name(name)
